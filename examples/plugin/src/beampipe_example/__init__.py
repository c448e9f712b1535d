"""A finder, a detector and a task that beampipe offers by name once this package is installed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from beampipe.tracking import PIPELINES, Pipeline, Walk, build_pipeline

DETECTOR = Path(__file__).with_name("six_layers.toml")
TASK = Path(__file__).with_name("coarse_muons")

LONG_TRACKS = replace(PIPELINES["module_map"], name="long_tracks", segmentation=Walk(min_hits=9, penalty=0.5))


def open_long_tracks(*, threads: int | None = None, device: str = "cpu", **options: Any) -> Pipeline:
    """`module_map` for tracks of nine hits or more; the options are those of `beampipe.tracking.load_pipeline`.

    Any object with the methods of `beampipe.tracking.TrackFinder` would do.
    """
    if device != "cpu":
        raise ValueError(f"long_tracks: got device {device}, expected cpu")
    return build_pipeline(LONG_TRACKS, threads or 1, **options)
