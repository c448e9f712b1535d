"""The detector that an event was measured with, as the displays draw it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32
from beampipe.events import Hits
from beampipe.plugins import plugin_names
from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS
from beampipe.tracking.models import TrackerModel, load_model, shipped_models

MIN_ON_LAYERS: Final = 0.95
"""Share of the hits on the layers of a shipped model from which on an event is taken for one of its detector."""

_CHECKED_HITS: Final = 5000
"""Approximate number of hits that are compared with the layers."""


@dataclass(frozen=True, eq=False)
class DrawnDetector:
    """What the displays need of a detector. The defaults are those of an unknown one.

    Attributes:
        boxes: (n_layers, 4) r_min, r_max, z_min, z_max of each layer [mm].
        field: solenoidal field [T]; None for that of the tracks.
        min_track_hits: hits from which a track counts, as in `evaluate`.
    """

    boxes: Float32[ndarray, "n_layers 4"]
    field: float | None = None
    min_track_hits: int = MIN_TRACK_HITS

    @property
    def is_barrel(self) -> Bool[ndarray, " n_layers"]:
        """(n_layers,) True for a cylinder, False for a disc."""
        r_min, r_max, z_min, z_max = self.boxes.T
        return np.asarray(z_max - z_min > r_max - r_min)

    def lines(self) -> Float32[ndarray, "n_layers 2 2"]:
        """(n_layers, 2, 2) both ends, each z and r [mm], of a line through the middle of each layer."""
        r_min, r_max, z_min, z_max = self.boxes.T
        r, z, barrel = (r_min + r_max) / 2, (z_min + z_max) / 2, self.is_barrel
        first = np.stack([np.where(barrel, z_min, z), np.where(barrel, r, r_min)], axis=1)
        last = np.stack([np.where(barrel, z_max, z), np.where(barrel, r, r_max)], axis=1)
        return np.stack([first, last], axis=1)


DetectorChoice = str | Path | TrackerModel | DrawnDetector | None
"""A tracker model, its name or folder; a detector's TOML file or plug-in; None for a shipped model that fits."""


def drawn_detector(detector: DetectorChoice, hits: Hits) -> DrawnDetector:
    """The detector that is drawn with an event; one without layers if it is unknown.

    Args:
        detector: the detector, or None to compare the hits with the shipped models; a `DrawnDetector` is returned.
        hits: hits of the event.

    Raises:
        UnknownNameError: there is no model of that name.
        FileError: the model or the TOML file cannot be read.
        ConfigError: the TOML file describes no detector.
    """
    if isinstance(detector, DrawnDetector):
        return detector
    if detector is None:
        models = (load_model(name) for name in shipped_models())
        fitting = (model for model in models if share_on_layers(hits, model.layout.boxes) >= MIN_ON_LAYERS)
        model = next(fitting, None)
        if model is None:
            return DrawnDetector(np.empty((0, 4), np.float32))
        return replace(_of_model(model), field=None)  # layers say nothing of the field
    if isinstance(detector, str | Path) and (
        Path(detector).suffix == ".toml" or str(detector) in plugin_names("detectors")
    ):
        from beampipe.simulation.detector import read_layout

        layout = read_layout(Path(detector))
        return DrawnDetector(layout.boxes, layout.field_T)
    return _of_model(load_model(detector))


def share_on_layers(hits: Hits, boxes: Float32[ndarray, "n_layers 4"]) -> float:
    """Share of the hits that lie on layers, estimated from some thousand; 0 without hits."""
    if not len(hits):
        return 0.0
    r, _, z = hits.position[:: max(len(hits) // _CHECKED_HITS, 1)].T
    r_min, r_max, z_min, z_max = boxes.T[:, :, None]
    return float(((r_min <= r) & (r <= r_max) & (z_min <= z) & (z <= z_max)).any(axis=0).mean())


def _of_model(model: TrackerModel) -> DrawnDetector:
    return DrawnDetector(model.layout.boxes, abs(model.layout.field), model.crossing.min_layers)
