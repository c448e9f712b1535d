"""Tracker models: for which detector, with which weights, and what they can and cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.tracking.models.crossing import Crossing
    from beampipe.tracking.models.layout import Layer, Layout
    from beampipe.tracking.models.model import TrackerModel
    from beampipe.tracking.models.opening import load_model
    from beampipe.tracking.models.performance import Performance
    from beampipe.tracking.models.shipped import DEFAULT_MODEL, shipped_models

__all__ = [
    "DEFAULT_MODEL",
    "Crossing",
    "Layer",
    "Layout",
    "Performance",
    "TrackerModel",
    "load_model",
    "shipped_models",
]

__getattr__ = loader(
    __name__,
    {
        "crossing": ("Crossing",),
        "layout": ("Layer", "Layout"),
        "model": ("TrackerModel",),
        "opening": ("load_model",),
        "performance": ("Performance",),
        "shipped": ("DEFAULT_MODEL", "shipped_models"),
    },
)
