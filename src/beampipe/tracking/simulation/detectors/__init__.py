"""Detectors to simulate: the GenericDetector of ACTS, and layouts from short TOML files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from beampipe.tracking.simulation.detectors.generic import generic_modules
from beampipe.tracking.simulation.detectors.geometry import acts_examples, build_generic, build_layout
from beampipe.tracking.simulation.detectors.layout import Layout, read_layout
from beampipe.tracking.simulation.detectors.modules import Modules
from beampipe.tracking.simulation.detectors.placing import layout_modules

__all__ = ["BuiltDetector", "Layout", "Modules", "acts_examples", "build_detector", "detector_modules", "read_layout"]


@dataclass(frozen=True, eq=False)
class BuiltDetector:
    """A detector as ACTS knows it, and its modules as arrays.

    Attributes:
        geometry: ``acts.TrackingGeometry`` of the detector.
        modules: sensitive modules of the same geometry.
        owner: what has to stay alive as long as the geometry is used.
    """

    geometry: Any
    modules: Modules
    owner: Any = None


def build_detector(layout: Layout | None = None) -> BuiltDetector:
    """Build a detector for ACTS.

    Args:
        layout: what it is made of, or None for the GenericDetector.

    Raises:
        ConfigError: layers of the layout stand in each other's way.
        MissingExtraError: pyacts is not installed.
    """
    if layout is not None:
        return BuiltDetector(build_layout(layout), layout_modules(layout))
    generic = build_generic()
    return BuiltDetector(generic.trackingGeometry(), generic_modules(), generic)


def detector_modules(layout: Layout | None = None) -> Modules:
    """The modules of a layout, or of the GenericDetector; it needs no pyacts.

    Raises:
        ConfigError: layers of the layout stand in each other's way.
    """
    return generic_modules() if layout is None else layout_modules(layout)
