"""Rings of modules against the detectors that the hits are of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.events import Event, Hits, cylindrical
from beampipe.simulation.detector import Modules, detector_modules, generic_modules, read_layout
from beampipe.tracking.fitting.tables import FitTables, layer_of
from beampipe.tracking.loading import load_track_fitter
from beampipe.tracking.training.rings import rings_of_modules


def apart(tables: FitTables, modules: Modules) -> ndarray:
    """Angles between where modules lie and where the tables have them [rad]."""
    position = cylindrical(*modules.centre.T)
    layer = layer_of(position, tables.layers)
    normal, middle = modules.axes[:, :2, 2], modules.centre[:, :2]
    x, y = np.where(tables.barrel[layer, None], normal, middle).T
    away = tables.module_azimuth(position, layer) - np.arctan2(y, x)
    return np.asarray(away - np.pi * np.round(away / np.pi))


@pytest.mark.parametrize("name", ["generic", "odd"])
def test_shipped_rings_are_those_of_the_detector(name: str) -> None:
    modules = generic_modules() if name == "generic" else detector_modules(read_layout(Path(name)))
    assert np.abs(apart(load_track_fitter(name).tables, modules)).max() < 2e-4


def test_rings_from_hits_with_and_without_local_positions() -> None:
    modules, random = generic_modules(), np.random.default_rng(1)
    dead = random.random(len(modules)) < 0.02
    row = np.repeat(np.flatnonzero(~dead), 20)
    local = modules.uniform(row, random)
    position = cylindrical(*modules.to_global(row, local.astype(np.float64)).T)
    hits = Hits(position, modules.geometry_id[row], local, modules.variance[row].astype(np.float32))
    tables = load_track_fitter().tables
    given = np.zeros(len(tables.layers))
    given[layer_of(position, tables.layers)] = modules.variance[row, 0]
    for known, largest in ((hits, 2e-4), (replace(hits, local=None), 0.05)):
        rings, across = rings_of_modules([Event(1, known)], tables.layers)
        np.testing.assert_allclose(across, given if known.local is not None else np.nan, rtol=1e-3)
        assert len(rings) == len(tables.rings)
        assert np.abs(apart(replace(tables, rings=rings), modules)).max() < largest
    assert len(rings_of_modules([Event(1, replace(hits, geometry_id=None))], tables.layers)[0]) == 0
