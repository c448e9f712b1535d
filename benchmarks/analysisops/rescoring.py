"""The same log graded again and again: `python benchmarks/analysisops/rescoring.py --times 100`

A small run is made once, or the folder of another is given. Its records are then graded by several processes that
differ in the seed of their hashes, and the digest of the results is compared with that of the run itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import beampipe.terminal.scripts  # noqa: F401

from beampipe.analysisops.run import evaluate, rescore
from beampipe.analysisops.runs.engine import RunFolder, Seeds
from beampipe.terminal import make_table
from beampipe.workflow import file_digest

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))  # both areas report in the same form
from measuring import CONSOLE, conditions, report

TASKS = ("zmumu", "hyy", "counting", "tracks", "operations")
AGENTS = ("scripted", "follower", "oracle", "nop", "recall")


def graded(folder: Path, times: int) -> Counter[str]:
    """Digests of the results in this process."""
    result = Counter[str]()
    for _ in range(times):
        again = rescore(folder)
        assert again.records, f"{folder}: no records"
        result[again.sha256] += 1
    return result


def graded_elsewhere(folder: Path, times: int, seed: int) -> Counter[str]:
    """Digests of the results in a process of its own."""
    command = [sys.executable, __file__, "--run", str(folder), "--times", str(times), "--digests"]
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return Counter(done.stdout.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder of a run; left out: a small one is made")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("runs/bench/analysisops/rescoring"))
    parser.add_argument("--output", type=Path, default=Path("runs/bench/analysisops/rescoring.json"))
    parser.add_argument("--digests", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.digests:
        print("\n".join(graded(options.run, options.times).elements()))
        return
    begun = conditions("the same log graded again")
    folder = options.run or options.folder
    if options.run is None:
        evaluate(TASKS, AGENTS, Seeds.first(1), folder, levels=(1,), workers=2)
    calm = file_digest(RunFolder(folder).results)
    records = rescore(folder)
    share, digests = -(-options.times // options.processes), Counter[str]()
    for seed in range(1, options.processes + 1):
        digests += graded_elsewhere(folder, min(share, options.times - digests.total()), seed)
    body = {
        "records": records.records,
        "times": digests.total(),
        "processes": options.processes,
        "hashes": len(digests),
        "same_as_when_it_was_run": set(digests) == {calm},
        "sha256": next(iter(digests)),
    }
    table = make_table("Graded again", ["figure", "value"])
    for name, value in body.items():
        table.add_row(name, str(value))
    CONSOLE.print(table)
    report(options.output, begun, body)
    assert set(digests) == {calm}, "the same records gave other results"


if __name__ == "__main__":
    main()
