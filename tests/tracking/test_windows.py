"""Learning windows from particles in a toy detector, and keeping them in a file."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError, FileError
from beampipe.events import Event, Hits
from beampipe.tracking import kernels
from beampipe.tracking.training.windows import WindowConfig, learn_windows
from beampipe.tracking.windows import Windows, load_windows, save_windows

from .kernels.toy_map import toy_windows
from .training.toy import toy_event
from .unchecked import unchecked

CONFIG = WindowConfig(min_triplets=15)


def toy_events(seeds: range) -> list[Event]:
    return [toy_event(400, seed, pt_scale=1.5, smear=0.03) for seed in seeds]


@pytest.fixture(scope="module")
def taught() -> list[Event]:
    return toy_events(range(12))


@pytest.fixture(scope="module")
def windows(taught: list[Event]) -> Windows:
    return learn_windows(taught, CONFIG)


def wanted_particles(event: Event) -> ndarray:
    """Ids of the particles that `CONFIG` teaches."""
    assert event.truth is not None
    particles = event.truth.particles
    wanted: ndarray = particles.particle_id[(particles.pt > CONFIG.pt_min) & (np.abs(particles.eta) < CONFIG.eta_max)]
    return wanted


def true_doublets(event: Event, most_on_layer: int = 2) -> ndarray:
    """(2, n) pairs of hits on layers that a particle crosses one after the other, straight from the definition."""
    assert event.truth is not None
    assert event.hits.geometry_id is not None
    position, layer = event.hits.position, event.hits.geometry_id >> np.uint64(36)
    rho = np.hypot(position[:, 0], position[:, 2])
    pairs = []
    for particle in wanted_particles(event):
        steps: dict[int, list[int]] = {}
        mine = np.flatnonzero(event.truth.particle_id == particle)
        for hit in mine[np.argsort(rho[mine])]:
            steps.setdefault(int(layer[hit]), []).append(int(hit))
        for here, there in pairwise(steps.values()):
            if max(len(here), len(there)) > most_on_layer:
                continue
            pairs += [(a, b) for a in here for b in there if position[b, 0] > position[a, 0] + 0.5]
    return np.array(pairs).T


def test_edges_of_other_events_are_found(windows: Windows) -> None:
    result = wanted = 0
    for event in toy_events(range(100, 102)):
        edges = set(map(tuple, kernels.module_map_edges(event.hits.position, windows).T.tolist()))
        true = list(map(tuple, true_doublets(event, most_on_layer=1).T.tolist()))
        result, wanted = result + len(edges & set(true)), wanted + len(true)
    assert wanted > 1000
    # A doublet alone is no edge. The toy's second hits of a layer lie off the helix, and are left out.
    assert result >= 0.96 * wanted


def test_learning_repeats_exactly(taught: list[Event]) -> None:
    once, again = learn_windows(taught[:3], CONFIG), learn_windows(iter(taught[:3]), CONFIG)
    for field in fields(Windows):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(once, field.name))


def test_events_without_truth_or_modules_are_refused(taught: list[Event]) -> None:
    with pytest.raises(ConfigError, match="event 0: got no truth or no geometry ids"):
        learn_windows([replace(taught[0], truth=None)], CONFIG)
    with pytest.raises(ConfigError, match="no geometry ids"):
        learn_windows([replace(taught[0], hits=Hits(taught[0].hits.position))], CONFIG)


def test_overlapping_layers_are_refused(taught: list[Event]) -> None:
    with pytest.raises(ConfigError, match=r"layer \d+ overlaps \[.*\] in r and z; lower padding"):
        learn_windows(taught, replace(CONFIG, padding=30.0))


def test_a_file_gives_back_what_was_saved(windows: Windows, tmp_path: Path) -> None:
    path = tmp_path / "windows.safetensors"
    save_windows(windows, path)
    loaded = load_windows(path)
    for field in fields(Windows):
        before, after = getattr(windows, field.name), getattr(loaded, field.name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("size", [0, 5, 300, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "windows.safetensors"
    save_windows(toy_windows(), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FileError, match=r"windows\.safetensors: got no readable windows"):
        load_windows(path)


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="got no readable windows"):
        load_windows(tmp_path / "gone.safetensors")
    from safetensors.numpy import save_file

    save_file({"layers": np.zeros((2, 4), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(FileError, match=r"got no readable windows \('pairs'\)"):
        load_windows(tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", [field.name for field in fields(Windows)])
def test_tables_that_do_not_fit_together_are_refused(name: str) -> None:
    tables = {field.name: getattr(toy_windows(), field.name) for field in fields(Windows)}
    with pytest.raises(ConfigError, match="windows: got"):
        unchecked(Windows, **(tables | {name: tables[name][:-1]}))


@pytest.mark.parametrize("number", [-1, 7])
def test_a_layer_that_is_not_there_is_refused(number: int) -> None:
    good = toy_windows()
    pairs = good.pairs.copy()
    pairs[-1, 1] = number
    with pytest.raises(ConfigError, match="got a layer number beyond the 7 layers in pairs"):
        replace(good, pairs=pairs)
