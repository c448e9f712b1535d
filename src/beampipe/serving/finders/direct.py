"""The pipeline in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from beampipe.tracking.beam_spot import BeamSpot
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.finders import named_finder
from beampipe.tracking.loading import load_track_fitter
from beampipe.tracking.models import DEFAULT_MODEL, TrackerModel
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE

__all__ = ["DirectTrackFinder"]


class DirectTrackFinder(InOneThread):
    """Runs a pipeline, or ACTS, here; events that are submitted wait for each other.

    Args:
        pipeline: name of the pipeline, one of `beampipe.tracking.PIPELINES`; or of ACTS, one of `acts_names`.
        device: device on which the pipeline runs, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: number of threads for one event; as many as there are cores if not given.
        model: tracker model that knows the detector: the name of a shipped one, or a folder.
        beam_spot: beam line that is expected; that of the model if not given.
        parameters: whether a helix is fitted to each track; the tracks then have `parameters`.
        check: whether hits are compared with the layers of the detector that the pipeline was made for.

    Raises:
        UnknownNameError: no such pipeline, device or shipped model.
        ConfigError: the device is not there, `threads` is not positive, or the model was not trained for the pipeline,
            or for the fit where parameters are asked for.
        FileError: there is no model in the folder, or weights are missing or damaged.
        MissingExtraError: ACTS is asked for and not installed.
    """

    def __init__(
        self,
        pipeline: str = DEFAULT_PIPELINE,
        *,
        device: str = "cpu",
        threads: int | None = None,
        model: str | Path | TrackerModel = DEFAULT_MODEL,
        beam_spot: BeamSpot | None = None,
        parameters: bool = False,
        check: bool = True,
    ) -> None:
        self._finder = named_finder(pipeline, device, threads, model=model, beam_spot=beam_spot, check=check)
        self._fitter = load_track_fitter(model, threads=threads) if parameters else None

    def facts(self) -> Mapping[str, object]:
        """The finder that runs here, and whether tracks are fitted."""
        return {"runs": self._finder, "fits": "no" if self._fitter is None else "yes"}

    def find(self, hits: Hits, /) -> Tracks:
        """The tracks of one event."""
        tracks = self._finder.find(hits)
        return tracks if self._fitter is None else self._fitter.add(hits, tracks)
