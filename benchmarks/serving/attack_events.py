"""Arrays to send as FEATURES: ordinary events, absurd values, geometry made to break a track finder."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from beampipe.arrays import Float32
from beampipe.events import Hits
from beampipe.tracking.data import shipped_events

__all__ = ["absurd_values", "adversarial_event", "ordinary_event", "random_array"]

_ABSURD = (np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e30, 1e-45, 1e-38, -0.0, 1e10, 1e20, -1e5)


@cache
def _small_events() -> tuple[Hits, ...]:
    return tuple(event.hits for event in shipped_events(0) if len(event.hits) > 100)


def ordinary_event(generator: Generator, n_hits: int) -> Float32[ndarray, "n_hits 3"]:
    """Rows of a simulated event, again and again turned in phi."""
    events = _small_events()
    hits = events[int(generator.integers(len(events)))].position
    rows = np.arange(n_hits)
    event = hits[rows % len(hits)].copy()
    event[:, 1] = np.mod(event[:, 1] + 0.37 * (rows // len(hits)) + np.pi, 2 * np.pi) - np.pi
    return event.astype(np.float32)


def random_array(generator: Generator) -> ndarray:
    """Any shape of any type."""
    rank = int(generator.integers(0, 5))
    shape = tuple(int(length) for length in generator.choice([0, 1, 2, 3, 3, 3, 7, 50], rank))
    dtypes = (np.float32, np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_, np.float16)
    array = generator.normal(0, 100, shape)
    return np.asarray(array).astype(dtypes[int(generator.integers(len(dtypes)))])


def absurd_values(generator: Generator) -> Float32[ndarray, "n_hits 3"]:
    """An event in which a few, or all, values are none that a detector gives."""
    event = ordinary_event(generator, int(generator.integers(1, 500)))
    few = generator.random(event.shape) < generator.choice([1 / event.size, 0.1, 1.0])
    few.flat[int(generator.integers(event.size))] = True
    kinds = generator.choice(_ABSURD, size=int(generator.integers(1, 4)), replace=False)
    event[few] = generator.choice(kinds, size=int(few.sum())).astype(np.float32)
    return event


def adversarial_event(generator: Generator) -> Float32[ndarray, "n_hits 3"]:
    """Many hits where a detector has few: at a point, on a line, a ring, a shell, the axis, a lattice."""
    n = int(generator.choice([50, 500, 2000, 5000]))
    r = np.full(n, generator.choice([0.0, 1e-3, 33.0, 300.0, 1000.0]))
    phi = np.full(n, generator.choice([0.0, np.pi, -np.pi, 3.0, 100.0]))
    z = np.full(n, generator.choice([0.0, 1e3, -3e3, 1e6]))
    along = np.linspace(0.0, 1.0, n)
    match int(generator.integers(8)):
        case 0:
            pass  # all at one point
        case 1:
            r = 30 + 1000 * along
            z = r * generator.normal(0, 1)
        case 2:
            phi = -np.pi + 2 * np.pi * along
        case 3:
            z = -1000 + 2000 * along
        case 4:
            r, phi = generator.choice([32, 72, 116, 172], n).astype(float), generator.normal(0, 0.01, n)
            z = generator.normal(0, 5, n)
        case 5:
            r, phi, z = generator.uniform(30, 1000, n), generator.normal(0, 1e-3, n), generator.normal(0, 1, n)
        case 6:
            r, phi, z = r * 1e30, generator.uniform(-1e30, 1e30, n), z + generator.normal(0, 1e30, n)
        case 7:
            r, phi, z = (generator.integers(-2, 3, n) * 1e-40 for _ in range(3))
    return np.stack([r, phi, z], axis=1).astype(np.float32)
