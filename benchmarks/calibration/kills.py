"""Kill a calibration at random, again and again: `python benchmarks/calibration/kills.py --kills 100`

Each round starts `beampipe calibration factors` and kills (SIGKILL) the driver or one of its workers at a random
moment. Then: the same hash as of an undisturbed run, no artifact made twice, and no more chunks begun and lost than
there were workers at the kills.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

import beampipe.terminal.scripts  # noqa: F401

import psutil
from measuring import conditions, report
from toys import Toy, make_toys

from beampipe.workflow import EventLog

CONFIG = """
output = "{output}"
chunk_events = {chunk}
[samples.nominal]
files = "{nominal}"
[samples.data]
files = "{data}"
kind = "data"
[systematics.pdf]
weights = "pdf_*"
rule = "envelope"
[systematics.jet_energy]
kinematics = ["jes_*", "jer_*", "trk_*"]
rule = "quadrature"
"""


def start(config: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "beampipe", "calibration", "factors", str(config), "-j", str(workers)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The worker processes: children of the server that they are forked from."""
    return [item for child in psutil.Process(process.pid).children() for item in child.children()]


def kill_one(process: subprocess.Popen[bytes], draw: random.Random) -> str:
    """Kill the driver or a worker; gives the name of what was killed."""
    try:
        victims = workers_of(process)
        if victims and draw.random() < 0.5:
            draw.choice(victims).kill()
            return "worker"
    except psutil.NoSuchProcess:
        pass
    process.kill()
    return "driver"


def survive(config: Path, workers: int, kills: int, longest: float, draw: random.Random) -> Counter[str]:
    """Start one calibration again and again until it is done.

    Args:
        config: configuration of the calibration.
        workers: number of its workers.
        kills: number of kills after which it is left alone.
        longest: most time between two kills [s].
        draw: random numbers that choose moments and victims.

    Returns:
        Number of kills, by what was killed.
    """
    spent = Counter[str]()
    while True:
        process = start(config, workers)
        while process.poll() is None and spent.total() < kills:
            try:
                process.wait(timeout=draw.uniform(0.2, longest))
            except subprocess.TimeoutExpired:
                spent[kill_one(process, draw)] += 1
        code = process.wait()
        if code == 0:
            return spent
        if code > 0:
            raise SystemExit(process.stderr and process.stderr.read().decode())


def redone(log: Path) -> tuple[int, int, int]:
    """Numbers of chunks that were made, made again after they had been committed, and begun in vain."""
    events = [event for event in EventLog(log).read() if event["stage"] == "fill"]
    begun, done = (Counter(str(e["key"]) for e in events if e["event"] == what) for what in ("start", "done"))
    return len(done), done.total() - len(done), begun.total() - done.total()


def factors_hash(folder: Path) -> str:
    return sha256((folder / "factors.json").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--longest", type=float, default=4.0, help="most time between two kills [s]; more where a start takes long"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_kills.json"))
    options = parser.parse_args()
    begun = conditions("killed calibrations")
    nominal = Toy("kills", options.events, 10, n_weights=20)
    data = Toy("kills_data", options.events // 4, 4, kind="data", seed=2)
    make_toys(nominal, data)
    home = Path("runs/bench/kills").absolute()
    rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)

    def config(name: str) -> Path:
        path = home / f"{name}.toml"
        text = CONFIG.format(output=home / name, chunk=10_000, nominal=nominal.pattern, data=data.pattern)
        path.write_text(text)
        return path

    draw = random.Random(options.seed)
    survive(config("calm"), options.workers, 0, options.longest, draw)
    wanted = factors_hash(home / "calm")
    spent, made, twice, vain, hashes = Counter[str](), 0, 0, 0, set()
    runs = 0
    while spent.total() < options.kills:
        name = f"killed-{runs}"
        spent += survive(config(name), options.workers, options.kills - spent.total(), options.longest, draw)
        hashes.add(factors_hash(home / name))
        chunks = redone(home / name / "log.jsonl")
        made, twice, vain = made + chunks[0], twice + chunks[1], vain + chunks[2]
        runs += 1
        print(f"{runs} calibrations, {dict(spent)} killed, {made} chunks made, {twice} twice, {vain} begun in vain")
    body = {
        "killed": dict(spent),
        "calibrations": runs,
        "same_hash": hashes == {wanted},
        "chunks": made,
        "made_twice": twice,
        "begun_in_vain": vain,
        "workers": options.workers,
    }
    print(json.dumps(body, indent=1))
    report(options.output, begun, body)
    assert hashes == {wanted}
    assert twice == 0, "a committed artifact was made again"
    assert vain <= spent.total() * options.workers


if __name__ == "__main__":
    main()
