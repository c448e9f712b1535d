"""A whole tracking pipeline as one served model: hits in, labels out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import ClassVar, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, UInt8
from beampipe.errors import InputError, LayoutError, TooLargeError
from beampipe.events import BeamSpot, Hits, Scale, Tracks, scale_named
from beampipe.identity import digest_of
from beampipe.serving import contract
from beampipe.serving.contract import (
    BEAM_SPOT,
    DIGEST,
    FEATURES,
    GEOMETRY_ID,
    LABELS,
    LAYOUT,
    LOCAL,
    MEASUREMENTS,
    PARAMETERS,
    STAGES,
    TRACKS,
    VARIANCE,
    WIDE_FEATURES,
    listed,
    packed_parameters,
    track_lists,
)
from beampipe.tracking.data import shipped_events
from beampipe.tracking.input_checks import LAYOUT_COUNTS
from beampipe.tracking.loading import load_pipeline, load_track_fitter
from beampipe.tracking.pipeline import Pipeline
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest, TensorSpec

_COLUMNS: Final = 3
"""Columns of FEATURES that a pipeline uses: r, phi, z."""
_COUNTERS: Final = {
    "hits": "Hits of the events answered.",
    "edges": "Edges that were left to label.",
    "tracks": "Tracks found.",
}
"""Counters of the models besides events and the time of stages: name -> meaning."""


class TrackingModel:
    """A named pipeline of `beampipe.tracking` as a model: positions of hits in, labels out."""

    inputs: ClassVar[tuple[TensorSpec, ...]] = (FEATURES,)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (LABELS, STAGES, LAYOUT, BEAM_SPOT, DIGEST)
    counters: ClassVar = {
        **_COUNTERS,
        "hits_outside": "Hits of the events answered that lie on no layer of the detector.",
        "events_refused": "Events refused because their hits are not of this detector or not in its units.",
    }

    def __init__(self, instance: Instance) -> None:
        settings = instance.parameters
        self.instance = instance
        self.scale = scale_named(settings.get(contract.FEATURE_SCALE, "mm"))
        self.max_hits = int(settings[contract.MAX_HITS])
        self.hit_budget = int(settings.get(contract.HIT_BUDGET, 0))
        self.pipeline = load_for(instance)
        self.digest = _served(self.pipeline.digest, self.scale)

    def run(self, requests: Sequence[ModelRequest], /) -> list[ModelAnswer]:
        """Labels of each event; several run as one graph of blocks, up to the hit budget."""
        read = [self._hits_or_error(request) for request in requests]
        answers: dict[int, ModelAnswer] = {row: hits for row, hits in enumerate(read) if not isinstance(hits, Hits)}
        events = {row: hits for row, hits in enumerate(read) if isinstance(hits, Hits)}
        for rows in _within(self.hit_budget, events):
            answers.update(zip(rows, self._find([events[row] for row in rows]), strict=True))
        return [answers[row] for row in range(len(requests))]

    def _hits_or_error(self, request: ModelRequest) -> Hits | InputError:
        features = request[FEATURES.name]
        if len(features) > self.max_hits:
            need = self.pipeline.memory(len(features))
            return TooLargeError(
                f"hits: got {len(features)}, which would need {need / 1e9:.1f} GB, expected at most {self.max_hits};"
                " cut the event into regions in phi or z"
            )
        if (width := features.shape[1]) < _COLUMNS:
            return InputError(f"FEATURES: got {width} columns, expected r, phi, z and perhaps more")
        position = features if width == _COLUMNS else np.ascontiguousarray(features[:, :_COLUMNS])
        try:
            position = position if self.scale.name == "mm" else self.scale.to_mm(position)
            return Hits(position, *(request.get(spec.name) for spec in MEASUREMENTS))
        except InputError as error:
            return error

    def _find(self, events: Sequence[Hits]) -> Sequence[ModelAnswer]:
        self.instance.checkpoint()
        try:
            tracks = self.pipeline.find_many(events, hook=lambda step, arrays: self.instance.checkpoint())
        except InputError as error:
            if len(events) > 1:
                return [self._find([hits])[0] for hits in events]
            if isinstance(error, LayoutError):
                self.instance.observe("events_refused", 1, "")
            return [error]
        return [self.answer(*pair) for pair in zip(events, tracks, strict=True)]

    def answer(self, hits: Hits, tracks: Tracks) -> Mapping[str, ndarray]:
        """The outputs for one event."""
        self.instance.observe("hits_outside", tracks.counts["outside"], "")
        return {
            **_answer(self.instance, tracks),
            LAYOUT.name: np.array([tracks.counts[name] for name in LAYOUT_COUNTS], np.int64),
            BEAM_SPOT.name: np.array(astuple(tracks.beam_spot), np.float64),
            DIGEST.name: _as_bytes(self.digest),
        }

    @classmethod
    def example(cls) -> ModelRequest:
        """Hits of a shipped event without pile-up, in mm."""
        return {FEATURES.name: small_event().position}


class FittingModel(TrackingModel):
    """A pipeline whose tracker model can fit tracks: an answer has their parameters, too, if a client requests them."""

    outputs: ClassVar = (*TrackingModel.outputs, PARAMETERS)

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.fitter = load_track_fitter(instance.weights, threads=instance.threads)

    def answer(self, hits: Hits, tracks: Tracks) -> Mapping[str, ndarray]:
        """The outputs for one event; the tracks are fitted when their parameters are looked up."""
        return _LazyAnswer(super().answer(hits, tracks), PARAMETERS.name, partial(self._parameters, hits, tracks))

    def _parameters(self, hits: Hits, tracks: Tracks) -> Float64[ndarray, "n_tracks 36"]:
        fitted = self.fitter.add(hits, tracks)
        assert fitted.parameters is not None
        self.instance.observe("stage_seconds", fitted.seconds["fit"], "fit")
        return packed_parameters(fitted.parameters)


class StripModel(TrackingModel):
    """A pipeline whose detector has double-sided strips: it compares the measurements with the tracks."""

    inputs: ClassVar = (FEATURES, *(replace(spec, optional=True) for spec in MEASUREMENTS))


class FittingStripModel(FittingModel):
    """The same for a tracker model that can fit tracks."""

    inputs: ClassVar = StripModel.inputs


class AthenaModel(TrackingModel):
    """A pipeline for Athena's client: FEATURES may have more columns than r, phi, z; tracks are lists of hits, too."""

    inputs: ClassVar = (WIDE_FEATURES,)
    outputs: ClassVar = (*TrackingModel.outputs, TRACKS)

    def answer(self, hits: Hits, tracks: Tracks) -> Mapping[str, ndarray]:
        """The outputs for one event; the lists are made when they are looked up."""
        return _LazyAnswer(super().answer(hits, tracks), TRACKS.name, partial(track_lists, tracks.track_id))


@dataclass(frozen=True, eq=False)
class _LazyAnswer(Mapping[str, ndarray]):
    """An answer with one expensive array, which is computed when it is looked up: only if the client requested it."""

    ready: Mapping[str, ndarray]
    lazy: str
    make: Callable[[], ndarray]

    def __getitem__(self, name: str) -> ndarray:
        return self.make() if name == self.lazy else self.ready[name]

    def __iter__(self) -> Iterator[str]:
        yield from (*self.ready, self.lazy)

    def __len__(self) -> int:
        return len(self.ready) + 1


class ActsModel:
    """Triplet seeding and combinatorial Kalman filter of ACTS, on hits with their modules."""

    inputs: ClassVar[tuple[TensorSpec, ...]] = (FEATURES, *MEASUREMENTS)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (LABELS, STAGES, DIGEST)
    counters: ClassVar = _COUNTERS

    def __init__(self, instance: Instance) -> None:
        from beampipe.tracking.acts import ACTS_SETTINGS, ActsTrackFinder

        self.instance = instance
        self.scale = scale_named(instance.parameters.get(contract.FEATURE_SCALE, "mm"))
        self.max_hits = int(instance.parameters[contract.MAX_HITS])
        self.finder = ActsTrackFinder(ACTS_SETTINGS[instance.parameters[contract.ACTS_SETTING]])
        self.digest = _served(self.finder.digest, self.scale)

    def run(self, requests: Sequence[ModelRequest], /) -> list[ModelAnswer]:
        """Labels of each event, one after the other."""
        answers: list[ModelAnswer] = []
        for request in requests:
            if (n := len(request[FEATURES.name])) > self.max_hits:
                raise TooLargeError(f"hits: got {n}, expected at most {self.max_hits}; cut the event into regions")
            position = self.scale.to_mm(request[FEATURES.name])
            hits = Hits(position, *(request[spec.name] for spec in MEASUREMENTS))
            answers.append({**_answer(self.instance, self.finder.find(hits)), DIGEST.name: _as_bytes(self.digest)})
        return answers

    @classmethod
    def example(cls) -> ModelRequest:
        """Hits of a shipped event without pile-up, in mm."""
        hits = small_event()
        assert hits.geometry_id is not None
        assert hits.local is not None
        assert hits.variance is not None
        return {
            FEATURES.name: hits.position,
            GEOMETRY_ID.name: hits.geometry_id,
            LOCAL.name: hits.local,
            VARIANCE.name: hits.variance,
        }


def load_for(instance: Instance) -> Pipeline:
    """The pipeline that the parameters of an instance name, with its weights, on its device and threads."""
    spot = instance.parameters.get(contract.BEAM_SPOT_PARAMETER)
    return load_pipeline(
        instance.parameters[contract.PIPELINE],
        device=instance.device,
        threads=instance.threads,
        model=instance.weights,
        beam_spot=None if spot is None else BeamSpot.parse(spot),
        check=instance.parameters.get(contract.CHECK_LAYOUT) != "false",
    )


def _served(digest: str, scale: Scale) -> str:
    """Digest of a served finder: its own in mm; other scales round each coordinate once more."""
    return digest if scale.name == "mm" else digest_of([digest, scale.name])


def _as_bytes(digest: str) -> UInt8[ndarray, " 20"]:
    return np.frombuffer(bytes.fromhex(digest), np.uint8)


def _answer(instance: Instance, tracks: Tracks) -> dict[str, ndarray]:
    for name, count in {**tracks.counts, "tracks": tracks.n_tracks, "events": 1}.items():
        instance.observe(name, count, "")
    for stage, seconds in tracks.seconds.items():
        instance.observe("stage_seconds", seconds, stage)
    parameters = instance.parameters
    times = [tracks.seconds.get(name, 0.0) for name in listed(parameters.get(contract.STAGE_NAMES, ""))]
    counts = [float(tracks.counts.get(name, 0)) for name in listed(parameters.get(contract.COUNT_NAMES, ""))]
    return {LABELS.name: tracks.track_id, STAGES.name: np.array(times + counts, np.float64)}


def small_event() -> Hits:
    """The smallest shipped event of at least 300 hits."""
    return min((event.hits for event in shipped_events(0) if len(event.hits) >= 300), key=len)


def _within(budget: int, events: Mapping[int, Hits]) -> list[list[int]]:
    """Rows of consecutive events whose hits add up to `budget` at most; a larger event is alone."""
    parts: list[list[int]] = []
    total = 0
    for row, hits in events.items():
        total += len(hits)
        if parts and total <= budget:
            parts[-1].append(row)
        else:
            parts.append([row])
            total = len(hits)
    return parts
