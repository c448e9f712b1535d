"""Detectors as tracking geometries of ACTS: the GenericDetector, and layouts built through `acts.Blueprint`."""

from __future__ import annotations

import json
import tempfile
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from beampipe.simulation.detector import (
    PIPE_VOLUME,
    SILICON_X0,
    DetectorLayout,
    Layer,
    Modules,
    Shell,
    Tube,
    generic_modules,
    modules_of_layout,
    shells,
)

_ENVELOPE: Final = 0.5  # margin around the modules of a layer [mm]

_WORLD: Final = 20.0  # margin around the detector [mm]

_TURN: Final = 1e-6
"""Angle by which modules are turned about their local axis 1 [rad]: at most 0.1 um at their edges.

ACTS looks up modules in a grid, which takes those whose centre is within the extent of its layer. Modules that face the
beam define that extent, so that without the turn, rounding errors would leave some out.
"""

_SILICON: Final = {
    "kind": "material",
    "radiation_length": SILICON_X0,
    "interaction_length": 465.2,
    "relative_atomic_mass": 28.03,
    "atomic_number": 14,
    "molar_density": 8.29e-05,
    "molar_electron_density": 0.0011606,
    "mean_excitation_energy": 1.73e-07,
}
"""The material of all modules and of the beam pipe, in the units of a material map of ACTS: mm, GeV, mol."""


def acts_examples() -> Any:
    """The module `acts.examples`.

    Raises:
        MissingExtraError: pyacts is not installed.
    """
    import acts.examples

    return acts.examples


def build_generic() -> Any:
    """The ACTS GenericDetector; keep it alive, it owns the modules that its geometry points to."""
    examples = acts_examples()
    import acts

    quiet = acts.logging.WARNING
    return examples.GenericDetector(logLevel=quiet, layerLogLevel=quiet, surfaceLogLevel=quiet, volumeLogLevel=quiet)


def build_layout(layout: DetectorLayout) -> Any:
    """The tracking geometry of a layout, with material on every module and on the tubes.

    Raises:
        ConfigError: layers overlap.
        MissingExtraError: pyacts is not installed.
    """
    acts_examples()
    import acts

    placed = shells(layout)
    layers = [layer for shell in placed for layer in shell.layers]
    length = max(float(np.abs(layer.centre[:, 2]).max() + layer.half.max()) for layer in layers)
    blueprint = acts.Blueprint(envelope=acts.ExtentEnvelope(r=[_WORLD, _WORLD], z=[_WORLD, _WORLD]))
    world = blueprint.addCylinderContainer(direction=acts.AxisDirection.AxisR, name=layout.name)
    # The vacuum around the beam, in which particles start, and the beam pipe.
    pipe, identity = layout.beam_pipe, acts.Transform3.Identity()
    radius = layout.inner_radius / 2 if pipe is None else pipe.radius_mm - 1.0
    world.addStaticVolume(identity, acts.CylinderVolumeBounds(0.0, radius, length), "beam")
    tubes = ([] if pipe is None else [pipe]) + sorted(layout.tubes, key=lambda tube: tube.radius_mm)
    waiting = deque(enumerate(tubes, 1))
    for number, shell in enumerate(placed):
        inner = min(float(np.hypot(*np.moveaxis(layer.corners[..., :2], -1, 0)).min()) for layer in shell.layers)
        while waiting and waiting[0][1].radius_mm < inner:
            _add_tube(world, *waiting.popleft(), length)
        _add_shell(world, shell, f"shell {number}")
    while waiting:
        _add_tube(world, *waiting.popleft(), length)
    context = acts.GeometryContext.dangerouslyDefaultConstruct()
    geometry = blueprint.construct(options=acts.BlueprintOptions(), gctx=context, level=acts.logging.WARNING)
    _apply_material(geometry, tubes, layers)
    return geometry


def _add_tube(world: Any, number: int, tube: Tube, half_length: float) -> None:
    import acts

    bounds = acts.CylinderBounds(tube.radius_mm, half_length)
    surface = acts.Surface.createCylinder(acts.Transform3.Identity(), bounds)
    _add_layer(world, f"tube {number}", PIPE_VOLUME, number, [surface], cylinder=True)


def _add_shell(world: Any, shell: Shell, name: str) -> None:
    """Discs, cylinders, discs, each with a volume of its own."""
    import acts

    axis = acts.AxisDirection
    stack = world.addCylinderContainer(direction=axis.AxisZ, name=name)
    for part, layers, direction in (
        ("negative", shell.negative, axis.AxisZ),
        ("barrel", shell.barrel, axis.AxisR),
        ("positive", shell.positive, axis.AxisZ),
    ):
        if not layers:
            continue
        container = stack.addCylinderContainer(direction=direction, name=f"{name}, {part}")
        for layer in layers:
            node = _add_layer(
                container,
                f"{name}, {layer.name}",
                layer.volume,
                layer.number,
                _surfaces(layer),
                cylinder=layer.cylinder,
            )
            node.navigationPolicyFactory = _navigation_on_grid(layer)


def _add_layer(container: Any, name: str, volume: int, number: int, surfaces: list[Any], *, cylinder: bool) -> Any:
    """A layer as a volume of its own; by default, ACTS tries all of its surfaces."""
    import acts

    numbered = container.withGeometryIdentifier()
    numbered.setAllVolumeIdsTo(volume).setLayerIdTo(number)
    node = numbered.addLayer(name)
    kind = acts.LayerBlueprintNode.LayerType
    node.layerType = kind.Cylinder if cylinder else kind.Disc
    node.surfaces = surfaces
    node.envelope = acts.ExtentEnvelope(r=[_ENVELOPE, _ENVELOPE], z=[_ENVELOPE, _ENVELOPE])
    return node


def _navigation_on_grid(layer: Layer) -> Any:
    """Navigation that looks modules up in a grid; only the boundaries of the volume are all tried.

    As in the GenericDetector, a particle that runs along a cylinder, and so crosses it twice at one go, makes one hit.
    """
    import acts

    policy = acts.SurfaceArrayNavigationPolicy
    modules = policy.Config()
    modules.layerType = policy.LayerType.Cylinder if layer.cylinder else policy.LayerType.Disc
    modules.bins = layer.grid
    boundaries = acts.TryAllNavigationPolicy.Config()
    boundaries.portals, boundaries.sensitives = True, False
    factory = acts.NavigationPolicyFactory.make()
    return factory.add(acts.TryAllNavigationPolicy, boundaries).add(policy, modules)


def _surfaces(layer: Layer) -> list[Any]:
    """The modules of a layer as planes of ACTS."""
    import acts

    across, along, normal = np.moveaxis(layer.axes, 2, 0)
    turned = np.stack([across + _TURN * normal, along, normal - _TURN * across], axis=2)
    planes = []
    for centre, axes, (low, high, length) in zip(
        layer.centre.tolist(), turned.tolist(), layer.half.tolist(), strict=True
    ):
        turn = acts.RotationMatrix3(*(acts.Vector3(*column) for column in zip(*axes, strict=True)))
        bounds = acts.RectangleBounds(low, length) if layer.cylinder else acts.TrapezoidBounds(low, high, length, 0.0)
        plane = acts.Surface.createPlane(acts.Transform3(acts.Vector3(*centre), turn), bounds)
        plane.assignIsSensitive(True)
        planes.append(plane)
    return planes


def _apply_material(geometry: Any, tubes: list[Tube], layers: list[Layer]) -> None:
    """Put homogeneous material on the modules and the tubes.

    The Python bindings cannot create material, but they read a material map of ACTS in JSON.
    """
    import acts.json

    entries = [_entry(PIPE_VOLUME, number, 1, tube.thickness_x0) for number, tube in enumerate(tubes, 1)]
    for layer in layers:
        entries += [_entry(layer.volume, layer.number, k + 1, layer.thickness_x0) for k in range(len(layer.centre))]
    units = {"length": "mm", "angle": "rad", "energy": "GeV", "material_amount": "mol"}
    header = {"format": "acts-material-map", "version": 1, "units": units}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "material.json"
        path.write_text(json.dumps({"header": header, "surfaces": entries}), encoding="utf-8")
        acts.json.TrackingGeometryMaterialJsonConverter().fromFile(str(path)).apply(geometry)


def _entry(volume: int, layer: int, module: int, thickness_x0: float) -> dict[str, Any]:
    """The entry of a material map for one surface."""
    return {
        "target": {
            "kind": "geometry-id",
            "geometry_id": {"volume": volume, "layer": layer, "sensitive": module},
        },
        "material": {
            "kind": "homogeneous",
            "settings": {"mapping_type": "default", "split_factor": 1},
            "slab": {"material": _SILICON, "thickness": thickness_x0 * SILICON_X0},
        },
    }


@dataclass(frozen=True, eq=False)
class BuiltDetector:
    """A detector as a geometry of ACTS, and its modules as arrays.

    Attributes:
        geometry: ``acts.TrackingGeometry`` of the detector.
        modules: sensitive modules of the same geometry.
        owner: the object that owns the modules; keep a reference to it as long as the geometry is used.
    """

    geometry: Any
    modules: Modules
    owner: Any = None


@lru_cache(maxsize=2)
def build_detector(layout: DetectorLayout | None = None) -> BuiltDetector:
    """Build a detector for ACTS, which takes about a second; the last two of a process are kept.

    Args:
        layout: layout of the detector, or None for the GenericDetector.

    Raises:
        ConfigError: layers of the layout overlap.
        MissingExtraError: pyacts is not installed.
    """
    if layout is not None:
        return BuiltDetector(build_layout(layout), modules_of_layout(layout))
    generic = build_generic()
    return BuiltDetector(generic.trackingGeometry(), generic_modules(), generic)
