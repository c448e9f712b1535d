"""Memory of the workers over many files: is it small, and does it stay so?

    python benchmarks/calibration/memory.py [--files 200] [--events 100000] [--weights 101]

Every task is a chunk of the calibration, read from a file and filled into histograms with all weights and all
variations of jets, and records the resident memory of its worker and its largest value so far. Once with workers that
are replaced as the calibration does it, more often here (every 50 tasks each), once with the same ones to the end.
The slope is that of straight lines through the memory after each task, from the tenth task of a worker on: one slope
for all workers, each with its own level, so that a worker with few tasks has little weight. Four toy files
are read again and again.
"""

from __future__ import annotations

import argparse
import os
import resource
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
import psutil
from measuring import CONSOLE, conditions, report
from toys import Toy, make_toys

from beampipe.calibration.config import Bootstrap, DijetSelection, Energy, Regions, Tagger
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.fill import FillSettings, fill_file
from beampipe.calibration.events.select import SelectSettings
from beampipe.calibration.events.variations import energy_shifts
from beampipe.calibration.ntuple.inspection import inspect_file
from beampipe.simulation.ntuples.ntuple_format import VARIED_N_TRK
from beampipe.terminal import make_table
from beampipe.workflow import Task, open_pool, run

WORKERS: Final = 2
SETTLED: Final = 10
WANTED_MB: Final = 400.0
WANTED_SLOPE_MB: Final = 0.05


@dataclass(frozen=True)
class Memory:
    """Memory of a worker at the end of a task.

    Attributes:
        worker: process number of the worker.
        resident: memory that the worker holds [MB].
        most: most memory that the worker ever held [MB].
    """

    worker: int
    resident: float
    most: float


def work(path: Path, weight_names: tuple[str, ...], replicas: int) -> Memory:
    """Select and fill one file, with all weights and all variations of jets."""
    facts, energy = inspect_file(path), Energy()
    units = WeightUnits()
    selecting = SelectSettings(
        DijetSelection(), Regions(), units, True, True, tuple(range(len(weight_names))), ("trk_eff", "trk_fake")
    )
    filling = FillSettings(
        pt_edges=(500.0, 600.0, 800.0, 1000.0, 1200.0, 1500.0, 2000.0),
        taggers=(Tagger(),),
        selection=DijetSelection(),
        energy=energy,
        units=units,
        labelled=True,
        weight_names=weight_names,
        kinematics=(*VARIED_N_TRK, *energy_shifts(energy)),
        bootstrap=Bootstrap(replicas, 1),
        dataset=facts.dataset,
    )
    fill_file(path, 0, facts.n_events, selecting, filling)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return Memory(os.getpid(), psutil.Process().memory_info().rss / 1e6, most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument(
        "--events", type=int, default=100_000, help="number of events of a file, which is read as one chunk"
    )
    parser.add_argument("--weights", type=int, default=101)
    parser.add_argument("--replicas", type=int, default=200, help="number of replicas of the bootstrap")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_memory.json"))
    options = parser.parse_args()
    begun = conditions("memory of the calibration's workers")
    toys = make_toys(Toy("memory", 4 * options.events, 4, options.weights, seed=7))[0]
    names = inspect_file(toys[0]).weight_names
    rows = []
    for name, recycle in (("replaced after 50 tasks", 50), ("never replaced", 10**9)):
        tasks = [Task(str(k), work, (toys[k % len(toys)], names, options.replicas)) for k in range(options.files)]
        with open_pool("processes", WORKERS, recycle=recycle) as pool:
            rows.append({"workers": name, **figures(run(tasks, pool))})
    title = f"{options.files} files of {options.events} events, {options.weights} weights, {WORKERS} workers"
    numbers = ("processes", "most [MB]", "at the end [MB]", "slope [MB per file]")
    table = make_table(title, ("workers",), numbers)
    for row in rows:
        table.add_row(
            row["workers"],
            str(row["processes"]),
            *(f"{row[key]:.{d}f}" for key, d in (("most", 0), ("last", 0), ("slope", 3))),
        )
    CONSOLE.print(table)
    met = all(row["most"] <= WANTED_MB and row["slope"] <= WANTED_SLOPE_MB for row in rows)
    CONSOLE.print(f"{'met' if met else 'NOT met'}: at most {WANTED_MB:.0f} MB, and flat", markup=False)
    report(options.output, begun, {"rows": rows, "met": met})


def figures(seen: Sequence[Memory]) -> dict[str, Any]:
    """Peak, last value and slope of the workers' memory."""
    by_worker: dict[int, list[float]] = defaultdict(list)
    for memory in seen:
        by_worker[memory.worker].append(memory.resident)
    together = spread = 0.0
    for values in by_worker.values():
        settled = np.array(values[SETTLED:])
        time = np.arange(len(settled)) - (len(settled) - 1) / 2
        together, spread = together + float(time @ settled), spread + float(time @ time)
    return {
        "processes": len(by_worker),
        "most": max(memory.most for memory in seen),
        "last": float(np.mean([values[-1] for values in by_worker.values()])),
        "slope": together / spread if spread else 0.0,
        "resident": list(by_worker.values()),
    }


if __name__ == "__main__":
    main()
