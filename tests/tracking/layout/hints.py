"""What would bring foreign hits onto the layers: another unit, scale or order of the columns.

The slow truth of kernels/native/pipelines/layout.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, product
from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.tracking.windows import Windows

__all__ = ["order_that_fits", "what_would_fit"]

_MOST_TRIED: Final = 1000
"""Most hits that guesses are tried on; enough to tell 80 % from 50 %."""

_FITS: Final = 0.8
"""Share of them on a layer from which on a guess is told."""

_TURN: Final = 2 * np.pi
_DEGREES: Final = 361
_PER_TURN: Final = 1.0001
_ANY: Final = 3e38


class _Unit(NamedTuple):
    """What |r| and z are multiplied by, and what that means.

    Attributes:
        r: factor of |r|.
        z: factor of z.
        phi_least: smallest largest |phi| that goes with it.
        phi_most: largest |phi| that goes with it.
        hint: what to tell.
    """

    r: float
    z: float
    phi_least: float
    phi_most: float
    hint: str


_UNITS: Final = (
    _Unit(1, 1, 0, _TURN, "without the sign of r they fit: a radius is 0 or more"),
    _Unit(3000, 400, 0, _PER_TURN, "is this --scale exatrkx?"),
    _Unit(1000, 1000, 0, _PER_TURN, "is this --scale acts?"),
    _Unit(10, 10, 0, _ANY, "in cm they fit: multiply r and z by 10"),
    _Unit(1000, 1000, _PER_TURN, _ANY, "in m they fit: multiply r and z by 1000"),
    _Unit(0.001, 0.001, 0, _TURN, "in um they fit: divide r and z by 1000"),
    _Unit(0.001, 0.001, _TURN, _ANY, "they are in mm and rad already: leave out the scale acts"),
    _Unit(1 / 3000, 1 / 400, 0, _ANY, "they are in mm and rad already: leave out the scale exatrkx"),
    _Unit(1 / 3, 2.5, 0, _ANY, "is this --scale acts, not exatrkx?"),
    _Unit(3, 0.4, 0, _ANY, "is this --scale exatrkx, not acts?"),
)


class _Guess(NamedTuple):
    """Hits as they would be, r and z in mm, and what to tell if they fit."""

    r: Float32[ndarray, " n"]
    z: Float32[ndarray, " n"]
    hint: str


class _Order(NamedTuple):
    """Which columns are r, phi and z; if `cartesian`, which are x, y and z."""

    columns: tuple[int, int, int]
    cartesian: bool
    name: str


# Those with phi come first: where it is read as y, it hardly changes the radius.
_ORDERS: Final = (
    _Order((2, 1, 0), False, "z, phi, r"),
    _Order((0, 2, 1), False, "r, z, phi"),
    _Order((1, 0, 2), False, "phi, r, z"),
    _Order((1, 2, 0), False, "z, r, phi"),
    _Order((2, 0, 1), False, "phi, z, r"),
    _Order((0, 1, 2), True, "x, y, z"),
    _Order((1, 2, 0), True, "z, x, y"),
    _Order((0, 2, 1), True, "x, z, y"),
)

_LENGTHS: Final = ((1, ""), (10, " in cm"), (1000, " in m"))
"""What r and z are multiplied by in another order of the columns, and what that means."""


_FARTHEST_SHIFT: Final = 2000
"""Largest shift along z that is tried [mm]."""

_FEWEST_SHIFTED: Final = 200
"""Fewest hits of which a shift is tried."""


def order_that_fits(windows: Windows, position: Float32[ndarray, "n_hits 3"]) -> str:
    """A hint for somebody whose columns are in another order; empty if no known one brings hits onto the layers.

    Args:
        windows: learned windows, whose `layers` are boxes in r and z.
        position: columns as they came, of at least one hit.
    """
    return _best(windows, _orders(_some(position)))


def what_would_fit(windows: Windows, position: Float32[ndarray, "n_hits 3"]) -> str:
    """A hint for somebody whose hits lie on no layer.

    Args:
        windows: learned windows, whose `layers` are boxes in r and z.
        position: r, phi, z as they came, of at least one hit.
    """
    sample = _some(position)
    hint = _best(windows, chain(_units(sample), _orders(sample)))
    largest = float(np.abs(sample[:, 0]).max())
    if largest > 3:
        if not hint and len(sample) >= _FEWEST_SHIFTED:
            hint = _best(windows, _shifts(sample))
        return hint or "train on your detector (beampipe tracking train), or go on with --force"
    return f"all radii are below {int(largest) + 1}: {hint or 'r and z are expected in mm; see --scale'}"


def _shifts(sample: Float32[ndarray, "n 3"]) -> Iterator[_Guess]:
    """The hits without a shift along z, in steps of 1 mm."""
    for shift in range(1, _FARTHEST_SHIFT + 1):
        for z in (shift, -shift):
            hint = f"shifted by {-z} mm along z they fit: is z = 0 elsewhere in your files?"
            yield _Guess(sample[:, 0], sample[:, 2] - np.float32(z), hint)


def _some(position: Float32[ndarray, "n_hits 3"]) -> Float32[ndarray, "n 3"]:
    """Some of the hits, spread over all."""
    return position[:: -(-len(position) // _MOST_TRIED)]


def _best(windows: Windows, guesses: Iterable[_Guess]) -> str:
    """The hint of the best guess, of equally good ones the first; empty if none is good."""
    best, hint = 0.0, ""
    with np.errstate(over="ignore"):
        for guess in guesses:
            share = _share_on_layers(windows, guess.r, guess.z)
            if share >= _FITS and share > best:
                best, hint = share, guess.hint
    return hint


def _units(sample: Float32[ndarray, "n 3"]) -> Iterator[_Guess]:
    """The hits in other units."""
    r, phi, z = sample.T
    largest = np.abs(phi).max()
    for unit in _UNITS:
        if np.float32(unit.phi_least) <= largest <= np.float32(unit.phi_most):
            yield _Guess(np.abs(r) * np.float32(unit.r), z * np.float32(unit.z), unit.hint)


def _orders(sample: Float32[ndarray, "n 3"]) -> Iterator[_Guess]:
    """The hits with their columns in another order."""
    largest = np.abs(sample).max(axis=0)
    for order, (mm, unit) in product(_ORDERS, _LENGTHS):
        a, b, c = (sample[:, column] for column in order.columns)
        if not order.cartesian and largest[order.columns[1]] > _DEGREES:
            continue
        r = np.sqrt(a * a + b * b) if order.cartesian else a
        hint = f"read as {order.name}{unit} they fit: expected are r, phi, z in mm and rad"
        yield _Guess(r * np.float32(mm), c * np.float32(mm), hint)


def _share_on_layers(windows: Windows, r: Float32[ndarray, " n"], z: Float32[ndarray, " n"]) -> float:
    """Share of the hits in one of the boxes."""
    r_min, r_max, z_min, z_max = windows.layers.T
    r, z = r[:, None], z[:, None]
    return float(((r >= r_min) & (r <= r_max) & (z >= z_min) & (z <= z_max)).any(axis=1).mean())
