"""Where the hadrons of one event interact, and what the second pass of Fatras starts from."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.tracking.simulation.detectors.modules import Modules
from beampipe.tracking.simulation.hadronic import HADRONS, SILICON_DENSITY, Interactions, Products
from beampipe.tracking.simulation.pythia import TRACKER_R, TRACKER_Z
from beampipe.tracking.simulation.source import PrimaryParticles
from beampipe.tracking.simulation.tables import Columns, Record, identifiers

__all__ = ["interact"]

_SIGMA_MAX: Final = 750.0  # above every hadron-silicon cross section [mb]
_PATH_MAX: Final = 8.0  # path through a layer is taken to be at most this many times its thickness


def interact(
    record: Record, hits: Any, table: Modules, interactions: Interactions | None, rng: np.random.Generator
) -> PrimaryParticles:
    """Stop hadrons at nuclei.

    Args:
        record: event after the first pass; its hits get a column ``kept``, False for hits that a hadron no
            longer makes, and its counts ``hadrons`` (those with hits) and ``interactions``.
        hits: ACTS container of the same hits, asked for a few momenta.
        table: modules that the hits lie on.
        interactions: cross sections and final states, or None for none.
        rng: source of all random choices.

    Returns:
        the products that can leave hits.
    """
    hit, particle = record.hits[0], record.particles[0]
    kept = np.ones(len(hit["time"]), np.bool_)
    record.counts |= {"hadrons": 0, "interactions": 0}
    out = PrimaryParticles.empty()
    if interactions is not None and len(kept):
        species = _species(particle["pdg_id"])
        row, momentum = _where(hit, species, hits, table, interactions, rng)
        kept = ~_later(hit, row)
        products = interactions.draw(species[hit["particle_id"][row]], momentum, rng)
        out = _products(hit, particle, row, momentum, products)
        record.counts["hadrons"] = int((species[np.unique(hit["particle_id"])] >= 0).sum())
        record.counts["interactions"] = len(row)
    record.hits[0] = hit | {"kept": kept}
    return out


def _species(pdg: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
    """Row in `HADRONS`, or -1."""
    out = np.full(len(pdg), -1)
    for row, hadron in enumerate(HADRONS):
        out[pdg == hadron] = row
    return out


def _where(
    hit: Columns,
    species: Int64[ndarray, " n"],
    hits: Any,
    table: Modules,
    interactions: Interactions,
    rng: np.random.Generator,
) -> tuple[Int64[ndarray, " k"], Float64[ndarray, "k 3"]]:
    """The hits at which hadrons interact, at most one per hadron, and their momenta there [GeV].

    Every hit gets one random number. Only where it is below an upper bound of the probability are momentum and
    cross section looked up: a few per cent of the hits.
    """
    module = table.rows(identifiers(hit))
    matter = table.silicon[module] * SILICON_DENSITY
    chance = rng.random(len(matter))
    kind = species[hit["particle_id"]]
    at = np.flatnonzero((kind >= 0) & (chance < matter * _SIGMA_MAX * _PATH_MAX))
    objects = list(hits)
    momentum = np.array([_vector(objects[i].momentum4Before) for i in at.tolist()]).reshape(-1, 3)
    p = np.linalg.norm(momentum, axis=1)
    normal = table.axes[module[at]][:, :, 2]
    cosine = np.abs(np.einsum("ni,ni->n", normal, momentum)) / p
    path = np.minimum(1 / np.maximum(cosine, 1e-6), _PATH_MAX)
    hits_nucleus = chance[at] < matter[at] * path * interactions.cross_section(kind[at], p)
    at, momentum = at[hits_nucleus], momentum[hits_nucleus]
    order = np.lexsort((hit["time"][at], hit["particle_id"][at]))
    at, momentum = at[order], momentum[order]
    first = np.unique(hit["particle_id"][at], return_index=True)[1]
    return at[first], momentum[first]


def _vector(four: Any) -> tuple[float, float, float]:
    return four[0], four[1], four[2]


def _later(hit: Columns, row: Int64[ndarray, " k"]) -> Bool[ndarray, " n_hits"]:
    """Hits that a particle would have made after the hit in `row`."""
    stop = np.full(int(hit["particle_id"].max()) + 1, np.inf)
    stop[hit["particle_id"][row]] = hit["time"][row]
    return np.asarray(hit["time"] > stop[hit["particle_id"]])


def _products(
    hit: Columns,
    particle: Columns,
    row: Int64[ndarray, " k"],
    momentum: Float64[ndarray, "k 3"],
    products: Products,
) -> PrimaryParticles:
    """Products of interactions, as particles for a second pass of Fatras."""
    place = np.column_stack([hit[name][row].astype(np.float64) for name in ("true_x", "true_y", "true_z", "time")])
    # Behind the module, lest a product leaves a second hit on it.
    place[:, :3] += 0.1 * momentum / np.linalg.norm(momentum, axis=1, keepdims=True)
    parent = products.parent
    vertex = place[parent] + products.displacement
    inside = (np.hypot(vertex[:, 0], vertex[:, 1]) < TRACKER_R) & (np.abs(vertex[:, 2]) < TRACKER_Z)
    return PrimaryParticles(
        particle["vertex_primary"][hit["particle_id"][row]].astype(np.int64)[parent],
        parent + 1,
        np.arange(len(parent)) + 1,
        products.pdg,
        products.charge,
        products.mass,
        products.momentum,
        vertex,
    ).take(inside)
