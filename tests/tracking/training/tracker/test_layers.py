"""Layers are found without identifiers as well as with them, and where they cannot be told, that is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError
from beampipe.events import Event
from beampipe.tracking.data import shipped_events
from beampipe.tracking.training.detector import find_layers, layers_from_positions
from tests.tracking.training.toy import BARREL, DISKS, toy_event

LAYER = np.uint64(36)


def with_ids(event: Event, ids: ndarray | None) -> Event:
    return replace(event, hits=replace(event.hits, geometry_id=ids))


def same_groups(a: ndarray, b: ndarray) -> bool:
    """Whether two numberings group the hits alike."""
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


def ids_of(events: tuple[Event, ...] | list[Event]) -> ndarray:
    results = [event.hits.geometry_id for event in events]
    return np.concatenate([ids for ids in results if ids is not None])


@pytest.fixture(scope="module")
def generic() -> list[Event]:
    return list(shipped_events(60))


def test_positions_alone_give_the_layers_of_the_generic_detector(generic: list[Event]) -> None:
    assert len({*(ids_of(generic) >> LAYER).tolist()}) == 48
    result = find_layers([with_ids(event, None) for event in generic])
    assert (result.n_layers, result.source, result.has_modules) == (48, "positions", False)
    assert same_groups(ids_of(result.events) >> LAYER, ids_of(generic) >> LAYER)


RENUMBERED: dict[str, tuple[Callable[[ndarray], ndarray], str]] = {
    "as ACTS packs them": (lambda ids: ids, "volume and layer"),
    "modules counted through": (lambda ids: np.unique(ids, return_inverse=True)[1], "positions"),
    "modules by a hash": (lambda ids: ids * np.uint64(0x9E3779B97F4A7C15), "positions"),
    "layers counted through": (lambda ids: np.unique(ids >> LAYER, return_inverse=True)[1], "identifiers"),
}


@pytest.mark.parametrize("how", RENUMBERED)
def test_identifiers_of_any_packing_do(how: str, generic: list[Event]) -> None:
    change, source = RENUMBERED[how]
    ids = change(ids_of(generic)).astype(np.uint64)
    parts = np.split(ids, np.cumsum([len(event.hits) for event in generic])[:-1])
    result = find_layers([with_ids(event, part) for event, part in zip(generic, parts, strict=True)])
    assert result.source == source
    assert same_groups(ids_of(result.events) >> LAYER, ids_of(generic) >> LAYER)
    assert result.has_modules == (how != "layers counted through")
    if result.has_modules:
        assert same_groups(ids_of(result.events), ids)


def test_layers_of_a_toy_are_all_found() -> None:
    events = [toy_event(3000, seed) for seed in range(3)]
    result = find_layers([with_ids(event, None) for event in events])
    assert result.n_layers == len(BARREL) + 2 * len(DISKS)
    assert same_groups(ids_of(result.events) >> LAYER, ids_of(events) >> LAYER)


def test_metres_are_refused() -> None:
    position = toy_event(3000, 1).hits.position * np.array([1e-3, 1, 1e-3], np.float32)
    with pytest.raises(ConfigError, match=r"got 1 groups of hits, .* expected 3 or more thin layers in mm"):
        layers_from_positions(position)


def test_too_few_hits_are_refused() -> None:
    with pytest.raises(ConfigError, match="use more events"):
        find_layers([with_ids(toy_event(20, 1), None)])
    with pytest.raises(ConfigError, match="got no event"):
        find_layers([])
    with pytest.raises(ConfigError, match="got 1 of 2 events with identifiers"):
        find_layers([toy_event(20, 1), with_ids(toy_event(20, 2), None)])


def test_a_cloud_of_points_has_no_layers() -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    cloud = np.stack([rng.uniform(0, 500, n), rng.uniform(-3, 3, n), rng.uniform(-500, 500, n)], axis=1)
    with pytest.raises(ConfigError, match=r"1 of them thick both in r and z|use more events"):
        layers_from_positions(cloud.astype(np.float32))
