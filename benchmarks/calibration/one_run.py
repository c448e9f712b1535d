"""One run of a program that fills the calibration's histograms, from an empty store, as a process of its own.

Its argument is JSON, such as ``{"program": "ours", "files": {"nominal": [...], "data": [...]}}``; the other keys are
arguments of `ours` or `coffea`. Workers are forked as `beampipe calibration run` forks them in a first run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

BITS: Final = 36
"""Bits of the weights: they are rounded to multiples of 2**-BITS."""

ENERGY: Final = (45, 8)
"""Nuisance parameters of the jet energy: 106 variations, as in the campaign that this is measured against."""

STORES: Final = Path("runs/bench/calibration/stores")


def ours(
    files: Mapping[str, Sequence[str]],
    *,
    weights: bool = False,
    executor: str = "processes",
    workers: int = 2,
    gbdt: bool = False,
) -> Any:
    """Fill all histograms of a calibration that was never run.

    Args:
        files: files of each sample, by its name.
        weights: fill all weights, not only the nominal one.
        executor: where tasks run; see `RunSettings`.
        workers: number of tasks that run at once.
        gbdt: fill the score of the shipped boosted tagger, too, as the demo does.

    Returns:
        The plan of the calibration.
    """
    from beampipe.calibration.config import Bootstrap, Configuration, Energy, InputSample, Systematic
    from beampipe.calibration.run import run_calibration
    from beampipe.calibration.taggers import Tagger
    from beampipe.calibration.tasks.runtime import RunSettings, fork_workers

    systematics = [Systematic("weights", "envelope", weights=("*",))] if weights else []
    STORES.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, Any] = {"nominal": "simulation", "data": "data"}
    configuration = Configuration(
        output=Path(tempfile.mkdtemp(dir=STORES)),
        samples={
            name: InputSample(name, tuple(map(Path, files[name])), kind, weight_bits=BITS)
            for name, kind in kinds.items()
        },
        energy=Energy(*ENERGY),
        bootstrap=Bootstrap(0, 0),
        systematics=tuple(systematics),
        taggers=(Tagger(), Tagger("gbdt", 25, 0.0, 1.0, "shipped")) if gbdt else (Tagger(),),
    )
    settings = RunSettings(executor, workers)
    fork_workers(settings)
    return run_calibration(configuration, settings, until="fill")


def coffea(
    files: Mapping[str, Sequence[str]],
    *,
    chunk: int = 10**6,
    weight_names: Sequence[str] = ("nominal",),
    layout: str = "list",
    workers: int = 2,
    count: bool = False,
    gbdt: bool = False,
) -> Any:
    """Fill the same histograms with coffea.

    The arguments are those of `DijetProcessor` and `run_coffea`, whose result it returns.
    """
    from with_coffea import DijetProcessor, run_coffea

    from beampipe.calibration.config import Configuration

    process = DijetProcessor(Configuration.__dataclass_fields__["pt_edges"].default, weight_names, count, layout, gbdt)
    return run_coffea(files, process, workers=workers, chunk=chunk)


def main() -> None:
    """Run what the first argument of the command says."""
    settings = json.loads(sys.argv[1])
    {"ours": ours, "coffea": coffea}[settings.pop("program")](**settings)
