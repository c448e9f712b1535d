"""The table of foreign data: events that no trainer of ours had in mind, and what must come of each.

Nothing of it may pass in silence: the answer is right, or there is one warning with numbers, or one error that says
what was seen and, where that can be known, what would fit.

What hits and tracks alone do not show: that a third of the hits was lost at random, that the origin is less than half a
millimetre off, or that an event of fewer than 20 hits is of another detector. The share of hits on tracks is printed
for each file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.events import scale_named
from beampipe.tracking import load_model, shipped_events
from beampipe.tracking.input_checks import ExpectedTracks

__all__ = ["REFUSED", "RIGHT", "WARNED", "Foreign", "columns", "usual"]

Table = Float32[ndarray, "n 3"]


@dataclass(frozen=True)
class Foreign:
    """One row of the table.

    Attributes:
        name: what is wrong with the data.
        make: makes the event of a usual one: r [mm], phi [rad], z [mm].
        says: what the error or the warning must contain.
        row: of an answer that must be right, where the usual hits lie in the event, -1 for a hit that is gone.
        least: of an answer that must be right, the share of the usual tracks that must be found again.
    """

    name: str
    make: Callable[[Table], Table]
    says: Sequence[str] = ()
    row: Callable[[int], Int64[ndarray, " n"]] = np.arange
    least: float = 1.0


@cache
def usual() -> Table:
    """An event of some 16,000 hits: a shipped one of 60 collisions, a fourth of its particles and all noise."""
    event = shipped_events(60)[0]
    assert event.truth is not None
    particle = event.truth.particle_id
    stays = np.random.default_rng(5).random(particle.max() + 1) < 0.25
    stays[0] = True
    position: Table = event.hits.position[stays[particle]]
    return position


def columns(*values: ndarray | float) -> Table:
    """Columns side by side."""
    return np.stack(np.broadcast_arrays(*values), axis=1).astype(np.float32)


def cartesian(hits: Table) -> tuple[ndarray, ndarray, ndarray]:
    r, phi, z = hits.astype(np.float64).T
    return r * np.cos(phi), r * np.sin(phi), z


def shifted(hits: Table, dx: float, dz: float = 0.0) -> Table:
    """The same hits seen from another origin."""
    x, y, z = cartesian(hits)
    return columns(np.hypot(x + dx, y), np.arctan2(y, x + dx), z + dz)


def times(r: float, z: float) -> Callable[[Table], Table]:
    """Lengths in another unit."""
    return lambda hits: hits * np.array([r, 1, z], np.float32)


def in_scale(name: str, read_as: str = "mm") -> Callable[[Table], Table]:
    """Features of one scale, read as those of another."""
    return lambda hits: scale_named(read_as).to_mm(scale_named(name).from_mm(hits))


def ordered(*order: int) -> Callable[[Table], Table]:
    return lambda hits: np.ascontiguousarray(hits[:, order])


def kept(keep: Callable[[ndarray, ndarray, ndarray], ndarray]) -> Callable[[Table], Table]:
    """Some of the hits, by r, phi, z."""
    return lambda hits: hits[keep(*hits.T)]


def replaced(column: int, by: Callable[[ndarray, ndarray, ndarray], ndarray | float]) -> Callable[[Table], Table]:
    """One column made of r, phi, z."""

    def make(hits: Table) -> Table:
        values: list[ndarray | float] = list(hits.astype(np.float64).T)
        values[column] = by(*hits.astype(np.float64).T)
        return columns(*values)

    return make


def shuffled(column: int) -> Callable[[Table], Table]:
    return replaced(column, lambda *hits: np.random.default_rng(1).permutation(hits[column]))


BARREL: Final = (32.9, 72.4, 116.3, 172.2, 260.9, 360.7, 500.6, 660.4, 820.4, 1020.3)
"""Radii of the layers of the barrel [mm]."""


def cosmics(hits: Table, n: int = 400) -> Table:
    """Straight lines that cross the barrel from one side to the other, far from the beam."""
    rng = np.random.default_rng(2)
    results = []
    for _ in range(n):
        angle, distance, z0, slope = (*rng.uniform(-np.pi, np.pi, 1), *rng.uniform(-300, 300, 2), rng.normal(0, 0.3))
        for r in BARREL:
            for side in (-1, 1) if r > abs(distance) else ():
                along = side * np.sqrt(r * r - distance * distance)
                x = distance * np.cos(angle) - along * np.sin(angle)
                y = distance * np.sin(angle) + along * np.cos(angle)
                results.append((r, np.arctan2(y, x), z0 + slope * along))
    return np.array(results, np.float32)


def helices(x: float, y: float, n: int = 300) -> Table:
    """Particles of 1.2 to 5 GeV from another beam line, in the barrel of the detector."""
    rng = np.random.default_rng(9)
    radius = 1000 * rng.uniform(1.2, 5, n)[:, None] / 0.6 * rng.choice([-1, 1], (n, 1))
    phi = rng.uniform(-np.pi, np.pi, (n, 1)) + (way := np.linspace(0, 1200, 2401)) / radius
    first = phi[:, :1]
    across = x + radius * (np.sin(phi) - np.sin(first)) + 1j * (y - radius * (np.cos(phi) - np.cos(first)))
    z = rng.normal(0, 50, (n, 1)) + rng.uniform(-0.9, 0.9, (n, 1)) * way
    rows = [np.argmax(np.abs(across) > r, axis=1) for r in BARREL]
    results = [np.stack([np.abs(across), np.angle(across), z], axis=-1)[np.arange(n), row] for row in rows]
    return np.concatenate(results).astype(np.float32)


def noise(hits: Table, n: int | None = None) -> Table:
    """Hits on the layers that no particle made."""
    rng = np.random.default_rng(3)
    rows = rng.integers(len(hits), size=len(hits) if n is None else n)
    return columns(hits[rows, 0], rng.uniform(-np.pi, np.pi, len(rows)), hits[rows, 2])


def calorimeter(hits: Table, share: float) -> Table:
    """Hits outside of the tracker, `share` per hit of it, behind the usual ones."""
    rng, n = np.random.default_rng(4), int(share * len(hits))
    more = columns(rng.uniform(1300, 2000, n), rng.uniform(-np.pi, np.pi, n), rng.uniform(-3000, 3000, n))
    return np.concatenate([hits, more])


def other_radii(hits: Table) -> Table:
    """The layout of another detector: pixels where ours are, strips elsewhere, discs further out."""
    r, phi, z = hits.T
    disc = np.abs(z) > 592
    return columns(np.where(~disc & (r > 200), r * 1.13, r), phi, np.where(disc, z + 30 * np.sign(z), z))


def smear(hits: Table) -> Table:
    """1 mm across the radius and along z."""
    rng = np.random.default_rng(7)
    return columns(0.0, rng.normal(0, 1, len(hits)) / hits[:, 0], rng.normal(0, 1, len(hits)))


def nominal(hits: Table) -> Table:
    """The radius of the layer in place of that of the hit."""
    r, phi, z = hits.T
    radii = np.array([32, 72, 116, 172], np.float32)
    nearest = radii[np.abs(r[:, None] - radii).argmin(axis=1)]
    return columns(np.where((r < 180) & (np.abs(z) < 500), nearest, r), phi, z)


def order(n: int) -> Int64[ndarray, " n"]:
    """Some order of n hits."""
    return np.random.default_rng(8).permutation(n)


def one_negative(hits: Table) -> Table:
    changed = hits.copy()
    changed[5, 0] *= -1
    return changed


def turned_by(hits: Table, angle: float) -> Table:
    """The same event, turned."""
    return hits + np.array([0, angle, 0], np.float32)


TRAIN: Final = "train on your detector (beampipe tracking train), or go on with --force"
MOST: Final = "on no layer of module_map, expected most of them on its layers"
_MEASURED: Final = load_model().performance["module_map"]
FEW: Final = f"are on tracks, where {ExpectedTracks(_MEASURED.hits_on_tracks, _MEASURED.hits)}"
GAPS: Final = "layers have no hits or are filled in a part only"

REFUSED: Final = (
    # other detectors
    Foreign("another layout", lambda hits: columns(hits[:, 0] * 1.27, hits[:, 1], hits[:, 2] * 0.9), (MOST, TRAIN)),
    Foreign("strips and discs elsewhere", other_radii, (MOST, TRAIN)),
    Foreign("all 2 % larger", times(1.02, 1.02), (MOST, TRAIN)),
    Foreign("z twice as long", times(1, 2), (MOST, TRAIN)),
    Foreign("origin at one end", lambda hits: shifted(hits, 0, 1500), ("shifted by -1500 mm along z they fit",)),
    Foreign("origin 20 mm along z", lambda hits: shifted(hits, 0, 20), ("shifted by -20 mm along z they fit",)),
    Foreign("mostly calorimeter", lambda hits: calorimeter(hits, 2), ("(67 %) on no layer", TRAIN)),
    # other units
    Foreign("scale exatrkx", in_scale("exatrkx"), ("(100 %)", "all radii are below 1: is this --scale exatrkx?")),
    Foreign("scale acts", in_scale("acts"), ("all radii are below 2: is this --scale acts?",)),
    Foreign("mm read as exatrkx", in_scale("mm", "exatrkx"), ("leave out the scale exatrkx",)),
    Foreign("mm read as acts", in_scale("mm", "acts"), ("leave out the scale acts",)),
    Foreign("acts read as exatrkx", in_scale("acts", "exatrkx"), ("is this --scale acts, not exatrkx?",)),
    Foreign("exatrkx read as acts", in_scale("exatrkx", "acts"), ("is this --scale exatrkx, not acts?",)),
    Foreign("cm", times(0.1, 0.1), ("in cm they fit: multiply r and z by 10",)),
    Foreign("m", times(0.001, 0.001), ("in m they fit: multiply r and z by 1000",)),
    Foreign("um", times(1000, 1000), ("in um they fit: divide r and z by 1000",)),
    Foreign("um as whole numbers", lambda hits: np.rint(times(1000, 1000)(hits)), ("in um they fit",)),
    Foreign("inches", times(1 / 25.4, 1 / 25.4), (MOST, TRAIN)),
    Foreign("r in cm, z in mm", times(0.1, 1), (MOST, TRAIN)),
    Foreign("an unknown scale", times(1 / 1500, 1 / 1500), ("all radii are below 1: r and z are expected in mm",)),
    Foreign("phi in degrees", replaced(1, lambda r, phi, z: np.degrees(phi)), ("phi from -180.0 to 180.0", "degrees")),
    Foreign("phi in mrad", replaced(1, lambda r, phi, z: 1000 * phi), ("mrad: divide by 1000",)),
    Foreign("phi in bins", replaced(1, lambda r, phi, z: np.rint(phi * 5000)), ("is another column taken for phi?",)),
    # other columns
    Foreign("x, y, z", lambda hits: columns(*cartesian(hits)), ("read as x, y, z they fit",)),
    Foreign("x, y, z in cm", lambda hits: columns(*cartesian(hits)) / 10, ("read as x, y, z in cm they fit",)),
    Foreign("x, y, z in m", lambda hits: columns(*cartesian(hits)) / 1000, ("read as x, y, z in m they fit",)),
    Foreign("z, x, y", lambda hits: columns(*cartesian(hits))[:, [2, 0, 1]], ("read as z, x, y they fit",)),
    Foreign("x, z, y", lambda hits: columns(*cartesian(hits))[:, [0, 2, 1]], ("read as x, z, y they fit",)),
    Foreign("z, phi, r", ordered(2, 1, 0), ("read as z, phi, r they fit",)),
    Foreign("r, z, phi", ordered(0, 2, 1), ("read as r, z, phi they fit",)),
    Foreign("phi, r, z", ordered(1, 0, 2), ("read as phi, r, z they fit",)),
    Foreign("phi, z, r", ordered(1, 2, 0), ("read as phi, z, r they fit",)),
    Foreign("z, r, phi", ordered(2, 0, 1), ("read as z, r, phi they fit",)),
    Foreign("r negative", times(-1, 1), ("without the sign of r they fit",)),
    Foreign("spherical radius", replaced(0, lambda r, phi, z: np.hypot(r, z)), (MOST, TRAIN)),
    Foreign("huge r", times(1e30, 1), (MOST, TRAIN)),
    Foreign("row numbers for r", lambda hits: columns(np.arange(len(hits)) % 1000, *hits.T[1:]), (MOST,)),
    Foreign("no phi", replaced(1, lambda r, phi, z: 0.0), ("phi = 0.0 in each hit", "was that column read?")),
    Foreign("no z", replaced(2, lambda r, phi, z: 0.0), ("z = 0.0 in each hit", "was that column read?")),
    Foreign("no r", replaced(0, lambda r, phi, z: 72.0), ("r = 72.0 in each hit", "was that column read?")),
    Foreign("all hits the same", lambda hits: np.repeat(hits[:1], 500, axis=0), ("in each hit",)),
    Foreign("only padding", lambda hits: np.zeros((500, 3), np.float32), ("r = 0.0 in each hit",)),
)
"""What no answer could be right for."""

WARNED: Final = (
    # other particles and parts
    Foreign("noise only", noise, (FEW,)),
    Foreign("cosmics", cosmics, (FEW, GAPS)),
    Foreign("some calorimeter", lambda hits: calorimeter(hits, 0.5), ("(33%) lie on no layer of module_map",)),
    Foreign("padded with zeros", lambda hits: np.concatenate([hits, 0 * hits[::10]]), ("(9%) lie on no layer",)),
    Foreign("half filled with zeros", lambda hits: np.concatenate([hits, 0 * hits]), ("(50%) lie on no layer",)),
    Foreign("pixels only", kept(lambda r, phi, z: r < 200), (GAPS,)),
    Foreign("strips only", kept(lambda r, phi, z: r > 200), (GAPS,)),
    Foreign("outer layers only", kept(lambda r, phi, z: r > 600), (GAPS, FEW)),
    Foreign("barrel only", kept(lambda r, phi, z: np.abs(z) < 590), (GAPS,)),
    Foreign("endcaps only", kept(lambda r, phi, z: np.abs(z) > 1090), (GAPS,)),
    Foreign("one half along z", kept(lambda r, phi, z: z > 0), (GAPS,)),
    Foreign("z without sign", replaced(2, lambda r, phi, z: np.abs(z)), (GAPS,)),
    Foreign("half of the hits lost", lambda hits: hits[np.random.default_rng(6).random(len(hits)) < 0.5], (FEW,)),
    Foreign("only two layers", kept(lambda r, phi, z: np.abs(r - 50) < 25), (GAPS,)),
    # other origins
    Foreign("origin 0.7 mm off", lambda hits: shifted(hits, 0.7), ("tracks come from x = 0.",)),
    Foreign("origin 2 mm off", lambda hits: shifted(hits, 2), ("lie on no layer", "tracks come from x = 1.")),
    Foreign("origin 5 mm off", lambda hits: shifted(hits, 5), ("lie on no layer", "tracks come from x = 4.")),
    Foreign("origin 20 mm off", lambda hits: shifted(hits, 20), ("lie on no layer", FEW)),
    Foreign("hits smeared by 1 mm", lambda hits: hits + smear(hits), ("lie on no layer", FEW)),
    Foreign("beam 1.5 mm off in the barrel", lambda hits: helices(1.5, -0.5), ("tracks come from x = 1.", GAPS)),
    # other columns
    Foreign("time for z", replaced(2, lambda r, phi, z: np.hypot(r, z) / 300), ("lie on no layer", GAPS)),
    Foreign("eta for z", replaced(2, lambda r, phi, z: np.arcsinh(z / r)), ("lie on no layer", GAPS)),
    Foreign("theta for z", replaced(2, lambda r, phi, z: np.arctan2(r, z)), ("lie on no layer", GAPS)),
    Foreign("z in cm, r in mm", times(1, 0.1), ("lie on no layer", GAPS)),
    Foreign("phi / pi", replaced(1, lambda r, phi, z: phi / np.pi), ("as if it were in pi",)),
    Foreign("phi / pi from 0", replaced(1, lambda r, phi, z: phi / np.pi % 2), ("as if it were in pi",)),
    Foreign("phi in turns", replaced(1, lambda r, phi, z: phi / np.pi / 2), ("as if it were in turns",)),
    Foreign("phi in turns from 0", replaced(1, lambda r, phi, z: phi / np.pi / 2 % 1), ("as if it were in turns",)),
    Foreign("phi on the module", replaced(1, lambda r, phi, z: phi * r % 50 / r), (FEW,)),
    Foreign("phi of other hits", shuffled(1), (FEW,)),
    Foreign("z of other hits", shuffled(2), ("lie on no layer", FEW)),
    Foreign("r of other hits", shuffled(0), ("lie on no layer", FEW)),
    Foreign("phi sorted by itself", replaced(1, lambda r, phi, z: np.sort(phi)), (FEW,)),
    # coarse numbers
    Foreign("16 bits", lambda hits: hits.astype(np.float16).astype(np.float32), ("phi was rounded to 16 bits",)),
    Foreign("whole mm", replaced(2, lambda r, phi, z: np.rint(z)), ("z is a whole number in",)),
    Foreign("z rounded to cm", replaced(2, lambda r, phi, z: np.round(z, -1)), ("z is a whole number in",)),
    Foreign("phi rounded to 0.01", replaced(1, lambda r, phi, z: np.round(phi, 2)), (FEW, "phi has only")),
    Foreign("phi rounded to 0.001", replaced(1, lambda r, phi, z: np.round(phi, 3)), ("phi has only",)),
    Foreign("nominal radii", nominal, (GAPS,)),
    Foreign("each hit twice", lambda hits: np.concatenate([hits, hits]), ("as if written twice",)),
    Foreign("each hit twice, in turn", lambda hits: np.repeat(hits, 2, axis=0), ("as if written twice",)),
    Foreign(
        "each tenth hit twice", lambda hits: np.concatenate([hits, hits[::10]]), ("9% of the hits have the position",)
    ),
)
"""What tracks are found in, though something is odd."""

RIGHT: Final = (
    Foreign("as usual", np.copy),
    Foreign("phi from 0 to 2 pi", replaced(1, lambda r, phi, z: phi % (2 * np.pi)), least=0.99),
    Foreign("turned by 1 rad", replaced(1, lambda r, phi, z: phi + 1), least=0.99),
    Foreign("z flipped", replaced(2, lambda r, phi, z: -z), least=0.97),
    Foreign("phi flipped", replaced(1, lambda r, phi, z: -phi), least=0.99),
    Foreign("x and y swapped", replaced(1, lambda r, phi, z: np.pi / 2 - phi), least=0.99),
    Foreign("shuffled", lambda hits: hits[order(len(hits))], row=lambda n: np.argsort(order(n))),
    Foreign(
        "sorted by z", lambda hits: hits[np.argsort(hits[:, 2])], row=lambda n: np.argsort(np.argsort(usual()[:, 2]))
    ),
    Foreign("as much noise again", lambda hits: np.concatenate([hits, noise(hits)]), least=0.97),
    Foreign("a few hits elsewhere", lambda hits: calorimeter(hits, 0.03)),
    Foreign("one r negative", one_negative, least=0.99),
    Foreign("two events in one", lambda hits: np.concatenate([hits, turned_by(hits, 0.5)]), least=0.97),
    Foreign("phi rounded to 0.0001", replaced(1, lambda r, phi, z: np.round(phi, 4)), least=0.97),
)
"""What looks different and is not."""
