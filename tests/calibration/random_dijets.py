"""Random dijet events in memory, for tests that need no file, and how tables of them are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.calibration.config import Bootstrap, DijetSelection, Energy
from beampipe.calibration.events.dijets import CUT_NAMES, CutFlow, Dijets, RunRange, WeightUnits
from beampipe.calibration.events.fill import FillSettings
from beampipe.calibration.events.variations import jet_variations
from beampipe.calibration.taggers import Tagger

PT_EDGES = (500.0, 800.0, 1200.0, 2000.0)


def random_dijets(n: int, seed: int, *, n_weights: int = 3, first_event: int = 0) -> Dijets:
    """Pairs of jets, most of them selected."""
    rng = np.random.default_rng(seed)
    lead = rng.uniform(500, 2000, n)
    pt = np.stack([lead, lead * rng.uniform(0.6, 1.0, n)], axis=1).astype(np.float32)
    n_trk = rng.integers(0, 50, (n, 2)).astype(np.uint16)
    forward = rng.integers(0, 2, n)
    return Dijets(
        run=np.ones(n, np.uint32),
        event=(first_event + rng.permutation(n)).astype(np.uint64),
        entry=np.arange(n, dtype=np.uint32),
        jet=np.broadcast_to(np.arange(2, dtype=np.uint16), (n, 2)),
        weight=(rng.lognormal(0, 1.5, (n, 1)) * rng.normal(1, 0.1, (n, n_weights))).astype(np.float32),
        pt=pt,
        eta=rng.uniform(-2.1, 2.1, (n, 2)).astype(np.float32),
        n_trk=n_trk,
        width=rng.uniform(0, 0.3, (n, 2)).astype(np.float32),
        c1=rng.uniform(0, 0.4, (n, 2)).astype(np.float32),
        label=rng.integers(0, 4, (n, 2)).astype(np.int8),
        region=np.stack([forward, 1 - forward], axis=1).astype(np.int8),
        cut_flow=CutFlow(np.full(len(CUT_NAMES), n), np.zeros(len(CUT_NAMES), np.int64)),
        ranges=(RunRange(1, first_event, first_event + n - 1),) if n else (),
        varied_n_trk={"trk_eff": np.maximum(n_trk, 1) - np.uint16(1)},
    )


def taken(dijets: Dijets, rows: Any) -> Dijets:
    """Some of the events, in any order."""
    names = ("run", "event", "entry", "jet", "weight", "pt", "eta", "n_trk", "width", "c1", "label", "region")
    columns: dict[str, Any] = {name: getattr(dijets, name)[rows] for name in names}
    n = len(columns["run"])
    flow = CutFlow(np.full(len(CUT_NAMES), n), np.zeros(len(CUT_NAMES), np.int64))
    varied = {name: values[rows] for name, values in dijets.varied_n_trk.items()}
    return Dijets(**columns, cut_flow=flow, varied_n_trk=varied)


def fill_settings(**changes: Any) -> FillSettings:
    """For events of `random_dijets`."""
    standard: dict[str, Any] = {
        "pt_edges": PT_EDGES,
        "taggers": (Tagger("n_trk", 25, 0.0, 50.0),),
        "selection": DijetSelection(),
        "energy": Energy(2, 1),
        "units": WeightUnits(30),
        "labelled": True,
        "weight_names": ("nominal", "one", "two"),
        "kinematics": ("trk_eff", "jes_1_up", "jer_1_down"),
        "bootstrap": Bootstrap(7, 3),
        "dataset": "toy",
    }
    return FillSettings(**(standard | changes))


def require_same(got: Any, want: Any, name: str = "", *, but: Sequence[str] = ()) -> None:
    """The same numbers of the same types, in all fields of tables and histograms but some."""
    if is_dataclass(want):
        for item in fields(want):
            if item.name not in but:
                require_same(getattr(got, item.name), getattr(want, item.name), item.name)
    elif isinstance(want, Mapping):
        assert got.keys() == want.keys(), name
        for key, each in want.items():
            require_same(got[key], each, f"{name} {key}")
    elif isinstance(want, np.ndarray):
        assert got.dtype == want.dtype, name
        np.testing.assert_array_equal(got, want, err_msg=name)
    else:
        assert got == want, name


def shifted_pt(name: str, energy: Energy, **columns: ndarray) -> ndarray:
    """pT of jets in a variation of the jet energy, given the columns that it reads."""
    variation = jet_variations(energy)[name]
    assert variation.vary is not None
    shifted: ndarray = variation.vary(*(columns[column] for column in variation.reads))
    return shifted
