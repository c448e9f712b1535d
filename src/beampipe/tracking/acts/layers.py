"""The layers of pixels and which of them follow each other, as ACTS's graph-based seeding reads them from files.

ACTS has no such files for the Generic detector, and a layout has none. Both follow from the geometry: the layers are
those of the modules, and two layers are connected where a straight line from the luminous region crosses one after the
other, or with one layer between them that may have lost its hit.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from beampipe.tracking.acts.detector import ActsDetector, pyacts

__all__ = ["Layer", "connected_layers", "layer_files", "layers_of"]

_N_LINES: Final = 4000
_MAX_ETA: Final = 4.0


@dataclass(frozen=True)
class Layer:
    """One layer of the detector: a cylinder or a disc.

    Attributes:
        id: number of the layer among all layers, from 1.
        volume: number of its volume.
        number: number of the layer in its volume.
        barrel: whether it is a cylinder.
        at: mean radius of a cylinder, or mean z of a disc [mm].
        low: smallest z of a cylinder, or smallest radius of a disc [mm].
        high: largest z of a cylinder, or largest radius of a disc [mm].
    """

    id: int
    volume: int
    number: int
    barrel: bool
    at: float
    low: float
    high: float


def layers_of(where: ActsDetector, volumes: tuple[int, ...]) -> tuple[Layer, ...]:
    """The layers of some volumes, from the centres and the lengths of their modules."""
    acts, _ = pyacts()
    world = acts.GeometryContext.dangerouslyDefaultConstruct()
    modules: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
    for identifier, surface in where.geometry.geoIdSurfaceMap().items():
        if identifier.sensitive and identifier.volume in volumes:
            centre = surface.center(world)
            # Modules are longest along z in a barrel, and along r on a disc.
            length = max(abs(value) for value in surface.bounds.values())
            r = float(np.hypot(centre[0], centre[1]))
            modules.setdefault((identifier.volume, identifier.layer), []).append((r, float(centre[2]), length))
    layers: list[Layer] = []
    for (volume, number), found in sorted(modules.items()):
        r, z, length = np.array(found).T
        barrel = bool(np.ptp(r) < np.ptp(z))
        at, along = (r, z) if barrel else (z, r)
        layers.append(
            Layer(
                len(layers) + 1,
                volume,
                number,
                barrel,
                float(at.mean()),
                float((along - length).min()),
                float((along + length).max()),
            )
        )
    return tuple(layers)


def connected_layers(layers: tuple[Layer, ...], z_max: float) -> list[tuple[int, int]]:
    """Pairs (inner, outer) of layers that a straight line crosses one after the other, or with one between.

    Args:
        layers: layers of the detector.
        z_max: lines begin on the beam line at |z| up to this [mm].
    """
    pairs: set[tuple[int, int]] = set()
    for z0 in np.linspace(-z_max, z_max, 9):
        for slope in np.sinh(np.linspace(-_MAX_ETA, _MAX_ETA, _N_LINES // 9)):
            crossed = []
            for layer in layers:
                if layer.barrel:
                    r, along = layer.at, z0 + slope * layer.at
                else:
                    r = along = (layer.at - z0) / slope if slope else -1.0
                if r > 0 and layer.low <= along <= layer.high:
                    crossed.append((r, layer.id))
            order = [identifier for _, identifier in sorted(crossed)]
            pairs.update(pairwise(order))
            pairs.update(zip(order, order[2:], strict=False))
    return sorted(pairs)


@cache
def layer_files(where: ActsDetector, volumes: tuple[int, ...], z_max: float) -> tuple[Path, Path]:
    """Files of the layers and of their connections, written once per process into a temporary folder.

    Args:
        where: detector that the layers are of.
        volumes: volumes whose layers make seeds.
        z_max: largest |z| of a vertex [mm].
    """
    layers = layers_of(where, volumes)
    folder = Path(tempfile.mkdtemp(dir=_folder().name))
    mapping, connections = folder / "layers.json", folder / "connections.json"
    described = [
        {
            "id": layer.id,
            "type": "barrel" if layer.barrel else "endcap",
            "technology": "pixel",
            "surfaces": [{"volume": layer.volume, "layer": layer.number}],
        }
        for layer in layers
    ]
    joined = [{"inner": inner, "outer": outer} for inner, outer in connected_layers(layers, z_max)]
    mapping.write_text(json.dumps({"layers": described}), encoding="utf-8")
    connections.write_text(json.dumps({"connections": joined}), encoding="utf-8")
    return mapping, connections


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that lives as long as the process."""
    return tempfile.TemporaryDirectory(prefix="beampipe-acts-")
