"""Where the modules of a layout stand, against closed forms, straight lines and ACTS."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Bool, Float64
from beampipe.errors import InputError
from beampipe.events import Event, Hits
from beampipe.simulation.degradation import Degradation, degrade
from beampipe.simulation.detector import SILICON_X0, DetectorLayout, Modules, detector_modules, read_layout, shells

from .layouts import COMPACT, LONGBAR


@pytest.fixture(scope="module", params=[COMPACT, LONGBAR], ids=["compact", "longbar"])
def layout(request: pytest.FixtureRequest) -> DetectorLayout:
    path: Path = request.param
    return read_layout(path)


@pytest.fixture(scope="module")
def geometry(layout: DetectorLayout) -> Any:
    from beampipe.simulation.acts_geometry import build_layout

    return build_layout(layout)


@pytest.mark.acts
def test_acts_has_the_same_modules(layout: DetectorLayout, geometry: Any) -> None:
    from .places import read_modules

    table = detector_modules(layout)
    made = read_modules(geometry)
    assert set(made) == {"geometry_id", "centre", "axes", "half_x_low", "half_x_high", "half_y"}
    for name, values in made.items():
        # For the grid of ACTS, modules are turned by a microradian.
        np.testing.assert_allclose(values, getattr(table, name), rtol=0, atol=1.001e-6 if name == "axes" else 1e-9)


@pytest.mark.acts
def test_acts_has_the_matter(layout: DetectorLayout, geometry: Any) -> None:
    table = detector_modules(layout)
    assert layout.beam_pipe is not None
    seen = {}
    for identifier, surface in geometry.geoIdSurfaceMap().items():
        if identifier.sensitive:
            text = surface.surfaceMaterial.toString()
            assert f"x0={SILICON_X0:g}|" in text
            seen[identifier.value] = float(text.rpartition("|t=")[2].split()[0])
    pipe = seen.pop(min(seen))
    assert pipe == pytest.approx(layout.beam_pipe.thickness_x0 * SILICON_X0, rel=1e-5)
    np.testing.assert_allclose([seen[number] for number in table.geometry_id.tolist()], table.silicon, rtol=1e-5)


def test_identifiers_and_axes(layout: DetectorLayout) -> None:
    table = detector_modules(layout)
    assert (np.diff(table.geometry_id.astype(np.int64)) > 0).all()
    turned = np.einsum("nik,nil->nkl", table.axes, table.axes)
    np.testing.assert_allclose(turned, np.broadcast_to(np.eye(3), turned.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(table.axes), 1.0)


def test_the_layers_are_hermetic(layout: DetectorLayout) -> None:
    """Straight lines from the beam line through every layer, away from its ends, against all modules of the layer."""
    rng, table = np.random.default_rng(1), detector_modules(layout)
    for layer in (layer for shell in shells(layout) for layer in (*shell.barrel, *shell.positive[:2])):
        rows = np.flatnonzero(np.isin(table.geometry_id, layer.geometry_id))
        phi = rng.uniform(-np.pi, np.pi, 300)
        if layer.cylinder:
            reach = 0.98 * np.abs(layer.centre[:, 2]).max()
            radius, z = np.hypot(*layer.centre[0, :2]), rng.uniform(-reach, reach, len(phi))
        else:
            ends = np.hypot(layer.centre[:, 0], layer.centre[:, 1])
            radius, z = rng.uniform(ends.min(), ends.max(), len(phi)), np.full(len(phi), layer.centre[:, 2].mean())
        target = np.column_stack([radius * np.cos(phi), radius * np.sin(phi), z])
        start = np.column_stack([0 * phi, 0 * phi, rng.normal(0, layout.vertex.spread_z_mm, len(phi))])
        assert crossed(table, rows, start, target - start).mean() > 0.97, layer.name


def crossed(
    table: Modules, rows: ndarray, start: Float64[ndarray, "n 3"], direction: Float64[ndarray, "n 3"]
) -> Bool[ndarray, " n"]:
    """Which lines go through one of the modules in front of them."""
    hit = np.zeros(len(start), np.bool_)
    for row in rows.tolist():
        normal = table.axes[row, :, 2]
        along = ((table.centre[row] - start) @ normal) / (direction @ normal)
        local = table.to_local(np.full(len(start), row), start + along[:, None] * direction)
        hit |= (along > 0) & table.inside(np.full(len(start), row), local[:, :2])
    return hit


def test_rows_overlap_as_asked(layout: DetectorLayout) -> None:
    """Neighbours of a cylinder cover its circumference and the overlap, and no row more than four would do."""
    for barrel in layout.barrel:
        for shell in shells(layout):
            for layer in (part for part in shell.barrel if part.name.startswith(f"barrel.{barrel.name},")):
                rows = len(layer.centre) // barrel.modules_in_row
                radius = np.hypot(layer.centre[:, 0], layer.centre[:, 1]).mean() + barrel.stagger_mm / 2
                assert rows % 4 == 0
                assert rows * barrel.step >= 2 * np.pi * radius > (rows - 4) * barrel.step


def test_degradation_knows_the_modules(layout: DetectorLayout) -> None:
    table = detector_modules(layout)
    rng = np.random.default_rng(2)
    row = rng.integers(len(table), size=2000)
    local = table.uniform(row, rng)
    x, y, z = table.to_global(row, local.astype(np.float64)).T
    position = np.column_stack([np.hypot(x, y), np.arctan2(y, x), z]).astype(np.float32)
    event = Event(0, Hits(position, table.geometry_id[row], local, table.variance[row].astype(np.float32)))
    only_noise = Degradation(hit_loss=0.0, dead_modules=0.0, noise=1.0)
    noise = degrade(event, only_noise, seed=1, modules=table).hits.take(np.arange(2000, 3500))
    assert noise.geometry_id is not None
    assert noise.local is not None
    assert table.inside(table.rows(noise.geometry_id), noise.local, 1e-3).all()
    with pytest.raises(InputError, match="modules of the detector 'generic'; say of which detector"):
        degrade(event, Degradation(), seed=1)
