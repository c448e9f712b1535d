"""What a worker needs, loaded: imported by the server that workers are forked from, so that it is paid for once.

Importing this module fills a few shipped events, which loads the compiled loops and uproot's classes. It starts no
thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from beampipe.calibration.config.configuration import Bootstrap, Energy, Tagger
from beampipe.calibration.config.regions import Regions
from beampipe.calibration.config.selection import DijetSelection
from beampipe.calibration.histograms.fill import FillSettings, fill
from beampipe.calibration.jets.energy import energy_names
from beampipe.calibration.jets.select import SelectSettings, select
from beampipe.calibration.tagger.predict import Scores
from beampipe.calibration.tasks.chunks import run_chunk
from beampipe.calibration.tasks.merging import fill_and_merge

__all__ = ["fill_and_merge", "run_chunk"]

_FILE: Final = Path(__file__).parents[1] / "data" / "toy.slice0.0000.root"


def _warm() -> None:
    """Read and fill in every way that has code of its own."""
    cuts, energy, bins = DijetSelection(), Energy(1, 1), (500.0, 2000.0)
    jets = ("trk_eff", *energy_names(energy))
    for names in (("nominal",), ("nominal", "varied")):
        settings = SelectSettings(cuts, Regions(), 36, True, True, tuple(range(len(names))), jets[:1])
        dijets = select(_FILE, 0, 100, settings)
        fill(dijets, Scores(), FillSettings(bins, (Tagger(),), cuts, energy, 36, True, names, jets, Bootstrap(4), ""))


_warm()
