"""Tables of the track fit, and the derivatives from which they are learned; the fit itself is in C++.

A track is a helix with a small kick at each layer. To first order about a reference helix, a residual is::

    r_k = H_k (x + sum over i < k of G_i kick_i) + error_k

with x the change of the helix at the beam line, H_k the derivative of what layer k measures by the helix, and G_i the
derivative of the helix, as seen from layers further out, by a kick of its direction at layer i. So r has the covariance
V = R + (H G) Q (H G)^T, and x is the generalised least squares solution; the fit moves there, and takes the step again
until it is small (Gauss-Newton).

Source: V. Blobel, C. Kleinwort, F. Meier, Comput. Phys. Commun. 182 (2011) 1760 (general broken lines), written at the
perigee, where the transport between layers is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64
from beampipe.errors import ConfigError, FileError
from beampipe.events import Position
from beampipe.tracking.fitting.helix import (
    SMALL_TURN,
    Crossings,
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
    disc along phi and r. Modules are flat: one of a disc measures across and along the radius through its own middle,
    not that through the hit, and one of a barrel in its plane, which need not be at right angles to the radius. Where a
    track crosses a layer, its direction is scattered in each of two planes by an angle of the variance
    ``scattering * path / (p beta)^2``, with `path` from `path_through`, and it loses the energy
    ``energy_loss * scattering * path``. That is the mean loss by ionisation: electrons lose more by radiation, which is
    not modelled.

    A hit at r, z is compared with a helix whose curvature is that of the track in `field`, times
    ``1 + sum of field_shape * terms``, with the terms z^i r^(2j), i + 2j <= 4 (r, z in metres). That stands for the
    field along the way to the hit: to first order in the curvature, a track from the origin deviates by this factor if
    it is ``1 + 2 * integral of (1 - x) (B_z - B_r z / r - field) / field`` over the share x of the way.

    Attributes:
        layers: (n_layers, 4) float32: r_min, r_max, z_min, z_max [mm] of each layer; boxes do not overlap.
        rings: (n_rings, 6) float32: rings of flat modules, evenly spaced in phi: number of their layer; where a module
            lies along the azimuth [mm]; half of its size [mm]; where it lies across [mm]; azimuth of one of them [rad];
            number of modules. In a barrel the azimuth is that of the normal, half of the size is that across it, and
            the middle of the module lies beside the normal through the axis. In a disc the azimuth is that of the
            middle, half of the size is that along the radius, and the third number is z. Hits on layers without rings
            are measured as if modules were at right angles to their own radius.
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
    rings: Float32[ndarray, "n_rings 6"]
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
            "rings": (len(self.rings), 6),
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
        if (self.rings[:, 5] < 1).any():
            raise ConfigError("fit tables: got a ring without modules, expected one or more")
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

    def module_azimuth(self, position: Position, layer: Int64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Azimuth [rad] of the module nearest to each hit; that of the hit on a layer without rings.

        Args:
            position: r [mm], phi [rad], z [mm] of each hit.
            layer: row of the layer of each hit, as of `layer_of`.
        """
        r, phi, z = position.astype(np.float64).T
        azimuth, nearest = np.array(phi), np.full(len(phi), np.inf)
        for of_layer, near, half, aside, first, count in self.rings.astype(np.float64):
            barrel, spacing = self.barrel[int(of_layer)], 2 * np.pi / count
            middle = np.arctan2(aside, near) if barrel else 0.0
            turned = np.remainder(phi - first - middle + spacing / 2, spacing) - spacing / 2
            # Modules of a barrel may overlap.
            for away in (turned, turned - np.copysign(spacing, turned)) if barrel else (turned,):
                along, across = r * np.cos(away + middle), r * np.sin(away + middle)
                off, beside = (along - near, across - aside) if barrel else (z - aside, along - near)
                distance = np.hypot(off, np.maximum(np.abs(beside) - half, 0))
                nearer = (layer == of_layer) & (distance < nearest)
                azimuth[nearer], nearest[nearer] = (phi - away - middle)[nearer], distance[nearer]
        return azimuth

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


FIT_VERSION: Final = 2
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


def measurements(
    helix: Float64[ndarray, "n 5"],
    at: Crossings,
    xyz: Float64[ndarray, "n 3"],
    barrel: ndarray,
    azimuth: Float64[ndarray, " n"],
) -> tuple[Float64[ndarray, "n 2"], Float64[ndarray, "n 2 5"], Float64[ndarray, " n"]]:
    """Residuals of hits across (phi) and along (z in a barrel, r in a disc), and their derivatives by the helix.

    The component of residuals along the track is projected out, as the layer defines where the track crosses it.

    Args:
        helix: helix of each hit.
        at: where it comes closest to the hit.
        xyz: x, y, z [mm] of the hits.
        barrel: bool, whether each layer is a barrel; else a disc.
        azimuth: that of the module of each hit [rad], as of `FitTables.module_azimuth`.

    Returns:
        residuals hit - helix [mm], derivatives of the crossing by the helix, and the cosine between the transverse
        direction and that azimuth.
    """
    d0, phi, omega, z0, cot = helix.T
    nu, nv = np.cos(azimuth - phi), np.sin(azimuth - phi)
    radial = nu * at.cos + nv * at.sin
    sideways = nu * at.sin - nv * at.cos
    zero, one = np.zeros(len(nu)), np.ones(len(nu))
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
    derivative = np.zeros((len(nu), 3, 5))  # derivative of the position at fixed s: u, v, z by d0, phi, omega, z0, cot
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
        radial: component of the direction in the transverse plane along the azimuth of a barrel module.
        cot: cotangent of the polar angle.
    """
    length = np.sqrt(1 + cot * cot) / np.where(barrel, 1, np.abs(cot))
    return np.asarray(length / np.where(barrel, np.abs(radial), 1) * (1 + HIGHLAND * np.log(length)) ** 2)


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
