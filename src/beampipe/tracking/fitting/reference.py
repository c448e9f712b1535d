"""Reference of the track fit: one track at a time, with the whole covariance matrix of its hits written out.

A track is a helix with a small kick at each layer. To first order about a reference helix, a residual is::

    r_k = H_k (x + sum over i < k of G_i kick_i) + error_k

with x the change of the helix at the beam line, H_k the derivative of what layer k measures by the helix, and G_i the
derivative of the helix, as seen from layers further out, by a kick of its direction at layer i. So r has the covariance
V = R + (H G) Q (H G)^T, and x is the generalised least squares solution; the reference moves there and the step is
taken again until it is small (Gauss-Newton). The native kernel does the same sums hit by hit, without V.

Source: V. Blobel, C. Kleinwort, F. Meier, Comput. Phys. Commun. 182 (2011) 1760 (general broken lines), written at the
perigee, where the transport between layers is the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64
from beampipe.errors import ConfigError, FileError
from beampipe.events import MAX_OUTLIERS, FitStatus, Position
from beampipe.tracking.fitting.helix import (
    GEV_PER_TESLA_MM,
    SMALL_TURN,
    Crossings,
    cross,
    curvature,
    from_acts,
    through,
    to_acts,
    to_acts_jacobian,
)

PION_MASS: Final = 0.13957039
"""Mass [GeV] that is assumed for every track. Source: Particle Data Group, charged pion."""

HIGHLAND: Final = 0.0446
"""Relative growth of the scattering angle over the square root of the length, with the logarithm of the length: by
Highland's formula .038 / (1 + .038 ln x), here for layers of x = .02 radiation lengths at right angles.
Source: G. R. Lynch, O. I. Dahl, Nucl. Instrum. Meth. B 58 (1991) 6."""

STEEPEST: Final = 0.9
"""Largest sine of half the angle that a helix turns until it crosses a tube."""

FLATTEST: Final = 0.3
"""Smallest cosine between direction and radius where a helix crosses a tube."""


@dataclass(frozen=True, eq=False)
class FitTables:
    """Learned resolution and scattering of each layer of one detector, in a solenoidal field.

    A layer is a barrel where its box is longer in z than in r, else a disc. A barrel layer measures along phi and z, a
    disc along phi and r. Where a track crosses a layer, its direction is scattered in each of two planes by an angle of
    the variance ``scattering * path / (p beta)^2``, with `path` from `path_through`, and it loses the energy
    ``energy_loss * scattering * path``.

    A hit at r, z is compared with a helix whose curvature is that of the track in `field`, times
    ``1 + sum of field_shape * terms``, with the terms z^i r^(2j), i + 2j <= 4 (r, z in metres). That stands for the
    field along the way to the hit: to first order in the curvature, a track from the origin deviates by this factor if
    it is ``1 + 2 * integral of (1 - x) (B_z - B_r z / r - field) / field`` over the share x of the way.

    Attributes:
        layers: (n_layers, 4) float32: r_min, r_max, z_min, z_max [mm] of each layer; boxes do not overlap.
        variance: (n_layers, 2) float32 [mm^2] of a hit across the track (along phi), and along z (barrel) or r (disc).
        scattering: (n_layers,) float32 [GeV^2] of a crossing at right angles.
        beam_pipe: (2,) float32: radius [mm] and scattering [GeV^2] of the material inside the first hit.
        energy_loss: (1,) float32 [1/GeV]: energy lost for each GeV^2 of scattering.
        field: (1,) float32: magnetic field along z [T]; if it is not constant, that in the centre.
        tubes: (n_tubes, 2) float32: radius and scattering of cylinders further out that leave no hit, such as supports
            between parts of the detector; from the beam outwards.
        field_shape: (9,) float32: coefficients of the terms above, as in `field_terms`; 0 in a constant field.

    Raises:
        ConfigError: the tables do not fit together, a variance is not positive, or the field is 0.
    """

    layers: Float32[ndarray, "n_layers 4"]
    variance: Float32[ndarray, "n_layers 2"]
    scattering: Float32[ndarray, " n_layers"]
    beam_pipe: Float32[ndarray, " 2"]
    energy_loss: Float32[ndarray, " 1"]
    field: Float32[ndarray, " 1"]
    tubes: Float32[ndarray, "n_tubes 2"]
    field_shape: Float32[ndarray, " 9"]

    def __post_init__(self) -> None:
        n = len(self.layers)
        shapes = {
            "layers": (n, 4),
            "variance": (n, 2),
            "scattering": (n,),
            "beam_pipe": (2,),
            "energy_loss": (1,),
            "field": (1,),
            "tubes": (len(self.tubes), 2),
            "field_shape": (len(FIELD_POWERS),),
        }
        for name, shape in shapes.items():
            table = getattr(self, name)
            if table.shape != shape or table.dtype != np.float32 or not np.isfinite(table).all():
                raise ConfigError(
                    f"fit tables: got {name} {table.dtype} of shape {table.shape}, expected finite float32 {shape}"
                )
        if not (self.variance > 0).all() or (self.scattering < 0).any() or (self.all_tubes < 0).any():
            raise ConfigError("fit tables: got a variance <= 0 or scattering < 0, expected positive resolutions")
        if self.field[0] == 0:
            raise ConfigError("fit tables: got a field of 0 T, expected one that bends tracks")

    @property
    def barrel(self) -> ndarray:
        """(n_layers,) bool: whether each layer is a barrel."""
        r_min, r_max, z_min, z_max = self.layers.T
        return np.asarray(z_max - z_min > r_max - r_min)

    @property
    def all_tubes(self) -> Float32[ndarray, "n_tubes 2"]:
        """Radius and scattering of the beam pipe and of the tubes, from the beam outwards."""
        return np.concatenate([self.beam_pipe[None], self.tubes])

    def bending(self, xyz: Float64[ndarray, "n 3"]) -> Float64[ndarray, "n 5"]:
        """Factors on the parameters of a helix that each hit is compared with; only that on omega is not 1."""
        factors = np.ones((len(xyz), 5))
        factors[:, 2] += field_terms(xyz) @ self.field_shape.astype(np.float64)
        return factors


FIELD_POWERS: Final = tuple((i, j) for j in range(0, 5, 2) for i in range(5 - j))
"""Powers of z and r in the terms of `FitTables.field_shape`."""


def field_terms(xyz: Float64[ndarray, "n 3"]) -> Float64[ndarray, "n 9"]:
    """Terms z^i r^j of the shape of the field at hits x, y, z [mm]: powers of metres up to the fourth."""
    r, z = np.hypot(xyz[:, 0], xyz[:, 1]) / 1000, xyz[:, 2] / 1000
    return np.stack([z**i * r**j for i, j in FIELD_POWERS], axis=1)


def layer_of(position: Position, layers: Float32[ndarray, "n_layers 4"]) -> Int64[ndarray, " n_hits"]:
    """Row of the layer that each hit lies on, -1 for none.

    Args:
        position: r [mm], phi [rad], z [mm] of each hit.
        layers: r_min, r_max, z_min, z_max [mm] of each layer.
    """
    r, _, z = position.T
    r_min, r_max, z_min, z_max = layers.T[:, :, None]
    inside = (r >= r_min) & (r <= r_max) & (z >= z_min) & (z <= z_max)
    return np.where(inside.any(axis=0), inside.argmax(axis=0), -1)


FIT_VERSION: Final = 1
"""Version of the formulas that tables are learned and used with; a change of one makes older tables wrong. The C++
reader (kernels/native/pipelines/track_fitter.cpp) has it, too."""


def save_fit_tables(tables: FitTables, path: Path) -> None:
    """Write learned tables to a safetensors file."""
    from safetensors.numpy import save_file

    named = {f.name: np.ascontiguousarray(getattr(tables, f.name)) for f in fields(tables)}
    save_file({**named, "version": np.array([FIT_VERSION], np.int32)}, path)


def load_fit_tables(path: Path, command: str = "") -> FitTables:
    """Read learned tables from a safetensors file.

    Args:
        path: the file.
        command: command that made the model, for the message where its tables are of another version.

    Raises:
        FileError: the file is missing, truncated, lacks a table or was learned with other formulas.
        ConfigError: its tables do not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tables = load_file(path)
        version = tables.pop("version", np.zeros(1, np.int32)).tolist()
        if version == [FIT_VERSION]:
            return FitTables(**{f.name: tables[f.name] for f in fields(FitTables)})
    except (OSError, SafetensorError, KeyError) as error:
        raise FileError(
            f"{path}: got no readable fit tables ({error}), expected a safetensors file of them; learn them with"
            " `beampipe tracking train`"
        ) from error
    raise FileError(
        f"{path}: got tables of the track fit of version {version[0] or 'none'}, expected {FIT_VERSION}: its formulas"
        " are others now; learn the model again with `beampipe tracking train`"
        + (f" (this one was made by: {command})" if command else "")
    )


MIN_HITS: Final = 3
"""Fewest hits on layers of the tables: a helix has five parameters, and a hit measures two."""

MAX_COT: Final = 1e3
"""Largest cot(theta) of a track; steps beyond it diverge."""

MAX_STEPS: Final = 10
"""Most Gauss-Newton steps; nearly all tracks need two or three."""

CONVERGED: Final = 1e-3
"""A step is the last one if it is smaller than this, squared and in units of the covariance."""


MAX_DEVIATION: Final = 3.0
"""A track is suspect if its chi2 is more standard deviations above the mean: one of a thousand that are right."""

DOUBTFUL: Final = 2.0
"""Outliers are looked for in a track if its chi2 is more standard deviations above the mean: one of forty."""

MIN_GAIN: Final = 12.0
"""A hit is an outlier only if the chi2 of its track falls by more without it. Two measurements of a right hit add 2 on
average, and more than 12 once in 400 times. A second hit is left out, too, if the chi2 without it, in place of the
first, is larger by less than this: either of the two may be wrong."""

MIN_HITS_LEFT: Final = 6
"""Hits on layers that a suspect track keeps at least."""

MIN_HITS_LEFT_IF_DOUBTFUL: Final = 7
"""The same for any other track: with fewer it would not count as found."""

MAX_CHI2_OF_OTHER: Final = 12.0
"""A hit is ambiguous only if a free hit of its layer has a smaller chi2 than this with the other hits of the track."""

MAX_CHI2_EXCESS: Final = 4.0
"""That chi2 exceeds the chi2 of the hit itself by less than this. A third of the hits that are left out so are wrong; a
smaller value keeps more wrong hits, a larger one costs many more right ones."""

MIN_CHI2_APART: Final = 9.0
"""The two hits lie further apart than this, as chi2 of their distance: closer ones change the track little, and mostly
belong to the same particle."""

MAX_HITS_TRIED: Final = 40
"""Outliers are not looked for in a track with more hits on layers: the time grows with the square of their number."""


@dataclass(frozen=True, eq=False)
class Fit:
    """One fitted track: see `beampipe.tracking.TrackParameters`."""

    values: Float64[ndarray, " 5"]
    covariance: Float64[ndarray, "5 5"]
    chi2: float
    status: FitStatus


def fit_track(xyz: Float64[ndarray, "n 3"], layer: Int64[ndarray, " n"], tables: FitTables) -> Fit:
    """Fit a helix to the hits of one track.

    Args:
        xyz: hits x, y, z [mm], from the origin outwards.
        layer: row of `tables.layers` of each hit.
        tables: learned resolutions and scattering.
    """
    if len(xyz) < MIN_HITS:
        return _failed(FitStatus.TOO_FEW_HITS)
    helix = start(xyz)
    if helix is None:
        return _failed(FitStatus.NO_START)
    with np.errstate(all="ignore"):  # diverging steps end in values that are not finite
        for _ in range(MAX_STEPS):
            try:
                step, covariance, chi2 = _step(helix, xyz, layer, tables)
            except np.linalg.LinAlgError:  # the hits do not fix all parameters
                break
            if not (np.isfinite(step).all() and np.isfinite(covariance).all()):
                break
            helix = helix + step
            if not abs(helix[4]) < MAX_COT:
                break
            if step @ np.linalg.solve(covariance, step) < CONVERGED:
                jacobian = to_acts_jacobian(helix, float(tables.field[0]))
                values = to_acts(helix[None], float(tables.field[0]))[0]
                return Fit(values, jacobian @ covariance @ jacobian.T, chi2, FitStatus.FITTED)
    return _failed(FitStatus.NOT_CONVERGED)


def is_suspect(fit: Fit, n_hits: int, deviation: float = MAX_DEVIATION) -> bool:
    """Whether the hits of a track are hardly those of one particle: no convergence, or an improbable chi2.

    The cube root of chi2 / ndf is nearly normal. Source: E. B. Wilson, M. M. Hilferty, Proc. Natl. Acad. Sci. 17 (1931)
    684.
    """
    if fit.status != FitStatus.FITTED:
        return fit.status == FitStatus.NOT_CONVERGED
    ndf = 2 * n_hits - 5
    spread2 = 2 / (9 * ndf)
    return bool((np.cbrt(fit.chi2 / ndf) - (1 - spread2)) / np.sqrt(spread2) > deviation)


def _may_lose_hit(fit: Fit, n_hits: int) -> bool:
    """Whether a hit may be left out: the track is doubtful, and enough hits stay."""
    least = MIN_HITS_LEFT if is_suspect(fit, n_hits) else MIN_HITS_LEFT_IF_DOUBTFUL
    return least < n_hits <= MAX_HITS_TRIED and is_suspect(fit, n_hits, DOUBTFUL)


def fit_without_outliers(
    xyz: Float64[ndarray, "n 3"],
    layer: Int64[ndarray, " n"],
    tables: FitTables,
    free: Sequence[Float64[ndarray, "_ 3"]],
) -> tuple[Fit, list[int]]:
    """Fit one track; while it is doubtful, leave out the hit without which it fits best, then ambiguous hits.

    A second hit is left out with the first where either of the two may be wrong.

    Args:
        xyz: hits x, y, z [mm], from the origin outwards.
        layer: row of `tables.layers` of each hit.
        tables: learned resolutions and scattering.
        free: x, y, z [mm] of the hits of each layer that are on no track.

    Returns:
        The fit, and the rows that were left out.
    """
    fit, rows = fit_track(xyz, layer, tables), list(range(len(xyz)))
    outliers: list[int] = []
    while len(outliers) < MAX_OUTLIERS and _may_lose_hit(fit, len(rows)):
        without = {row: [other for other in rows if other != row] for row in rows}
        fits = {row: fit_track(xyz[others], layer[others], tables) for row, others in without.items()}
        fits = {row: other for row, other in fits.items() if other.status == FitStatus.FITTED}
        if not fits:
            break
        worst, *next_worst = sorted(fits, key=lambda row: fits[row].chi2)[:2]
        least = fits[worst].chi2
        if fit.status == FitStatus.FITTED and not fit.chi2 - least > MIN_GAIN:
            break
        outliers.append(worst)
        enough = len(rows) - 1 > MIN_HITS_LEFT_IF_DOUBTFUL and len(outliers) < MAX_OUTLIERS
        outliers += [row for row in next_worst if enough and fits[row].chi2 - least < MIN_GAIN]
        rows = [row for row in rows if row not in outliers]
        fit = fit_track(xyz[rows], layer[rows], tables)
    while len(outliers) < MAX_OUTLIERS and MIN_HITS_LEFT_IF_DOUBTFUL < len(rows) <= MAX_HITS_TRIED:
        ambiguous = _ambiguous_hit(fit, xyz[rows], layer[rows], tables, free)
        if ambiguous is None:
            break
        outliers.append(rows.pop(ambiguous))
        fit = fit_track(xyz[rows], layer[rows], tables)
    return fit, outliers


def _ambiguous_hit(
    fit: Fit,
    xyz: Float64[ndarray, "n 3"],
    layer: Int64[ndarray, " n"],
    tables: FitTables,
    free: Sequence[Float64[ndarray, "_ 3"]],
) -> int | None:
    """The ambiguous hit that fits least well compared with a free hit of its layer; None if no hit is ambiguous.

    With P = V^-1 - V^-1 H (H^T V^-1 H)^-1 H^T V^-1, P_ii^-1 is the covariance of hit i less what the other hits
    predict, and P_ii^-1 (P r)_i is that difference.
    """
    if fit.status != FitStatus.FITTED:
        return None
    helix = from_acts(fit.values[None], float(tables.field[0]))[0]
    errors, design, rest = _system(helix, xyz, layer, tables)
    weighted = np.linalg.solve(errors, design)
    unexplained = np.linalg.inv(errors) - weighted @ np.linalg.solve(design.T @ weighted, weighted.T)
    worst, most = None, -MAX_CHI2_EXCESS
    for hit in range(len(xyz)):
        both = slice(2 * hit, 2 * hit + 2)
        weight = unexplained[both, both]
        away = np.linalg.solve(weight, unexplained[both] @ rest)
        choices = np.concatenate([xyz[hit : hit + 1], free[layer[hit]]])
        helices = np.broadcast_to(helix * tables.bending(xyz[hit : hit + 1]), (len(choices), 5))
        barrel = np.full(len(choices), tables.barrel[layer[hit]])
        at = cross(helices, choices[:, 0], choices[:, 1])
        residual, _, _ = measurements(helices, at, choices, barrel)
        distance = residual - residual[0]
        apart = (distance * distance / (2 * tables.variance[layer[hit]])).sum(axis=1) > MIN_CHI2_APART
        chi2 = np.einsum("ni,ij,nj->n", away + distance, weight, away + distance)
        best = chi2[apart].min(initial=np.inf)
        if best < MAX_CHI2_OF_OTHER and chi2[0] - best > most:
            worst, most = hit, chi2[0] - best
    return worst


def start(xyz: Float64[ndarray, "n 3"]) -> Float64[ndarray, " 5"] | None:
    """The helix through the first, the middle and the last hit; None where two of them coincide."""
    first, middle, last = xyz[0], xyz[len(xyz) // 2], xyz[-1]
    omega = curvature(first, middle, last)
    if not np.isfinite(omega):
        return None
    chord = last - first
    length = np.hypot(chord[0], chord[1])
    turn = np.arcsin(np.clip(omega * length / 2, -1, 1))
    way = length if abs(turn) < SMALL_TURN else 2 * turn / omega
    phi = np.arctan2(chord[1], chord[0]) - turn
    return np.asarray(through(first[None], phi[None], omega[None], (chord[2] / way)[None])[0])


def measurements(
    helix: Float64[ndarray, "n 5"], at: Crossings, xyz: Float64[ndarray, "n 3"], barrel: ndarray
) -> tuple[Float64[ndarray, "n 2"], Float64[ndarray, "n 2 5"], Float64[ndarray, " n"]]:
    """Residuals of hits across (phi) and along (z in a barrel, r in a disc), and their derivatives by the helix.

    The component of residuals along the track is projected out, as the layer defines where the track crosses it.

    Returns:
        residuals hit - helix [mm], derivatives of the crossing by the helix, and the cosine between the transverse
        direction and the radius.
    """
    d0, _, omega, z0, cot = helix.T
    r = np.hypot(at.u, at.v)
    nu, nv = at.u / r, at.v / r
    radial = nu * at.cos + nv * at.sin
    sideways = nu * at.sin - nv * at.cos
    zero, one = np.zeros(len(r)), np.ones(len(r))
    # Measured directions less their part along the track, for a barrel, and for a disc.
    rows = np.where(
        barrel[:, None, None],
        np.array([[-at.sin / radial, at.cos / radial, zero], [-cot / radial * nu, -cot / radial * nv, one]]).T.swapaxes(
            1, 2
        ),
        np.array([[-nv, nu, -sideways / cot], [nu, nv, -radial / cot]]).T.swapaxes(1, 2),
    )
    away = np.stack([at.u - at.along, at.v - d0 - at.across, xyz[:, 2] - z0 - at.s * cot], axis=-1)
    alpha = omega * at.s
    small = np.abs(alpha) < SMALL_TURN
    s2 = at.s * at.s
    bent_along = np.where(small, -s2 * alpha / 3, -(at.along - at.s * at.cos) / omega)
    bent_across = np.where(small, s2 * (0.5 - alpha * alpha / 8), (at.s * at.sin - at.across) / omega)
    derivative = np.zeros((len(r), 3, 5))  # derivative of the position at fixed s: u, v, z by d0, phi, omega, z0, cot
    derivative[:, 1, 0] = 1
    derivative[:, 0, 1], derivative[:, 1, 1] = -(d0 + at.across), at.along
    derivative[:, 0, 2], derivative[:, 1, 2] = bent_along, bent_across
    derivative[:, 2, 3], derivative[:, 2, 4] = 1, at.s
    return (rows @ away[:, :, None])[:, :, 0], rows @ derivative, radial


def kicks(
    helix: Float64[ndarray, "n 5"], at: Crossings
) -> tuple[Float64[ndarray, "n 5"], Float64[ndarray, "n 5"], Float64[ndarray, "n 5"]]:
    """Change of the helix by a change of phi, of cot at constant momentum, and of omega, all at the crossing.

    The position of the crossing stays fixed; the helix is the extrapolation back to the perigee.
    """
    d0, _, omega, _, cot = helix.T
    stretch = 1 / (1 + omega * d0)
    alpha = omega * at.s
    with np.errstate(divide="ignore", invalid="ignore"):
        shortfall = np.where(np.abs(alpha) < SMALL_TURN, -at.s * at.s * alpha / 6, (at.along - at.s) / omega)
    zero, one = np.zeros(len(d0)), np.ones(len(d0))
    by_phi = np.stack([-at.along, at.cos * stretch, zero, -cot * (at.across + d0) * stretch, zero], axis=-1)
    back = -cot * (shortfall - at.s * d0) * stretch
    by_omega = np.stack([at.along**2 / (1 + at.cos), -at.along * stretch, one, back, zero], axis=-1)
    bend = omega * cot / (1 + cot * cot)  # omega / sin(theta) at constant q/p
    by_cot = by_omega * bend[:, None] + np.stack([zero, zero, zero, -at.s, one], axis=-1)
    return by_phi, by_cot, by_omega


def path_through(
    barrel: ndarray, radial: Float64[ndarray, " n"], cot: float | Float64[ndarray, " n"]
) -> Float64[ndarray, " n"]:
    """Scattering in each crossing of a layer or tube, relative to a crossing at right angles.

    It is the length of the path in units of the thickness, times the square of the logarithmic factor of Highland's
    formula. The logarithm takes the length for a track that crosses a barrel layer radially.

    Args:
        barrel: bool, whether each layer is a barrel; else a disc.
        radial: radial component of the direction in the transverse plane.
        cot: cotangent of the polar angle.
    """
    length = np.sqrt(1 + cot * cot) / np.where(barrel, 1, np.abs(cot))
    return np.asarray(length / np.where(barrel, np.abs(radial), 1) * (1 + HIGHLAND * np.log(length)) ** 2)


def _system(
    helix: Float64[ndarray, " 5"], xyz: Float64[ndarray, "n 3"], layer: Int64[ndarray, " n"], tables: FitTables
) -> tuple[Float64[ndarray, "two_n two_n"], Float64[ndarray, "two_n 5"], Float64[ndarray, " two_n"]]:
    """Covariance of the residuals of all hits, their derivatives by the helix, and the residuals."""
    n = len(xyz)
    omega, cot = helix[2], helix[4]
    barrel = tables.barrel[layer]
    factors = tables.bending(xyz)
    helices = helix * factors
    at = cross(helices, xyz[:, 0], xyz[:, 1])
    residual, by_helix, radial = measurements(helices, at, xyz, barrel)
    by_helix = by_helix * factors[:, None]
    by_phi, by_cot, by_omega = (change / factors for change in kicks(helices, at))
    matter, path = tables.scattering[layer].astype(np.float64), path_through(barrel, radial, cot)
    moves = np.arange(n) < np.arange(n)[:, None]  # whether kick i moves hit k: those of layers, then those of tubes
    radius = np.hypot(xyz[:, 0], xyz[:, 1])
    for tube, of_tube in tables.all_tubes.astype(np.float64):
        if of_tube <= 0:
            continue
        crossing, angle = cross_tube(helix[None], tube)
        changes = zip((by_phi, by_cot, by_omega), kicks(helix[None], crossing), strict=True)
        by_phi, by_cot, by_omega = (np.concatenate(change) for change in changes)
        helices = np.concatenate([helices, helix[None]])
        matter, path = np.append(matter, of_tube), np.append(path, path_through(np.array(True), angle, cot))
        moves = np.column_stack([moves, radius >= tube])
    energy_loss, field = float(tables.energy_loss[0]), float(tables.field[0])
    unit = GEV_PER_TESLA_MM * field
    inverse_p2 = (omega / unit) ** 2 / (1 + cot * cot)
    inverse_beta2 = 1 + PION_MASS**2 * inverse_p2
    angle2 = matter * path * inverse_p2 * inverse_beta2  # in either plane
    loss = energy_loss * matter * path * np.sqrt(inverse_p2 * inverse_beta2)  # of momentum, relative
    across = np.einsum("kmj,ij->kmi", by_helix, by_phi) * (np.sqrt(angle2 * (1 + cot * cot)) * moves[:, None, :])
    along = np.einsum("kmj,ij->kmi", by_helix, by_cot) * (np.sqrt(angle2) * (1 + cot * cot) * moves[:, None, :])
    slowed = np.einsum("kmj,ij,ki->km", by_helix, by_omega * (helices[:, 2] * loss)[:, None], moves.astype(np.float64))
    spread = np.concatenate([across, along], axis=2).reshape(2 * n, -1)
    errors = np.diag(tables.variance[layer].astype(np.float64).ravel()) + spread @ spread.T
    return errors, by_helix.reshape(2 * n, 5), (residual - slowed).ravel()


def _step(
    helix: Float64[ndarray, " 5"], xyz: Float64[ndarray, "n 3"], layer: Int64[ndarray, " n"], tables: FitTables
) -> tuple[Float64[ndarray, " 5"], Float64[ndarray, "5 5"], float]:
    """One Gauss-Newton step: the change of the helix, its covariance, and the chi2 that is left."""
    errors, design, rest = _system(helix, xyz, layer, tables)
    weighted = np.linalg.solve(errors, np.concatenate([design, rest[:, None]], axis=1))
    covariance = np.linalg.inv(design.T @ weighted[:, :5])
    step = covariance @ (design.T @ weighted[:, 5])
    return step, covariance, float(rest @ weighted[:, 5] - step @ (design.T @ weighted[:, 5]))


def cross_tube(helix: Float64[ndarray, "n 5"], radius: float) -> tuple[Crossings, Float64[ndarray, " n"]]:
    """Where helices first cross a cylinder about the beam line, and the cosine between direction and radius there.

    A helix that starts outside counts as crossing at its perigee, and one that does not reach the cylinder as crossing
    at its steepest angle, so that no tube drops out between the steps of a fit.
    """
    d0, _, omega, _, _ = helix.T
    chord2 = np.maximum((radius * radius - d0 * d0) / (1 + omega * d0), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        chord = np.minimum(np.sqrt(chord2), 2 * STEEPEST / np.abs(omega))
        sine = omega * chord / 2
        cosine, half = np.sqrt(1 - sine * sine), np.arcsin(sine)
        s = np.where(np.abs(half) < SMALL_TURN, chord * (1 + half * half / 6), 2 * half / omega)
    sin, cos, along, across = 2 * sine * cosine, 1 - 2 * sine * sine, chord * cosine, chord * sine
    radial = (along * cos + (d0 + across) * sin) / radius
    return Crossings(along, d0 + across, s, sin, cos, along, across), np.maximum(radial, FLATTEST)


def _failed(status: FitStatus) -> Fit:
    return Fit(np.full(5, np.nan), np.full((5, 5), np.nan), np.nan, status)
