"""Preload the libraries of workers: the fork server imports this module once, and all workers share its memory.

Importing this module fills histograms with a few shipped events, which loads the compiled loops and uproot's classes.
It starts no thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from beampipe.calibration.config import Bootstrap, DijetSelection, Energy
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.fill import FillSettings, fill_file
from beampipe.calibration.events.select import SelectSettings
from beampipe.calibration.events.variations import built_in_variations
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.plan import fill_and_merge, run_chunk

__all__ = ["fill_and_merge", "run_chunk"]

_FILE: Final = Path(__file__).parents[1] / "data" / "toy.slice0.0000.root"

_facts, _energy = inspect_file(_FILE), Energy(1, 1)
fill_file(
    *(_FILE, 0, 100),
    SelectSettings(DijetSelection(), WeightUnits(), True, True, (0, 1), ("trk_eff",)),
    FillSettings(
        *((500.0, 2000.0), (Tagger(),), DijetSelection(), _energy, WeightUnits(), True, _facts.weight_names[:2]),
        *(built_in_variations(("trk_eff",), _energy), Bootstrap(4), _facts.dataset),
    ),
)
