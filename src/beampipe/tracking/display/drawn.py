"""What all displays draw of an event: its detector, and tracks and particles as polylines through their hits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Int64
from beampipe.errors import ShapeError
from beampipe.events import NOISE, Event, Hits, Tracks, Truth, distance_squared
from beampipe.plugins import plugin_names
from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS, Candidates
from beampipe.tracking.fitting.helix import pt_of_tracks
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


# Tracks and particles


MIN_TRUTH_HITS: Final = 3
"""Fewest hits of a particle that is drawn; fewer make no track."""


@dataclass(frozen=True, eq=False)
class Polylines:
    """Lines through hits, end to end.

    Attributes:
        hit: (n_points,) int64 row of the hit at each point; a line's points are consecutive, from the beam spot out.
        length: (n_lines,) int64 number of points of each line.
        pt: (n_lines,) float32 pT of each line [GeV]; 0 where unknown, so such a line is drawn only without a pT cut.
        fake: (n_lines,) bool, True for a track that belongs to no particle.
    """

    hit: Int64[ndarray, " n_points"]
    length: Int64[ndarray, " n_lines"]
    pt: Float32[ndarray, " n_lines"]
    fake: Bool[ndarray, " n_lines"]

    def __len__(self) -> int:
        return len(self.length)

    @property
    def start(self) -> Int64[ndarray, " n_lines"]:
        """Position in `hit` of each line's first point."""
        return np.asarray(np.cumsum(self.length) - self.length)

    def take(self, index: Int64[ndarray, " n"] | Bool[ndarray, " n_lines"]) -> Polylines:
        """The lines at `index` (positions or a mask), in that order."""
        length, start = self.length[index], self.start[index]
        point = np.repeat(start - np.cumsum(length) + length, length) + np.arange(length.sum())
        return Polylines(self.hit[point], length, self.pt[index], self.fake[index])

    def split(self) -> list[Int64[ndarray, " n"]]:
        """The hit rows of each line."""
        return np.split(self.hit, self.start[1:]) if len(self) else []


def event_lines(
    event: Event,
    tracks: Tracks,
    track_is_fake: Bool[ndarray, " n_tracks"] | None,
    field: float | None,
    show_truth: bool,
) -> tuple[Polylines, Polylines | None]:
    """`track_lines`, and `truth_lines` where they are wanted and the event has truth.

    Args:
        event: event that is drawn.
        tracks: tracks that were found in it.
        track_is_fake: (n_tracks,) True for a track that belongs to no particle; None without truth.
        field: solenoidal field, for the pT of found tracks [T].
        show_truth: whether simulated particles are drawn as well.

    Raises:
        ShapeError: the tracks are of another event, or `track_is_fake` is of other tracks.
    """
    truth = truth_lines(event.hits, event.truth) if show_truth and event.truth is not None else None
    return track_lines(event, tracks, track_is_fake, field), truth


def track_lines(
    event: Event, tracks: Tracks, track_is_fake: Bool[ndarray, " n_tracks"] | None = None, field: float | None = None
) -> Polylines:
    """One line per found track, with its fitted pT, or that of the circle through its hits where it was not fitted.

    Args:
        event: event that is drawn.
        tracks: tracks that were found in it.
        track_is_fake: (n_tracks,) True for a track that belongs to no particle; None without truth.
        field: solenoidal field, for the pT of found tracks [T].

    Raises:
        ShapeError: the tracks are of another event, or `track_is_fake` is of other tracks.
    """
    if len(tracks.track_id) != len(event.hits):
        raise ShapeError(
            f"event {event.event_id}: got tracks for {len(tracks.track_id)} hits, expected {len(event.hits)};"
            " pass the tracks that were found in this event"
        )
    if track_is_fake is None:
        track_is_fake = np.zeros(len(tracks), np.bool_)
    if track_is_fake.shape != (len(tracks),):
        raise ShapeError(
            f"track_is_fake: got shape {track_is_fake.shape}, expected ({len(tracks)},), one per found track"
        )
    pairs = Candidates.of(tracks)
    order = np.lexsort((distance_squared(event.hits.position)[pairs.hit], pairs.track))
    pt = np.nan_to_num(pt_of_tracks(event.hits, tracks, field), nan=0.0, posinf=float(np.finfo(np.float32).max))
    length = np.bincount(pairs.track, minlength=len(tracks))
    return Polylines(pairs.hit[order], length, pt, track_is_fake)


def truth_lines(hits: Hits, truth: Truth) -> Polylines:
    """One line per simulated particle with at least three hits, with its true pT; merged hits count for each."""
    hit = np.concatenate([np.arange(len(hits)), truth.shared_hit])
    owner = np.concatenate([truth.particle_id, truth.shared_particle])
    hit, owner = hit[owner != NOISE], owner[owner != NOISE]
    particle_id, label, length = np.unique(owner, return_inverse=True, return_counts=True)
    order = np.lexsort((distance_squared(hits.position)[hit], label))
    # Row -1, for a particle that is not listed, takes the appended pT of 0.
    pt = np.append(truth.particles.pt, np.float32(0))[truth.particles.rows(particle_id)]
    lines = Polylines(hit[order], length, pt, np.zeros(len(length), np.bool_))
    return lines.take(length >= MIN_TRUTH_HITS)
