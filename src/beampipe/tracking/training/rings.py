"""Rings of flat modules, from the hits of events: how each module of a layer lies, for the track fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64
from beampipe.events import Event
from beampipe.tracking.fitting.tables import layer_of

_FEWEST_HITS: Final = 3
"""Fewest hits of a module from which its place is taken."""

_FEWEST_MODULES: Final = 3
"""Fewest modules of a ring."""

_IN_PLANE: Final = 0.1
"""Largest distance of hits from the plane of their module (rms), and of modules of one ring from each other [mm]."""

_EVENLY: Final = 0.8
"""How even the spaces between the modules of a ring are at least: the mean of cos(n (phi - phi of the next place))."""

_MOST_TURNED: Final = 0.2
"""Largest angle between the mean of the hits of a module and its azimuth [rad]."""

_LINEAR: Final = 0.02
"""Largest deviation of a local coordinate from a linear function of x and y on the modules of a ring (rms) [mm], ..."""

_EXACT: Final = 1e-3
"""... and that below which it is linear but for rounding."""

_ALIKE: Final = 0.1
"""Largest spread of the variances of one layer, relative to their mean."""


@dataclass(frozen=True, eq=False)
class _Coordinate:
    """A linear function of the local coordinates as a linear function of x and y; one value per module.

    Attributes:
        turned: angle from the azimuth of the module to that along which it does not grow [rad].
        rest: mean square of its deviations from the function [mm^2].
        variance: variance of a hit across, as this coordinate measures it [mm^2]; NaN if it is not known.
    """

    turned: Float64[ndarray, " n"]
    rest: Float64[ndarray, " n"]
    variance: Float64[ndarray, " n"]


class _Modules:
    """Hits by module; all arrays are over modules, but for those of `of_hits`."""

    def __init__(self, events: Sequence[Event], layers: Float32[ndarray, "n_layers 4"]) -> None:
        known = [event.hits for event in events if event.hits.geometry_id is not None]
        position = np.concatenate([np.empty((0, 3), np.float32), *(hits.position for hits in known)])
        identifier = np.concatenate(
            [np.empty(0, np.uint64), *(h.geometry_id for h in known if h.geometry_id is not None)]
        )
        local = [hits.local for hits in known if hits.local is not None]
        variance = [hits.variance for hits in known if hits.variance is not None]
        _, first, self._index, self.count = np.unique(
            identifier, return_index=True, return_inverse=True, return_counts=True
        )
        self._r, self._phi, self._z = position.astype(np.float64).T
        self.layer = layer_of(position, layers)[first]
        r_min, r_max, z_min, z_max = layers[self.layer].T.astype(np.float64)
        self.barrel = z_max - z_min > r_max - r_min
        x, y = self._r * np.cos(self._phi), self._r * np.sin(self._phi)
        self.middle = np.arctan2(self._mean(y), self._mean(x))
        self._dx, self._dy = x - self._mean(x)[self._index], y - self._mean(y)[self._index]
        self._local = (
            np.concatenate(local).astype(np.float64).T if len(local) == len(known) > 0 else np.empty((0, len(x)))
        )
        self.variance = np.full((len(self.count), 2), np.nan)
        if len(variance) == len(known) > 0:
            self.variance = np.stack([self._mean(values) for values in np.concatenate(variance).T], axis=1)
        # The normal of a barrel module: the direction in which its hits spread least.
        xx, xy, yy = (self._mean(product) for product in (self._dx**2, self._dx * self._dy, self._dy**2))
        normal = np.arctan2(2 * xy, xx - yy) / 2 + np.pi / 2
        self.azimuth = np.where(self.barrel, normal - np.pi * np.round((normal - self.middle) / np.pi), self.middle)
        turned = self._phi - self.azimuth[self._index]
        along, across, barrel = self._r * np.cos(turned), self._r * np.sin(turned), self.barrel[self._index]
        off, inside = np.where(barrel, along, self._z), np.where(barrel, across, along)
        self.plane = self._mean(off)
        flat = np.sqrt(self._mean((off - self.plane[self._index]) ** 2)) < _IN_PLANE
        self.usable = np.flatnonzero((self.layer >= 0) & flat & (self.count >= _FEWEST_HITS))
        self.low, self.high = np.full(len(self.count), np.inf), np.full(len(self.count), -np.inf)
        np.minimum.at(self.low, self._index, inside)
        np.maximum.at(self.high, self._index, inside)

    def _mean(self, of_hits: ndarray) -> ndarray:
        return np.asarray(np.bincount(self._index, of_hits, len(self.count)) / self.count)

    def coordinates(self) -> Iterator[_Coordinate]:
        """The local coordinates, their sum and their difference, if there are local positions."""
        xx, xy, yy = (self._mean(product) for product in (self._dx**2, self._dx * self._dy, self._dy**2))
        # On a barrel module, x and y are one coordinate.
        t_x, t_y = -np.sin(self.azimuth), np.cos(self.azimuth)
        for factors in ((1, 0), (0, 1), (1, 1), (1, -1)) if len(self._local) else ():
            values = np.asarray(factors) @ self._local
            values -= self._mean(values)[self._index]
            by_x, by_y = self._mean(values * self._dx), self._mean(values * self._dy)
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = np.array([yy * by_x - xy * by_y, xx * by_y - xy * by_x]) / (xx * yy - xy * xy)
                slope_across = (by_x * t_x + by_y * t_y) / (xx + yy)
                steep_x, steep_y = np.where(self.barrel, (slope_across * t_x, slope_across * t_y), slope)
                slope2 = steep_x**2 + steep_y**2
                rest = (self._mean(values**2) - steep_x * by_x - steep_y * by_y) / slope2
                variance = self.variance @ np.square(factors) / slope2
            away = np.remainder(np.arctan2(-steep_x, steep_y) - self.azimuth + np.pi / 2, np.pi) - np.pi / 2
            good = np.isfinite(rest)
            yield _Coordinate(
                np.where(good, away, 0),
                np.where(good & (rest > _EXACT**2), rest, _EXACT**2),
                np.where(good, variance, np.nan),
            )

    def rings(self) -> Iterator[ndarray]:
        """Modules of one layer, in one plane or equally far from the axis, and at radii that overlap."""
        usable = self.usable[np.lexsort((self.plane[self.usable], self.layer[self.usable]))]
        apart = (np.diff(self.layer[usable]) != 0) | (np.diff(self.plane[usable]) > _IN_PLANE)
        for alike in np.split(usable, np.flatnonzero(apart) + 1):
            modules = alike[np.argsort(self.low[alike])]
            gaps = self.low[modules][1:] > np.maximum.accumulate(self.high[modules])[:-1]
            yield from np.split(modules, np.flatnonzero(gaps) + 1)


def rings_of_modules(
    events: Sequence[Event], layers: Float32[ndarray, "n_layers 4"]
) -> tuple[Float32[ndarray, "n_rings 6"], Float64[ndarray, " n_layers"]]:
    """Rings of modules from the hits of events, and the variance of hits across these modules.

    Hits lie in the plane of their module. A module of a disc is turned as its local coordinates are: the first or the
    second one grows across, or for two sensors that are turned by opposite angles their sum or difference. Without
    local positions its azimuth is that of the mean of its hits, which is less precise.

    Args:
        events: events with hits on all modules.
        layers: r_min, r_max, z_min, z_max [mm] of each layer.

    Returns:
        `FitTables.rings`, none for hits without modules, or whose modules are not evenly spaced; and for each layer the
        variance across that the hits have [mm^2], NaN where they have none, or several.
    """
    modules = _Modules(events, layers)
    coordinates, rings = list(modules.coordinates()), []
    variances: list[list[float]] = [[] for _ in layers]
    for ring in modules.rings():
        if len(ring) < _FEWEST_MODULES:
            continue
        layer, barrel, azimuth = modules.layer[ring[0]], modules.barrel[ring[0]], modules.azimuth[ring]
        ends = np.array([modules.low[ring].min(), modules.high[ring].max()])
        place = (modules.plane[ring].mean(), ends.mean()) if barrel else (ends.mean(), modules.plane[ring].mean())
        # The coordinate that is most nearly linear in x and y, of several the one that is turned least.
        fits = [(c.rest[ring].mean(), np.abs(c.turned[ring]).mean(), k) for k, c in enumerate(coordinates)]
        rest, _, best = min((fit for fit in fits if fit[1] < _MOST_TURNED), default=(np.inf, 0.0, 0))
        if rest < _LINEAR**2:
            azimuth = azimuth + (0 if barrel else coordinates[best].turned[ring])
            variances[layer] += coordinates[best].variance[ring].tolist()
        first, n = _evenly_spaced(azimuth, modules.count[ring])
        if n:
            rings.append((layer, place[0], np.ptp(ends) / 2, place[1], first, n))
    across = np.full(len(layers), np.nan)
    for layer, values in enumerate(variances):
        if values and np.nanstd(values) < _ALIKE * np.nanmean(values):
            across[layer] = np.nanmean(values)
    return np.array(rings, np.float32).reshape(-1, 6), across


def _evenly_spaced(azimuth: Float64[ndarray, " n"], weight: Int64[ndarray, " n"]) -> tuple[float, int]:
    """Azimuth of a first module and number of evenly spaced ones; 0 where they are not.

    A barrel has modules at the same azimuth all along z, and a few may be dead.
    """
    ordered = np.sort(np.remainder(azimuth, 2 * np.pi))
    spaces = np.diff(ordered, append=ordered[0] + 2 * np.pi)
    seen = np.count_nonzero(spaces > spaces.max() / 5)
    numbers = np.arange(seen, seen + seen // 4 + 1)
    turns = (weight * np.exp(1j * numbers[:, None] * azimuth)).sum(axis=1) / weight.sum()
    best = np.abs(turns).argmax()
    if np.abs(turns[best]) < _EVENLY:
        return 0.0, 0
    return float(np.angle(turns[best]) / numbers[best]), int(numbers[best])
