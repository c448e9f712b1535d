"""Detectors from TOML files as detectors that ACTS finds tracks in."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np

from beampipe.simulation.acts_geometry import build_detector
from beampipe.simulation.detector import DetectorLayout, shells
from beampipe.simulation.magnetic_field import build_field
from beampipe.tracking.acts.sequencer import ActsDetector
from beampipe.tracking.acts.settings import acts_settings


@cache
def acts_detector(layout: DetectorLayout) -> ActsDetector:
    """The detector in its field, built once per process; seeds are made of hits in its innermost shell.

    Raises:
        ConfigError: layers of the layout overlap.
        MissingExtraError: pyacts is not installed.
    """
    built = build_detector(layout)
    stereo, modules = built.modules.stereo, built.modules
    strips = np.empty(0, np.uint64) if stereo is None else modules.geometry_id[np.isfinite(stereo)]
    inner = tuple(sorted({layer.volume for layer in shells(layout)[0].layers}))
    field = build_field(layout.field_T, layout)
    return ActsDetector(layout.field_T, built.geometry, f"the detector {layout.name!r}", strips[::2], inner, field)


def detector_for_acts(layout: DetectorLayout | None, names: Iterable[str]) -> ActsDetector | None:
    """The detector that ACTS finds tracks in; None for its Generic one, or if none of the finders is ACTS.

    Args:
        layout: layout of the detector; None for the Generic detector.
        names: names of the finders.

    Raises:
        UnknownNameError: ACTS has no such settings.
        BeampipeError: any error of `acts_detector`.
    """
    if layout is None or all(acts_settings(name) is None for name in names):
        return None
    return acts_detector(layout)
