"""What does another cut cost after a first run? `python benchmarks/calibration/rerun.py [--events 1000000]`

A calibration of toy events is run, then again with another `min_eta_gap`, another edge of pT and another working point,
each with one worker, from stored tables. Times are of the CPU, up to the scale factors; `open` events of Python count
the ROOT files that are opened.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import Figure, Reference, begin, cpu_seconds, write_result
from toys import KEPT, Toy, make_toys

from beampipe.calibration.config import Bootstrap, Configuration, InputSample, Regions, Systematic
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.runtime import RunSettings

FOLDER: Final = KEPT / "rerun"
OPENED: Final[list[str]] = []


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Remember the ROOT files that are opened."""
    if event == "open" and str(arguments[0]).endswith(".root"):
        OPENED.append(str(arguments[0]))


def cpu_of(configuration: Configuration) -> tuple[float, int]:
    """CPU time [s] of a run, and the number of ROOT files that it opens."""
    before, start = len(OPENED), cpu_seconds()
    run_calibration(configuration, RunSettings("inline"))
    return cpu_seconds() - start, len(OPENED) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_rerun.json"))
    options = parser.parse_args()
    begun = begin("cuts after a first run")
    sys.addaudithook(note)
    nominal, data = make_toys(
        Toy("rerun", options.events, 6, n_weights=11),
        Toy("rerun_data", options.events // 4, 2, kind="data", seed=2),
    )
    samples = {"nominal": InputSample("nominal", tuple(nominal)), "data": InputSample("data", tuple(data), "data")}
    plain = Configuration(FOLDER / "n_trk", samples, bootstrap=Bootstrap(0))
    shifts = Systematic("energy", "up_down", kinematics=("jes_*", "jer_*"))
    configurations = {
        "n_trk": plain,
        "n_trk, 200 replicas": replace(plain, bootstrap=Bootstrap(200)),
        "n_trk, 10 weights kept": replace(
            plain, keep_variations=True, systematics=(Systematic("pdf", "envelope", weights=("*",)),)
        ),
        "boosted tagger, 106 shifts": replace(
            plain, taggers=(Tagger(), Tagger("gbdt", 25, 0.0, 1.0, "shipped")), systematics=(shifts,)
        ),
    }
    edges = (500.0, 650.0, *plain.pt_edges[2:])
    figures = []
    cpu_of(replace(plain, output=FOLDER / "warm"))  # libraries are loaded, files are in memory
    for title, each in configurations.items():
        shutil.rmtree(FOLDER, ignore_errors=True)
        first, _ = cpu_of(each)
        tables = sum(path.stat().st_size for path in (each.output / "store" / "select").rglob("*.npz"))
        figures.append(Figure(f"{title}: tables per event", tables / (1.25 * options.events), "B"))
        for name, changed in (
            ("min_eta_gap", replace(each, regions=Regions(min_eta_gap=0.6))),
            ("an edge of pT", replace(each, pt_edges=edges)),
            ("a working point", replace(each, working_points=(0.5, 0.65))),
        ):
            cost, opened = cpu_of(changed)
            figures.append(Figure(f"{title}: {name}", cost, "s", reference=Reference("first run", first)))
            figures.append(Figure(f"{title}: {name}: ROOT files opened", opened, ""))
    write_result(options.output, begun, figures)


if __name__ == "__main__":
    main()
