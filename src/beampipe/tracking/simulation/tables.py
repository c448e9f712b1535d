"""What leaves ACTS as Arrow tables, and how tables become an event.

The table of hits refers to the table of particles by row number, so no object of ACTS is touched per hit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64, UInt64
from beampipe.tracking.events import Event, Hits, Particles, Truth
from beampipe.tracking.events.arrays import cylindrical
from beampipe.tracking.simulation.detectors.modules import Modules

__all__ = ["Columns", "Record", "collect", "columns", "identifiers", "left_hits", "smeared"]

Columns = dict[str, ndarray]

_PLACE: Final = ("volume_id", "layer_id", "surface_id", "true_x", "true_y", "true_z")
"""Columns of a hit that say where it is."""


@dataclass
class Record:
    """One event on its way through the chain: tables of the first and the second pass of Fatras, and counts."""

    hits: list[Columns] = field(default_factory=list)
    particles: list[Columns] = field(default_factory=list)
    origin: Int64[ndarray, "n_merged 2"] | None = None  # (pass, particle row) of each hit given to the digitisation
    spot: Float32[ndarray, "n_merged 3"] | None = None  # true position of each of these hits
    counts: dict[str, int] = field(default_factory=dict)


def columns(table: Any) -> Columns:
    """The list columns of a one-row Arrow table as numpy arrays."""
    import pyarrow

    batch = pyarrow.record_batch(table)
    return {name: batch.column(i)[0].values.to_numpy(zero_copy_only=False) for i, name in enumerate(batch.schema.names)}


def identifiers(hits: Columns) -> UInt64[ndarray, " n"]:
    """ACTS geometry identifiers: volume, layer and sensitive number in bits 56, 36 and 8 upwards."""
    identifier: UInt64[ndarray, " n"] = (
        (hits["volume_id"].astype(np.uint64) << np.uint64(56))
        | (hits["layer_id"].astype(np.uint64) << np.uint64(36))
        | (hits["surface_id"].astype(np.uint64) << np.uint64(8))
    )
    return identifier


def left_hits(record: Record) -> Columns:
    """Hits of both passes, less those of hadrons that had stopped; the record keeps where they come from."""
    first, second = record.hits
    kept = first["kept"]
    particle = np.concatenate([first["particle_id"][kept], second["particle_id"]]).astype(np.int64)
    step = np.repeat([0, 1], [kept.sum(), len(second["particle_id"])])
    record.origin = np.column_stack([step, particle])
    hits = {name: np.concatenate([first[name][kept], second[name]]) for name in _PLACE}
    record.spot = _true_position(hits)
    return hits


def smeared(hits: Columns, table: Modules, rng: np.random.Generator) -> Columns:
    """Hits with measured positions ``x``, ``y``, ``z`` [mm]: Gaussian errors of pitch / sqrt(12) on the modules."""
    row = table.rows(identifiers(hits))
    local = table.to_local(row, _true_position(hits).astype(np.float64))[:, :2]
    xyz = table.to_global(row, local + rng.normal(size=local.shape) * np.sqrt(table.variance[row]))
    return hits | dict(zip("xyz", xyz.T, strict=True))


def _true_position(hits: Columns) -> Float32[ndarray, "n 3"]:
    """Where the particles crossed the modules [mm]."""
    spot: Float32[ndarray, "n 3"] = np.column_stack([hits[f"true_{axis}"] for axis in "xyz"]).astype(np.float32)
    return spot


def collect(event: int, record: Record, hit: Columns, table: Modules) -> Event:
    """Measurements and their truth as an event; hits that ACTS merged appear once."""
    assert record.origin is not None
    assert record.spot is not None
    # ACTS reorders the hits of a module: hits are recognised by their true position, not by their row.
    origin = np.empty_like(record.origin)
    origin[np.lexsort(_true_position(hit).T)] = record.origin[np.lexsort(record.spot.T)]
    xyz = np.column_stack([hit[name] for name in "xyz"])
    identifier = identifiers(hit)
    # ACTS skips a rare hit (one in a million) that it does not find on its module's plane.
    measured = np.isfinite(xyz).all(axis=1)
    record.counts["unmeasured"] = int((~measured).sum())
    xyz, identifier = xyz[measured], identifier[measured]
    step, row = origin[measured].T
    offset = len(record.particles[0]["pdg_id"])
    particle = row + step * offset
    both = {name: np.concatenate([t[name] for t in record.particles]) for name in record.particles[0]}
    # Hits of one measurement have the same position to the last bit; the particle of largest momentum leads.
    momentum = np.linalg.norm(np.column_stack([both[name] for name in ("px", "py", "pz")]), axis=1)
    order = np.lexsort((-momentum[particle], xyz[:, 2], xyz[:, 1], xyz[:, 0], identifier))
    xyz, identifier, particle = xyz[order], identifier[order], particle[order]
    new = np.ones(len(xyz), np.bool_)
    new[1:] = (identifier[1:] != identifier[:-1]) | (xyz[1:] != xyz[:-1]).any(axis=1)
    measurement = np.cumsum(new) - 1
    lead = particle[new]
    further = ~new & (particle != lead[measurement])
    shared = np.unique(np.column_stack([measurement[further], particle[further]]), axis=0)
    used = np.unique(particle)  # rows of particles with a hit
    number = np.zeros(len(both["pdg_id"]), np.int64)
    number[used] = np.arange(1, len(used) + 1)
    record.counts["merged"] = int((~new).sum())
    primary = both["primary"].astype(np.bool_)
    primary[offset:] = False
    particles = Particles(
        number[used],
        both["pdg_id"][used].astype(np.int32),
        both["charge"][used].astype(np.float32),
        np.column_stack([both[name][used] for name in ("px", "py", "pz")]).astype(np.float32),
        np.column_stack([both[name][used] for name in ("vx", "vy", "vz")]).astype(np.float32),
        primary[used],
    )
    truth = Truth(number[lead], particles, shared[:, 0].astype(np.int64), number[shared[:, 1]])
    return Event(event, _hits(xyz[new].astype(np.float64), identifier[new], table), truth)


def _hits(xyz: Float64[ndarray, "n 3"], identifier: UInt64[ndarray, " n"], table: Modules) -> Hits:
    """Hits at global positions [mm] on modules."""
    row = table.rows(identifier)
    local = table.to_local(row, xyz)[:, :2]
    return Hits(cylindrical(*xyz.T), identifier, local.astype(np.float32), table.variance[row].astype(np.float32))
