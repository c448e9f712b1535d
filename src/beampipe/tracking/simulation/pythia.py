"""Collisions by Pythia 8, kept in pools that events are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int32, Int64
from beampipe.files import cache_folder, replacing
from beampipe.pythia import seed_of, start_pythia

__all__ = ["ETA_MAX", "PT_MIN", "CollisionPool", "Row", "collisions", "pool"]

PT_MIN: Final = 0.1
"""Particles below this transverse momentum [GeV] are not tracked."""

ETA_MAX: Final = 4.0
"""Particles beyond this absolute pseudorapidity are not tracked."""

TRACKER_R: Final = 1100.0
"""Particles that start outside this radius [mm] are not tracked; those inside are decayed by Pythia."""

TRACKER_Z: Final = 3000.0
"""Particles that start beyond this |z| [mm] are not tracked."""

Row = tuple[int | float, ...]
"""One particle: pdg, charge, mass, px, py, pz, x, y, z, t."""

DECAYS: Final = (
    "ParticleDecays:limitCylinder = on",
    "ParticleDecays:xyMax = 1100",
    "ParticleDecays:zMax = 3100",
)
"""Pythia decays what decays inside the tracker, K0S and Lambda included: Fatras decays nothing."""

_PROCESSES: Final = {
    "soft": ("SoftQCD:inelastic = on",),
    "ttbar": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
    "jets": ("HardQCD:all = on", "PhaseSpace:pTHatMin = 1000"),
}
_BLOCK: Final = {"soft": 1000, "ttbar": 100, "jets": 100}  # events per Pythia seed
_VERSION: Final = 1  # of the selection above; part of the name of a cached pool


@dataclass(frozen=True, eq=False)
class CollisionPool:
    """Final particles of many collisions, each collision at the origin.

    Attributes:
        offset: (n_collisions + 1,) int64, first particle of each collision.
        pdg: (n,) int32 PDG code of each particle.
        charge: (n,) float32 charge of each particle [e].
        mass: (n,) float32 mass of each particle [GeV].
        momentum: (n, 3) float32 x, y, z of each momentum [GeV].
        vertex: (n, 4) float32 x, y, z, t of each particle's production [mm].
    """

    offset: Int64[ndarray, " m"]
    pdg: Int32[ndarray, " n"]
    charge: Float32[ndarray, " n"]
    mass: Float32[ndarray, " n"]
    momentum: Float32[ndarray, "n 3"]
    vertex: Float32[ndarray, "n 4"]

    def __len__(self) -> int:
        return len(self.offset) - 1

    def collision(self, index: int) -> slice:
        """Rows of the particles of one collision."""
        return slice(int(self.offset[index]), int(self.offset[index + 1]))

    @classmethod
    def of(cls, collisions: list[list[Row]]) -> CollisionPool:
        """From one list of rows per collision."""
        rows = np.array([row for rows in collisions for row in rows], dtype=np.float64).reshape(-1, 10)
        offset = np.concatenate([[0], np.cumsum([len(rows) for rows in collisions])]).astype(np.int64)
        real = rows.astype(np.float32)
        return cls(offset, rows[:, 0].astype(np.int32), real[:, 1], real[:, 2], real[:, 3:6], real[:, 6:10])

    @classmethod
    def join(cls, pools: list[CollisionPool]) -> CollisionPool:
        """One pool after the other."""
        start = np.cumsum([0, *(pool.offset[-1] for pool in pools)])
        offset = np.concatenate([[0], *(pool.offset[1:] + at for pool, at in zip(pools, start, strict=False))])
        rest = (np.concatenate([getattr(pool, f.name) for pool in pools]) for f in fields(cls)[1:])
        return cls(offset.astype(np.int64), *rest)

    def first(self, n_collisions: int) -> CollisionPool:
        """The pool cut after `n_collisions`."""
        offset = self.offset[: n_collisions + 1]
        return CollisionPool(offset, *(getattr(self, f.name)[: offset[-1]] for f in fields(self)[1:]))

    def save(self, path: Path) -> None:
        """Write to `path`; the file appears only when it is complete."""
        with replacing(path, parents=True) as part, part.open("wb") as file:
            np.savez(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> CollisionPool:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


def pool(process: str, n_collisions: int, seed: int, cache: Path | None = None) -> CollisionPool:
    """The first `n_collisions` of a process, generated once and then read from the cache.

    Args:
        process: process that is generated, ``"soft"`` (inelastic), ``"ttbar"`` or ``"jets"`` (above 1 TeV).
        n_collisions: number of collisions in the pool.
        seed: number of the sample; collisions of one seed are always the same, whatever `n_collisions`.
        cache: folder of the pools, default `beampipe.files.cache_folder`.
    """
    folder = cache_folder() if cache is None else cache
    block = _BLOCK[process]
    blocks = []
    for number in range(-(-n_collisions // block)):
        path = folder / f"pool-v{_VERSION}-{process}-{seed}-{number}.npz"
        # Only the last block may be short, so that a small sample costs little.
        size = min(block, n_collisions - number * block)
        if path.exists():
            found = CollisionPool.load(path)
            if len(found) >= size:
                blocks.append(found)
                continue
        made = collisions(process, size, seed_of(seed, list(_PROCESSES).index(process), number))
        made.save(path)
        blocks.append(made)
    return CollisionPool.join(blocks).first(n_collisions)


def collisions(process: str, n_collisions: int, seed: int) -> CollisionPool:
    """Generate collisions: all final particles except neutrinos and neutral hadrons, which leave no hits.

    Photons are kept, as they convert. Cuts: `PT_MIN`, `ETA_MAX`, production inside the tracker.
    """
    random = ("Random:setSeed = on", f"Random:seed = {seed}")
    pythia = start_pythia(("Print:quiet = on", "Beams:eCM = 14000", *_PROCESSES[process], *DECAYS, *random))
    out: list[list[Row]] = []
    while len(out) < n_collisions:
        if pythia.next():
            out.append(visible(pythia.event))
    return CollisionPool.of(out)


def visible(event: Any) -> list[Row]:
    """The rows of `CollisionPool.of` for the final particles of a Pythia event that can leave hits."""
    rows: list[Row] = []
    for p in event:
        if not p.isFinal():
            continue
        pdg, charge = p.id(), p.charge()
        if charge == 0 and pdg != 22:
            continue
        if p.pT() < PT_MIN or abs(p.eta()) > ETA_MAX:
            continue
        x, y, z = p.xProd(), p.yProd(), p.zProd()
        if x * x + y * y > TRACKER_R**2 or abs(z) > TRACKER_Z:
            continue
        rows.append((pdg, charge, p.m(), p.px(), p.py(), p.pz(), x, y, z, p.tProd()))
    return rows
