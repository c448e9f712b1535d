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
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import Figure, begin, write_result
from toys import Toy, make_toys

from beampipe.calibration.config import Bootstrap, DijetSelection, Energy, Regions, Tagger
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.fill import FillSettings, fill_file
from beampipe.calibration.events.select import SelectSettings
from beampipe.calibration.events.variations import energy_shifts
from beampipe.calibration.ntuple.inspection import inspect_file
from beampipe.simulation.ntuples.ntuple_format import VARIED_N_TRK
from beampipe.workflow import Task, open_pool, run

WORKERS: Final = 2
SETTLED: Final = 10


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
    begun = begin("memory of the calibration's workers")
    toys = make_toys(Toy("memory", 4 * options.events, 4, options.weights, seed=7))[0]
    names = inspect_file(toys[0]).weight_names
    figures = []
    for name, recycle in (("replaced workers", 50), ("never replaced workers", 10**9)):
        tasks = [Task(str(k), work, (toys[k % len(toys)], names, options.replicas)) for k in range(options.files)]
        with open_pool("processes", WORKERS, recycle=recycle) as pool:
            seen = run(tasks, pool)
        figures.append(Figure(f"{name}: largest", max(memory.most for memory in seen), "MB"))
        figures.append(Figure(f"{name}: growth", slope(seen), "MB a file"))
    write_result(options.output, begun, figures)


def slope(seen: Sequence[Memory]) -> float:
    """Growth of the workers' memory with each task [MB]."""
    by_worker: dict[int, list[float]] = defaultdict(list)
    for memory in seen:
        by_worker[memory.worker].append(memory.resident)
    together = spread = 0.0
    for values in by_worker.values():
        settled = np.array(values[SETTLED:])
        time = np.arange(len(settled)) - (len(settled) - 1) / 2
        together, spread = together + float(time @ settled), spread + float(time @ time)
    return together / spread if spread else 0.0


if __name__ == "__main__":
    main()
