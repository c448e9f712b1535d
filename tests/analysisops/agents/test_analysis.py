"""Branches that nobody has named as we do are recognised, in every dialect of the samples."""

from __future__ import annotations

import pytest

from beampipe.analysisops.agents.analysis import recognise
from beampipe.analysisops.samples.dataset import DIALECTS, Dialect

OBJECTS = {
    "lep": ("pt", "eta", "phi", "e", "charge", "type", "ptcone20", "isTightID"),
    "photon": ("pt", "eta", "phi", "e", "ptcone20", "isTightID"),
    "jet": ("pt", "eta", "phi", "e", "btag_quantile"),
}
EVENTS = ("met", "met_phi", "mcWeight")


def schema(dialect: Dialect, median: float) -> dict[str, object]:
    """What a file of a dialect looks like, with one median for all that is an energy."""
    branches = {dialect.event_column(name): {"median": median if name == "met" else 0.1} for name in EVENTS}
    branches |= {dialect.event_column(name): {"median": 0.1} for name in ("jet_n_trk", "jet_label")}
    for prefix, names in OBJECTS.items():
        branches[dialect.counter_column(prefix)] = {"median": 2.0}
        for name in names:
            branches[dialect.object_column(prefix, name)] = {"median": median if name in ("pt", "e") else 0.1}
    return {"trees": {dialect.tree: {"n_entries": 10, "branches": branches}}}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
def test_every_dialect_is_recognised(dialect: Dialect) -> None:
    layout = recognise(schema(dialect, 40.0))
    wanted = {name: dialect.event_column(name) for name in EVENTS}
    for prefix, names in OBJECTS.items():
        wanted |= {f"{prefix}_{name}": dialect.object_column(prefix, name) for name in names}
    wanted |= {name: dialect.event_column(name) for name in ("jet_n_trk", "jet_label")}
    assert layout.columns == wanted
    assert (layout.tree, layout.energy) == (dialect.tree, 1.0)


def test_energies_in_mev_are_seen() -> None:
    assert recognise(schema(DIALECTS[0], 40_000.0)).energy == 1e-3
