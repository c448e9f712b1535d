"""Clusters: a particle shares its charge among channels, and channels side by side are one measurement.

A particle crosses the silicon of a sensor on a straight line, and leaves charge in each channel in proportion to the
length of its path there. Channels above a threshold that touch, at their corners too, are one cluster, however many
particles made it: in the cores of jets particles share clusters. A cluster lies at the mean of its channels, weighted
by their charge unless they are digital. There is no diffusion, no drift in the magnetic field and no Landau tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.errors import ConfigError
from beampipe.simulation.detector import Modules

_THRESHOLD: Final = 0.1
"""Smallest charge of a channel, in units of the charge of a particle that crosses the sensor at a right angle."""

_NOISE: Final = 0.05
"""Error of the charge of a channel, in the same units."""

_OF_PITCH: Final = np.array([[0.85, 0.55, 0.5], [0.85, 0.5, 0.65]])
"""Errors of clusters of one, two and more channels along an axis, in units of pitch / sqrt(12).

The first row is for positions weighted by charge, the second for digital ones. Simulated muons of 1 to 10 GeV in the
Open Data Detector have 0.70 (barrels) to 1.0 (discs), 0.47 to 0.7, and 0.4 to 0.5; digital 0.74 to 0.97, 0.15 to 0.7,
and 0.3 to 1.3.
"""


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of the hits of one event.

    Attributes:
        local: (n_hits, 2) position on the module of the cluster of each hit [mm]; NaN for hits below threshold. Hits
            that share a cluster have the same.
        variance: (n_hits, 2) its variance [mm^2].
        charge: (n_hits,) charge of the hit in its cluster.
        fragments: number of clusters that are left out, as the particle has a larger one on the module.
    """

    local: Float64[ndarray, "n_hits 2"]
    variance: Float64[ndarray, "n_hits 2"]
    charge: Float64[ndarray, " n_hits"]
    fragments: int


def require_sensors(modules: Modules) -> None:
    """Refuse a detector without the thickness of its sensors.

    Raises:
        ConfigError: modules have no thickness of silicon.
    """
    if modules.sensor is None or (modules.sensor <= 0).any():
        raise ConfigError(
            f"clusters: got the detector {modules.detector!r} with modules of unknown thickness, expected sensor_mm in"
            " each [barrel.NAME] and [discs.NAME] of a file for --detector"
        )


def clustered(
    row: Int64[ndarray, " n_hits"],
    crossing: Float64[ndarray, "n_hits 2"],
    direction: Float64[ndarray, "n_hits 3"],
    modules: Modules,
    rng: np.random.Generator,
) -> Clusters:
    """The cluster of each hit.

    Args:
        row: module of each hit.
        crossing: where the particle crosses the middle of the sensor, in local coordinates [mm].
        direction: direction of flight in local coordinates, of any length.
        modules: modules of the detector.
        rng: source of the noise.

    Raises:
        ConfigError: modules have no thickness of silicon.
    """
    require_sensors(modules)
    assert modules.sensor is not None
    edge = np.column_stack([np.maximum(modules.half_x_low, modules.half_x_high), modules.half_y])[row]
    pitch = modules.pitch[row]
    n_channels = np.maximum(np.round(2 * edge / pitch), 1)
    half = direction[:, :2] * (modules.sensor[row] / 2 / np.maximum(np.abs(direction[:, 2]), 1e-9))[:, None]
    start, end = (np.clip((crossing + shift + edge) / pitch, 0, n_channels - 1e-9) for shift in (-half, half))
    hit, middle, share = _pieces(start, end)
    channel = np.minimum((start[hit] + middle[:, None] * (end - start)[hit]).astype(np.int64), n_channels[hit] - 1)
    path = np.sqrt(np.square((end - start) * pitch).sum(axis=1) / modules.sensor[row] ** 2 + 1)
    deposit = share * path[hit]
    # A border of one channel on all sides keeps neighbours on one module.
    width = int(n_channels[:, 0].max(initial=0)) + 2, int(n_channels[:, 1].max(initial=0)) + 2
    key = (row[hit] * width[0] + channel[:, 0].astype(np.int64) + 1) * width[1] + channel[:, 1].astype(np.int64) + 1
    keys, first, of_piece = np.unique(key, return_index=True, return_inverse=True)
    charge = np.bincount(of_piece, deposit, len(keys)) + _NOISE * rng.normal(size=len(keys))
    fired = charge > _THRESHOLD
    cluster = np.full(len(keys), -1)
    cluster[fired] = _touching(keys[fired], width[1])
    n_clusters = int(cluster.max(initial=-1)) + 1
    digital = np.zeros(len(modules), np.bool_) if modules.digital is None else modules.digital
    weight = np.where(digital[row[hit[first]]], 1.0, charge)  # any hit of a channel has its module
    local, variance = np.full((len(row), 2), np.nan), np.zeros((len(row), 2))
    mine, contribution, fragments = _own_cluster(hit, cluster[of_piece], deposit, len(row), n_clusters)
    of_fired, measured = cluster[fired], np.flatnonzero(mine >= 0)
    for axis in (0, 1):
        number = channel[first[fired], axis]
        total = np.bincount(of_fired, weight[fired], n_clusters)
        mean = np.bincount(of_fired, weight[fired] * number, n_clusters) / total
        low, high = np.full(n_clusters, np.inf), np.full(n_clusters, -np.inf)
        np.minimum.at(low, of_fired, number)
        np.maximum.at(high, of_fired, number)
        local[measured, axis] = (mean[mine[measured]] + 0.5) * pitch[measured, axis] - edge[measured, axis]
        size = np.minimum(high - low, 2).astype(np.int64)[mine[measured]]
        error = _OF_PITCH[digital[row[measured]].astype(np.int64), size] * pitch[measured, axis]
        variance[measured, axis] = error**2 / 12
    return Clusters(local, variance, contribution, fragments)


def _pieces(
    start: Float64[ndarray, "n 2"], end: Float64[ndarray, "n 2"]
) -> tuple[Int64[ndarray, " k"], Float64[ndarray, " k"], Float64[ndarray, " k"]]:
    """The path through each channel: its hit, its middle and its length as shares of the whole path.

    Args:
        start: where the paths begin, in channels.
        end: where they end, in channels.
    """
    n = len(start)
    of_hit, at = [np.arange(n), np.arange(n)], [np.zeros(n), np.ones(n)]
    for axis in (0, 1):
        low, high = np.minimum(start, end)[:, axis], np.maximum(start, end)[:, axis]
        count = (np.floor(high) - np.floor(low)).astype(np.int64)
        hit = np.repeat(np.arange(n), count)
        line = np.floor(low)[hit] + 1 + np.arange(len(hit)) - np.repeat(np.cumsum(count) - count, count)
        of_hit.append(hit)
        at.append((line - start[hit, axis]) / (end - start)[hit, axis])
    hit, share = np.concatenate(of_hit), np.concatenate(at)
    order = np.lexsort((share, hit))
    hit, share = hit[order], share[order]
    piece = np.flatnonzero((hit[1:] == hit[:-1]) & (share[1:] > share[:-1]))
    return hit[piece], (share[piece] + share[piece + 1]) / 2, share[piece + 1] - share[piece]


def _touching(keys: Int64[ndarray, " n"], width: int) -> Int64[ndarray, " n"]:
    """Number of the cluster of each channel, from sorted keys; neighbours along the second axis differ by 1."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = []
    for step in (1, width - 1, width, width + 1):
        there = np.minimum(np.searchsorted(keys, keys + step), len(keys) - 1)
        here = np.flatnonzero(keys[there] == keys + step) if len(keys) else np.empty(0, np.int64)
        pairs.append(np.stack([here, there[here]]))
    one, other = np.concatenate(pairs, axis=1)
    links = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(len(keys), len(keys)))
    return connected_components(links, directed=False)[1].astype(np.int64)


def _own_cluster(
    hit: Int64[ndarray, " k"],
    cluster: Int64[ndarray, " k"],
    deposit: Float64[ndarray, " k"],
    n_hits: int,
    n_clusters: int,
) -> tuple[Int64[ndarray, " n_hits"], Float64[ndarray, " n_hits"], int]:
    """Cluster in which each hit left most charge, -1 for none; that charge; and the number of clusters of no hit."""
    above: Bool[ndarray, " k"] = cluster >= 0
    pair, inverse = np.unique(hit[above] * max(n_clusters, 1) + cluster[above], return_inverse=True)
    charge = np.bincount(inverse, deposit[above], len(pair))
    owner, number = np.divmod(pair, max(n_clusters, 1))
    order = np.lexsort((-charge, owner))
    best = order[np.unique(owner[order], return_index=True)[1]]
    mine, contribution = np.full(n_hits, -1), np.zeros(n_hits)
    mine[owner[best]], contribution[owner[best]] = number[best], charge[best]
    return mine, contribution, n_clusters - len(np.unique(number[best]))
