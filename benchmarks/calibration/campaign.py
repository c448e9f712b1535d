"""A campaign of 1000 files and 240 variations: time, CPU and memory, compared with a few of its files.

    python benchmarks/calibration/campaign.py [--files 1000] [--gigabytes 20] [--executors processes dask]

A few toy files with 127 weights are copied until they have the wanted size. Each copy has a run and a
number of its own, so that no event is in two files. The calibration then runs from an empty store
to the report once with each executor. A run over the few files gives the CPU time to compare with; the memory is that
of all processes of a run, measured every second: until the last chunk is filled, and later, when sums, factors and
figures are made.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from time import time
from typing import BinaryIO, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
import psutil
import uproot

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import Cost, Figure, Reference, begin, measured_program, write_result
from toys import KEPT, Toy, make_toys

from beampipe.calibration.tasks.runtime import LOG
from beampipe.simulation.ntuples.ntuple_files import read_bookkeeping
from beampipe.simulation.ntuples.ntuple_format import BOOKKEEPING, EVENTS
from beampipe.workflow import EventLog

FOLDER: Final = KEPT / "campaign"
WEIGHTS: Final = 127
CONFIGURATION: Final = """
output = "{output}"

[samples.nominal]
files = "{nominal}"

[samples.data]
files = "{data}"
kind = "data"

[systematics]
pdf = {{ weights = "pdf_*", rule = "envelope" }}
shower = {{ weights = ["fsr_*", "isr_*"], rule = "envelope" }}
jet_scale = {{ kinematics = "jes_*", rule = "up_down" }}
jet_resolution = {{ kinematics = "jer_*", rule = "up_down" }}
tracking = {{ kinematics = "trk_*", rule = "quadrature" }}
gluon_reweight = {{ method = "gluon_reweight" }}
nonclosure = {{ method = "nonclosure" }}
"""
BYTES_PER_EVENT: Final = 600
"""Size of an event with so many weights, about."""

ORIGINALS: Final = 6
"""Number of files that are copied, of simulation; of data there is one for ten of them."""

FILLED: Final = ("fill", "done")
"""Stage and event of the log when a chunk is filled."""


@dataclass(frozen=True)
class Campaign:
    """One run of the calibration.

    Attributes:
        executor: where the tasks ran.
        files: number of files.
        events: number of events in them.
        size: their size [bytes].
        cost: wall and CPU time.
        filling: largest resident memory of all processes together [MB] until all is filled.
        later: the same after that time [MB].
        factors: digest of the scale factors.
    """

    executor: str
    files: int
    events: int
    size: int
    cost: Cost
    filling: float
    later: float
    factors: str


def copies(originals: Sequence[Path], number: int, folder: Path) -> list[Path]:
    """Copy files in turn until there are so many; each copy has its own number of a file in its slice."""
    folder.mkdir(parents=True)
    paths, of_slice = [], Counter[int]()
    slices = [int(read_bookkeeping(path)["slice"]) for path in originals]
    totals = Counter(slices[i % len(slices)] for i in range(number))
    for i in range(number):
        original, of = originals[i % len(originals)], slices[i % len(slices)]
        path = folder / f"{original.stem}.copy{i:04d}.root"
        shutil.copyfile(original, path)
        change(path, i + 1, {"file_number": of_slice[of], "n_files": totals[of]})
        of_slice[of] += 1
        paths.append(path)
    return paths


def change(path: Path, run: int, numbers: Mapping[str, int]) -> None:
    """Give a file another number of its run, and other numbers in its bookkeeping, in their places.

    A basket with one number is not compressed, and one with the same number many times has the same compressed size for
    each number.
    """
    with uproot.open(path) as file, path.open("r+b") as binary:
        for name, number in numbers.items():
            branch = file[BOOKKEEPING][name]
            start, _ = basket(binary, branch.member("fBasketSeek")[0])
            binary.seek(start)
            binary.write(np.array(number, branch.interpretation.numpy_dtype.newbyteorder(">")).tobytes())
        branch = file[EVENTS]["run"]
        for place in branch.member("fBasketSeek")[: branch.num_baskets]:
            start, size = basket(binary, place)
            packed = bytes(uproot.ZSTD(5).compress(np.full(size // 4, run, ">u4").tobytes()))
            binary.seek(start + 3)
            assert int.from_bytes(binary.read(3), "little") == len(packed), path
            binary.seek(start + 9)
            binary.write(packed)
    bookkeeping = read_bookkeeping(path)
    assert {name: bookkeeping[name] for name in numbers} == dict(numbers), path


def basket(binary: BinaryIO, place: int) -> tuple[int, int]:
    """Where the content of a basket starts, and its size when it is unpacked [bytes]."""
    binary.seek(place + 6)
    size = int.from_bytes(binary.read(4), "big")
    binary.seek(place + 14)
    return place + int.from_bytes(binary.read(2), "big"), size


def run(name: str, files: dict[str, list[Path]], executor: str, events: int) -> Campaign:
    """Run the calibration from an empty store, and look at its memory meanwhile."""
    output = FOLDER / name
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    patterns = {kind: f"{paths[0].parent.absolute()}/*.root" for kind, paths in files.items()}
    path = output / "campaign.toml"
    path.write_text(CONFIGURATION.format(output=output.absolute(), **patterns))
    command = [sys.executable, "-m", "beampipe", "calibration", "run", str(path)]
    samples: list[tuple[float, float]] = []
    ended = Event()

    def watch() -> None:
        while not ended.wait(1.0):
            samples.append((time(), memory_of_children()))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        cost = measured_program([*command, "--executor", executor, "--workers", "2"])
    finally:
        ended.set()
        watcher.join()
    events_of_log = list(EventLog(output / LOG).read())
    filled = max(float(str(each["time"])) for each in events_of_log if (each["stage"], each["event"]) == FILLED)
    filling = [memory for at, memory in samples if at <= filled]
    later = max((memory for _, memory in samples[len(filling) :]), default=0.0)
    paths = [path for part in files.values() for path in part]
    size = sum(path.stat().st_size for path in paths)
    digest = sha256((output / "factors.json").read_bytes()).hexdigest()
    return Campaign(executor, len(paths), events, size, cost, max(filling, default=0.0), later, digest)


def memory_of_children() -> float:
    """Resident memory of all processes that this one started [MB]."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may just have ended
            total += process.memory_info().rss
    return total / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--gigabytes", type=float, default=20.0, help="size of the simulated files together")
    parser.add_argument(
        "--executors", nargs="+", default=["processes", "dask"], help="as of `beampipe calibration run`"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_campaign.json"))
    options = parser.parse_args()
    begun = begin("a campaign")
    n_data = max(1, options.files // 10)
    n_simulated = options.files - n_data
    per_file = int(1e9 * options.gigabytes / n_simulated / BYTES_PER_EVENT)
    originals = make_toys(
        Toy("campaign", ORIGINALS * per_file, ORIGINALS, WEIGHTS, seed=21),
        Toy("campaign_data", per_file, 1, kind="data", seed=22),
    )
    shutil.rmtree(FOLDER, ignore_errors=True)
    names = ("nominal", "data")
    few = {
        name: copies(paths, len(paths), FOLDER / f"few_{name}") for name, paths in zip(names, originals, strict=True)
    }
    many = {
        name: copies(paths, number, FOLDER / name)
        for name, paths, number in zip(names, originals, (n_simulated, n_data), strict=True)
    }
    first = run("few", few, "processes", per_file * (ORIGINALS + 1))
    runs = [run(f"many_{name}", many, name, per_file * options.files) for name in options.executors]
    best, *others = runs
    figures = []
    for name, unit, value in (
        ("wall time", "s", lambda one: one.cost.wall),
        ("CPU", "s", lambda one: one.cost.cpu),
        ("memory while filling", "MB", lambda one: one.filling),
        ("memory after filling", "MB", lambda one: one.later),
    ):
        reference = Reference(others[0].executor, value(others[0])) if others else None
        figures.append(Figure(f"{best.executor}: {name}", value(best), unit, reference=reference))
    more = (best.cost.cpu - first.cost.cpu) / (best.events - first.events)
    figures.append(Figure("an event more: CPU", 1e6 * more, "us"))
    write_result(options.output, begun, figures)
    shutil.rmtree(FOLDER)
    assert len({one.factors for one in runs}) == 1, "scale factors of the executors differ"


if __name__ == "__main__":
    main()
