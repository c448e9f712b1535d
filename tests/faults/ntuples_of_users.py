"""Small ntuples as users have them, with changes planted, and a calibration of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from numpy import ndarray
from rich.console import Console

from beampipe.calibration.config import load_configuration
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.report.tables import print_factors
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.runtime import FACTORS
from beampipe.simulation.ntuples import toy_events
from tests.calibration.campaign import INLINE
from tests.calibration.layout.disguises import jagged, tree

__all__ = ["N_EVENTS", "PLAIN", "calibrate", "columns", "jets", "ntuple", "of_jets"]

N_EVENTS = 900

Columns = dict[str, Any]
Change = Callable[[Columns], None]

PLAIN = """
output = "out"
pt_edges = [500.0, 800.0, 2000.0]
working_points = [0.5]
bootstrap = {{ replicas = 8 }}
taggers.n_trk = {{ bins = 15, low = 0.0, high = 60.0 }}
samples.nominal = {{ files = "simulation*.root", luminosity = 800.0, cross_section = 1.0{nominal} }}
samples.data = {{ files = "data*.root", kind = "data" }}
layout.preset = "ntuple"
layout.sums.source = "events"
layout.branches.trigger = "trigger"
{more}
"""
"""A calibration of the ntuples that `ntuple` writes; `nominal` continues the table of the sample."""


def columns(n: int = N_EVENTS, seed: int = 5, *, simulated: bool = True, first_event: int = 0) -> Columns:
    """The branches of an ntuple: run, event, trigger, weight, and lists of jets."""
    events = toy_events(n, seed, kind="simulation" if simulated else "data", first_event=first_event)
    names = ("pt", "eta", "phi", "n_trk", "width", "c1", *(("label",) if simulated else ()))
    table: Columns = {name: events.columns[name] for name in ("run", "event", "trigger")}
    table |= {f"jet_{name}": jagged(events, events.columns[f"jet_{name}"]) for name in names}
    if simulated:
        assert events.weight is not None
        table["weight"] = events.weight[:, 0].copy()
    rng = np.random.default_rng(seed + 1)
    n_trk = np.maximum(events.jet_n_trk, 2)
    table["jet_n_trk"] = jagged(events, n_trk)
    score = np.clip(0.25 + n_trk / 60 + rng.normal(0, 0.1, len(n_trk)), 0, 1).astype(np.float32)
    table["jet_score"] = jagged(events, score)
    return table


def of_jets(table: Columns, name: str, change: Callable[[ndarray], Any]) -> None:
    """Replace the numbers of a branch of jets by a function of all of them."""
    lists = table[name]
    numbers = change(ak.to_numpy(ak.flatten(lists)).copy())
    table[name] = ak.unflatten(numbers, ak.num(lists))


def jets(name: str, change: Callable[[ndarray], Any]) -> Change:
    """The change of a branch of jets, see `of_jets`."""
    return lambda table: of_jets(table, name, change)


def ntuple(path: Path, change: Change | None = None, **options: Any) -> Path:
    """Write an ntuple with changed branches."""
    table = columns(**options)
    if change is not None:
        change(table)
    tree(path, "ntuple", table)
    return path


def write_both(folder: Path, simulation: Change | None = None, data: Change | None = None) -> None:
    """One file of simulation, `simulation.root`, and one of data, `data.root`, unless they exist."""
    for name, change, simulated in (("simulation", simulation, True), ("data", data, False)):
        if not list(folder.glob(f"{name}*.root")):
            ntuple(folder / f"{name}.root", change, seed=5 + simulated, simulated=simulated)


def calibrate(
    folder: Path,
    simulation: Change | None = None,
    data: Change | None = None,
    more: str = "",
    nominal: str = "",
    settings: Mapping[str, str] = {},
) -> str:
    """Run a calibration of ntuples with changed branches, and return what its terminal shows.

    Args:
        folder: folder with the files; those that are missing are written.
        simulation: change of the branches of simulation.
        data: change of the branches of data.
        more: further lines of the configuration.
        nominal: further settings of the sample of simulation.
        settings: texts of the configuration to replace.
    """
    write_both(folder, simulation, data)
    text = PLAIN.format(more=more, nominal=nominal)
    for old, new in settings.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "config.toml").write_text(text, encoding="utf-8")
    configuration = load_configuration(folder / "config.toml", output=folder / "out")
    run_calibration(configuration, INLINE)
    shown = StringIO()
    print_factors(configuration, Console(file=shown, width=200))
    Factors.read(configuration.output / FACTORS).require_valid()
    return shown.getvalue()
