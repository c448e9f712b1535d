"""Small events with every field filled, and their comparison."""

from __future__ import annotations

import dataclasses

import numpy as np

from beampipe.events import Event, Hits, Particles, Truth


def random_event(event_id: int, n_hits: int = 50, n_particles: int = 6, *, measured: bool = True) -> Event:
    rng = np.random.default_rng(event_id)

    def floats(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    hits = Hits(
        floats(n_hits, 3),
        rng.integers(0, 2**63, n_hits).astype(np.uint64) if measured else None,
        floats(n_hits, 2) if measured else None,
        floats(n_hits, 2) ** 2 if measured else None,
    )
    particles = Particles(
        np.arange(1, n_particles + 1, dtype=np.int64),
        np.full(n_particles, -211, np.int32),
        np.full(n_particles, -1, np.float32),
        floats(n_particles, 3),
        floats(n_particles, 3),
        np.arange(n_particles) % 2 == 0,
    )
    particle_id = rng.integers(0, n_particles + 1, n_hits)
    shared = np.arange(min(3, n_hits), dtype=np.int64)
    return Event(event_id, hits, Truth(particle_id, particles, shared, shared + 1))


def assert_equal(got: object, expected: object, name: str = "event") -> None:
    """Field by field, types included."""
    if dataclasses.is_dataclass(expected):
        assert type(got) is type(expected), name
        for field in dataclasses.fields(expected):
            assert_equal(getattr(got, field.name), getattr(expected, field.name), f"{name}.{field.name}")
    elif isinstance(expected, np.ndarray):
        assert isinstance(got, np.ndarray), name
        assert got.dtype == expected.dtype, name
        np.testing.assert_array_equal(got, expected, err_msg=name)
    elif isinstance(expected, dict):
        assert isinstance(got, dict), name
        assert list(got) == list(expected), name
        for key in expected:
            assert_equal(got[key], expected[key], f"{name}[{key!r}]")
    else:
        assert got == expected, name
