"""A pipeline: stages in a fixed order from hits to tracks, in one pass or in several over the remaining hits.

A pipeline is its specification (`beampipe.tracking.catalogue`) and a tracker model. On the CPU its stages run in one
call of C++ (`kernels/native/pipelines`). The same call decides which events are refused, and which are processed again
at the beam spot that their tracks point to. With custom stages, and on a GPU, the stages run one by one in Python.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property, partial
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import ConfigError, FileError
from beampipe.events import ON_AXIS, BeamSpot, Event, Hits, Offsets, Position, Tracks
from beampipe.identity import code_digest, digest_of, file_digest, user_code
from beampipe.simulation.detector import Modules, modules_of_layout
from beampipe.tracking import kernels
from beampipe.tracking.catalogue import PipelineSpec
from beampipe.tracking.finder import InOneThread, event_in, hits_of
from beampipe.tracking.input_checks import EXPECTED_ON_TRACKS, EXPECTED_SOFT, LAYOUT_COUNTS, ExpectedTracks, HitMonitor
from beampipe.tracking.kernels.loading import contiguous
from beampipe.tracking.models import TrackerModel, weight_file
from beampipe.tracking.stages import OF_HITS, STAGE_KINDS, Line, Stage, stages_of
from beampipe.tracking.strips import STRIPS
from beampipe.tracking.windows import Windows, load_windows

if TYPE_CHECKING:
    from beampipe.tracking.kernels._native import TrackFinder as NativeFinder

Hook = Callable[[str, Mapping[str, Any] | None], None]
"""Called after each stage with the name of its step and the current arrays (None where C++ runs the stages)."""

_COUNT_NAMES: Final = ("hits", "edges", "triplets", *LAYOUT_COUNTS)

_SOFT_PT: Final = 0.5
"""Windows that were learned from particles below this pT [GeV] find soft tracks."""

_WHOLE_CURVATURE: Final = 0.9
"""Share of the largest curvature of soft windows that corresponds to pT = 0.3 GeV."""


@dataclass(frozen=True, eq=False, repr=False)
class Pipeline(InOneThread):
    """Finds tracks by the stages of a specification, with the weights of a tracker model.

    An event whose tracks clearly come from another beam line than the expected one is processed again relative to that
    line.

    If the detector of the model has double-sided strips, the last step compares the measurements of space points with
    the tracks, for hits that have them (`beampipe.tracking.strips`).

    Attributes:
        spec: specification of the pipeline.
        model: tracker model whose weights are used.
        threads: number of threads of one call; the tracks do not depend on it.
        beam_spot: beam line that is expected.
        check: whether events are refused whose hits are of another detector, or too many for the pipeline; if not,
            there are no warnings either.
        own_stages: name of the step and stage of each pass, run one by one in Python; None for the stages of the spec,
            composed in C++. Steps of one name are timed together.
        in_blocks: whether these take several events as one graph; if not, `find_many` finds events one by one.

    Raises:
        ConfigError: the parts of the spec make no pipeline, or a stage needs an array that no earlier stage makes.
        FileError: weights are missing or damaged.
    """

    spec: PipelineSpec
    model: TrackerModel
    threads: int = 1
    beam_spot: BeamSpot = ON_AXIS
    check: bool = True
    own_stages: tuple[Line, ...] | None = None
    in_blocks: bool = True
    _native: NativeFinder = field(init=False)
    _monitor: HitMonitor | None = field(init=False)

    def __post_init__(self) -> None:
        finder = kernels.native().TrackFinder(self.spec.to_json(), str(self.model.path))
        layers = np.asarray(self.model.layout.boxes, np.float64)
        monitor = HitMonitor(self.name, self.expected_tracks, self.beam_spot, layers) if self.check else None
        object.__setattr__(self, "_native", finder)
        object.__setattr__(self, "_monitor", monitor)
        if self.own_stages is not None:
            self._steps  # noqa: B018 - refuses a wrong order of stages now, not with the first event

    def __reduce__(self) -> tuple[type[Pipeline], tuple[Any, ...]]:
        return Pipeline, tuple(getattr(self, field.name) for field in fields(self) if field.init)

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return self.spec.name

    @cached_property
    def digest(self) -> str:
        """Digest of all that the labels depend on, names apart: code, kernels, spec, weights, beam line, own stages.

        Raises:
            ConfigError: a stage of `own_stages` is defined in no module, or cannot be pickled.
        """
        specs = [replace(spec, name="", for_what="", after=None).to_json() for spec in self.spec.passes]
        weights = [file_digest(path) for path in self.model.files(self.spec)]
        own = [[_stage_digest(stage) for _, stage in line] for line in self.own_stages or ()]
        return digest_of([_code(), kernels.build(), specs, weights, self.beam_spot, self.check, own])

    @cached_property
    def passes(self) -> tuple[Line, ...]:
        """Name of the step and stage, in order, of each pass; those of the spec are made on first use.

        The stages of a pass work on the hits that are on no track of the passes before.
        """
        if self.own_stages is not None:
            return self.own_stages
        return tuple(stages_of(spec, self.model.path, self.threads) for spec in self.spec.passes)

    @property
    def stages(self) -> Line:
        """Name of the step and stage, in order, of the last pass."""
        return self.passes[-1]

    @property
    def steps(self) -> tuple[str, ...]:
        """Names under which the steps of all passes are timed, in order; those of the second pass end in ``_2``."""
        if self.own_stages is None:
            return tuple(self._native.steps)
        names = [_timed_as(name, number) for number, line in enumerate(self.passes) for name, _ in line]
        return tuple(dict.fromkeys(names if self.double_sided is None else [*names, STRIPS]))

    @cached_property
    def double_sided(self) -> Modules | None:
        """The modules of the detector, if some are double-sided strips."""
        return double_sided(self.model)

    @cached_property
    def windows(self) -> Windows:
        """The windows of the last pass as they were learned; their layers are those of the detector."""
        return load_windows(weight_file(self.model.path, self.spec.windows))

    @cached_property
    def expected_tracks(self) -> ExpectedTracks:
        """What is usual of the tracks: as measured with the model, else a rule of thumb for the share of the hits."""
        measured = self.model.performance.get(self.name)
        soft = self.model.weights[self.spec.windows].pt_floor < _SOFT_PT
        if measured is not None and measured.hits_on_tracks > 0:
            usual = ExpectedTracks(measured.hits_on_tracks, measured.hits, measured.hits_per_track)
            if soft:  # their residuals are mostly scattering, and so depend on the momenta in an event
                return usual
            # Vertices anywhere in the windows are usual, also if those of the validation were closer together.
            reach = float(np.median(np.ptp(self.windows.pair_windows[:, 1:], axis=1)) / np.sqrt(12))
            return replace(
                usual,
                residual=measured.residual,
                origin_z=measured.origin_z,
                origin_spread=None if measured.origin_spread is None else max(measured.origin_spread, reach),
                holes=measured.holes,
            )
        if not soft:
            return EXPECTED_ON_TRACKS
        # Measured at 0.4, 0.65 and 0.9 of the curvature: 0.24, 0.42 and 0.55.
        return ExpectedTracks(EXPECTED_SOFT.share * min(1.0, self.spec.curvature / _WHOLE_CURVATURE))

    def replace(self, **changes: Any) -> Pipeline:
        """The same pipeline with other cuts, number of threads or beam line.

        >>> longer = load_pipeline("module_map").replace(min_hits=9)
        >>> int(longer.find(shipped_events(0)[0]).n_hits.min())
        9

        Args:
            changes: names of `PipelineSpec.cuts`, `threads`, `beam_spot` or `check`, and their new values.

        Raises:
            UnknownNameError: no such cut.
            ConfigError: a value is out of range, or the stages are not those of the spec.
        """
        own = {name: changes.pop(name) for name in ("threads", "beam_spot", "check") if name in changes}
        if changes and self.own_stages is not None:
            raise ConfigError(
                f"pipeline {self.name}: got {', '.join(changes)}, but its stages are its own; give them to these"
            )
        return replace(self, spec=self.spec.with_cuts(**changes), **own)

    def staged(self) -> Pipeline:
        """The same pipeline with its stages run one by one in Python, to inspect the arrays between them."""
        return replace(self, own_stages=self.passes)

    def with_stages(self, stages: Line, name: str | None = None) -> Pipeline:
        """The same pipeline with other stages in its last pass, run one by one in Python.

        Args:
            stages: name of the step and stage, in order.
            name: name of the new pipeline; that of this one if not given.

        Raises:
            ConfigError: a stage needs an array that no earlier stage makes; the message says which one does.
        """
        spec = self.spec if name is None else replace(self.spec, name=name)
        return replace(self, spec=spec, own_stages=(*self.passes[:-1], stages))

    def find(self, event: Event | Hits | Any, /, *, hook: Hook | None = None) -> Tracks:
        """Tracks of one event, with the time of each step and the numbers of hits, edges and triplets.

        Warns once if hits fit the detector only in part (`beampipe.tracking.input_checks`).

        Args:
            event: the event, or its hits; or a table or a file of one event, as for `open_events`.
            hook: called after each stage, if given; its exceptions end the work. It gets the current arrays where
                stages run one by one (`staged`). It is called again for events that are processed again.

        Raises:
            TooLargeError: the event would need too much memory, or has more hits than the pipeline is made for.
            LayoutError: the hits are of another detector, or in other units.
            InputError: hits with measurements are on no module of the detector.
        """
        event = event_in(event)
        return self._find([hits_of(event)], hook)[0].found_in(event)

    def find_many(self, events: Sequence[Event | Hits], *, hook: Hook | None = None) -> list[Tracks]:
        """Tracks of several events, found together: each stage runs once, on all of them side by side.

        The labels are those that `find` gives for each event. The `seconds` of an event are its share of the total by
        number of hits. Small events gain most: the fixed cost of a stage is paid once, and the threads have more work
        to share.

        Args:
            events: each event, or its hits; events may differ in size and be empty.
            hook: as for `find`.

        Raises:
            TooLargeError: one event, or all together, would need too much memory; see `memory`. Or one has more hits
                than the pipeline is made for. The other events can still be found one by one.
            LayoutError: the hits of one event are of another detector, or in other units; likewise.
            TypeError: these are not several events.
        """
        given: object = events
        if isinstance(given, Event | Hits):
            raise TypeError("find_many: got one event, expected several; call finder.find(event) or find_many([event])")
        if not events:
            return []
        if self.own_stages is not None and not self.in_blocks:
            return [self.find(event, hook=hook) for event in events]
        tracks_of_events = self._find([hits_of(event) for event in events], hook)
        return [tracks.found_in(event) for tracks, event in zip(tracks_of_events, events, strict=True)]

    def check_hits(self, events: Sequence[Hits]) -> list[tuple[int, int]]:
        """Number of hits on no layer of the detector, and of layers that the hits do not fill, of each event.

        Hits are measured from the axis or from the expected beam line, whichever puts more of them on layers: layers
        are learned from hits as measured from the beam line, but stay where they are when the beam moves.

        Raises:
            LayoutError: the pipeline checks its hits, and those of an event are of another detector or in other units.
        """
        line = self.beam_spot.numbers
        return list(zip(*self._native.compare(*_side_by_side(events), line, self.threads, self.check), strict=True))

    def memory(self, n_hits: int) -> float:
        """Memory that an event of that size may need [B]; events found together need the sum."""
        return self.spec.memory(n_hits)

    def facts(self) -> Mapping[str, object]:
        """Name, steps, beam line, and whether the stages run in C++."""
        runs = "in C++" if self.own_stages is None else "stage by stage"
        cuts = ", ".join(f"{name}={value:g}" for name, value in self.spec.cuts.items())
        return {
            "name": self.name,
            "steps": ", ".join(self.steps),
            "cuts": cuts,
            "threads": self.threads,
            "beam spot": self.beam_spot.text,
            "runs": runs,
        }

    @cached_property
    def _steps(self) -> tuple[tuple[Step, ...], ...]:
        return tuple(checked_steps(self.name, line) for line in self.passes)

    def _find(self, events: Sequence[Hits], hook: Hook | None) -> list[Tracks]:
        """Tracks of one or more events, found together."""
        tracks_of_events = self._find_natively(events, hook)
        if self._monitor is not None:
            for hits, tracks in zip(events, tracks_of_events, strict=True):
                self._monitor.check(hits, tracks)
        return tracks_of_events

    def _find_natively(self, events: Sequence[Hits], hook: Hook | None) -> list[Tracks]:
        """Tracks of events found together by one call of C++; `seconds` are shared by number of hits."""
        position, offsets = _side_by_side(events)
        seconds = dict.fromkeys(self.steps, 0.0)
        run = None if self.own_stages is None else partial(self._run_pass, seconds, hook)
        measured = [] if self.double_sided is None else [_measured(hits) for hits in events]
        track_id, native_seconds, edges, triplets, outside, unfilled, beam_lines = self._native.find(
            position, offsets, self.beam_spot.numbers, self.threads, self.check, hook, run, measured
        )
        native_steps = dict(zip(self._native.steps, native_seconds, strict=True))
        if run is None:
            seconds = native_steps
        elif self.double_sided is not None:
            seconds[STRIPS] = native_steps[STRIPS]
        # Copies: the result of one event must not keep the labels of all in memory.
        labels = [track_id] if len(events) == 1 else [part.copy() for part in np.split(track_id, offsets[1:-1])]
        n_hits = max(len(position), 1)
        counts = zip(map(len, events), edges, triplets, outside, unfilled, strict=True)
        return [
            Tracks(
                label,
                {step: taken * (count[0] / n_hits) for step, taken in seconds.items()},
                dict(zip(_COUNT_NAMES, count, strict=True)),
                beam_spot=BeamSpot(*beam_line),
                magnetic_field=self.model.layout.field,
                min_hits=self.model.crossing.min_layers,
            )
            for label, count, beam_line in zip(labels, counts, beam_lines, strict=True)
        ]

    def _run_pass(
        self, seconds: dict[str, float], hook: Hook | None, number: int, position: Position, offsets: Offsets | None
    ) -> tuple[Int64[ndarray, " n_hits"], list[int], list[int]]:
        """Labels by the stages of one pass, run one by one, and the number of edges and triplets of each event."""
        arrays: dict[str, Any] = {"position": position, "offsets": offsets}
        for step in self._steps[number]:
            start = perf_counter()
            made = step.stage(**{name: arrays[name] for name in step.needs})
            arrays.update(zip(step.makes, made, strict=True))
            for name in step.forgets:
                del arrays[name]
            seconds[_timed_as(step.name, number)] += perf_counter() - start
            if hook is not None:
                hook(_timed_as(step.name, number), dict(arrays))
        edge_index, triplets = arrays["edge_index"], arrays.get("triplets", np.empty((2, 0), np.int64))
        if offsets is None:
            return arrays["track_id"], [edge_index.shape[1]], [triplets.shape[1]]
        first = np.searchsorted(edge_index[0], offsets)  # edges are sorted by their inner hit
        event = np.searchsorted(first, triplets[0], side="right") - 1
        n_triplets = np.bincount(event, minlength=len(offsets) - 1)
        return arrays["track_id"], np.diff(first).tolist(), n_triplets.tolist()


def double_sided(model: TrackerModel) -> Modules | None:
    """The modules of the detector of a tracker model; None where there is none, or it has no double-sided strips.

    Raises:
        FileError: the detector file cannot be read, or the model has no table of its double-sided modules.
        ConfigError: it makes no detector.
    """
    layout = model.detector_layout
    modules = None if layout is None else modules_of_layout(layout)
    if modules is None or modules.stereo is None:
        return None
    if not (table := weight_file(model.path, STRIPS)).is_file():
        raise FileError(f"{table}: got no such file, expected the double-sided modules; train the model again")
    return modules


def _measured(hits: Hits) -> tuple[ndarray, ndarray, ndarray] | None:
    """What the modules measured of the hits of an event, if this is known."""
    if hits.geometry_id is None or hits.local is None or hits.variance is None:
        return None
    return contiguous(hits.geometry_id), contiguous(hits.local), contiguous(hits.variance)


def wrap_phi(position: Position) -> Position:
    """The same hits with phi between -pi and pi, as the kernels require."""
    outside = np.abs(position[:, 1]) > np.float32(np.pi)
    if not outside.any():
        return position
    turned = position.copy()
    turned[outside, 1] = np.remainder(position[outside, 1].astype(np.float64) + np.pi, 2 * np.pi) - np.pi
    return turned


@cache
def _code() -> str:
    """Digest of the code of this module and of what it imports; loaded code does not change."""
    return code_digest(__name__)


def _stage_digest(stage: Stage) -> str:
    """Digest of the code and of the state of a stage."""
    kind = type(stage)
    try:
        state = sha256(pickle.dumps(stage)).hexdigest()
    except Exception as error:  # whatever its parts raise
        raise ConfigError(f"stage {kind.__name__}: got {error}, expected a stage that can be pickled") from error
    if kind.__module__ == "__main__":
        raise ConfigError(f"stage {kind.__name__}: got a class of a program, expected one of a module, for its digest")
    return digest_of([kind.__module__, kind.__qualname__, user_code(kind.__module__).digest, state])


def _timed_as(step: str, number: int) -> str:
    """Name under which a step of a pass, counted from 0, is timed."""
    return step if number == 0 else f"{step}_{number + 1}"


def _side_by_side(events: Sequence[Hits]) -> tuple[Position, Offsets]:
    """The positions of all events together, the first hit of each, and the end."""
    positions = [hits.position for hits in events]
    position = positions[0] if len(events) == 1 else np.concatenate(positions)
    return np.ascontiguousarray(position), np.array([0, *map(len, positions)], np.int64).cumsum()


INPUT_ARRAYS: Final = ("position", "offsets")
"""The input arrays of the first stage."""

OUTPUT_ARRAYS: Final = ("edge_index", "track_id")
"""The arrays that a pipeline reads at the end."""

COUNTED_ARRAYS: Final = ("triplets",)
"""The arrays whose lengths a pipeline counts at the end, if present."""


@dataclass(frozen=True, eq=False)
class Step:
    """A stage of a pipeline, with the arrays that can be freed after it.

    Attributes:
        name: name under which the time of the stage is added up.
        stage: the stage.
        needs: names of the arrays that the stage is called with.
        makes: names of the arrays that the stage returns.
        forgets: names of the arrays that no later stage reads.
    """

    name: str
    stage: Stage
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    forgets: tuple[str, ...]


def checked_steps(pipeline: str, line: Sequence[tuple[str, Stage]]) -> tuple[Step, ...]:
    """The steps of a line, after a check that the arrays each stage needs are made before it.

    Args:
        pipeline: name of the pipeline, for messages.
        line: name and stage of each step.

    Raises:
        ConfigError: a stage does not declare what it needs and makes, needs an array that no earlier stage makes or
            that belongs to edges that have changed since; or no stage makes the tracks.
    """
    for _, stage in line:
        _check_declaration(pipeline, stage)
    read = [{*OUTPUT_ARRAYS, *COUNTED_ARRAYS}]  # arrays that are read after each stage, from the last one back
    for _, stage in reversed(line):
        read.append(read[-1] - set(stage.makes) | set(stage.needs))
    there, steps = set(INPUT_ARRAYS), []
    for number, (label, stage) in enumerate(line):
        for name in stage.needs:
            if name not in there:
                raise ConfigError(_missing(pipeline, line, number, name))
        made = set(stage.makes)
        valid = (there & OF_HITS if "edge_index" in made else there) | made
        kept = valid & read[len(line) - 1 - number]
        forgets = tuple(sorted((there | made) - kept))
        steps.append(Step(label, stage, tuple(stage.needs), tuple(stage.makes), forgets))
        there = kept
    for name in OUTPUT_ARRAYS:
        if name not in there:
            stages = ", ".join(type(stage).__name__ for _, stage in line) or "no stages"
            raise ConfigError(f"pipeline {pipeline}: got {stages}, expected `{name}` at the end; add {_makers(name)}")
    return tuple(steps)


def _check_declaration(pipeline: str, stage: Stage) -> None:
    """Refuse a stage that does not declare what it needs and makes, or declares it wrongly."""
    kind = type(stage).__name__
    if not isinstance(stage, Stage):
        raise ConfigError(
            f"pipeline {pipeline}: got a stage {kind} without `needs` and `makes`, expected the names of its arrays"
        )
    parameters = inspect.signature(stage).parameters.values()
    takes = {parameter.name for parameter in parameters}
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters) and takes != set(stage.needs):
        raise ConfigError(
            f"pipeline {pipeline}: got stage {kind}, which needs {', '.join(stage.needs)} and is called with"
            f" {', '.join(sorted(takes))}; name its parameters as in `needs`"
        )


def _missing(pipeline: str, line: Sequence[tuple[str, Stage]], position: int, name: str) -> str:
    """Message for a stage that needs an array that is missing at its position."""
    kind = type(line[position][1]).__name__
    where = f"after {type(line[position - 1][1]).__name__}" if position else "first"
    got = f"pipeline {pipeline}: got stage {kind} {where}, it needs `{name}`, which"
    earlier = [type(stage).__name__ for _, stage in line[:position] if name in stage.makes]
    if earlier:
        changed = next(type(s).__name__ for _, s in reversed(line[:position]) if "edge_index" in s.makes)
        return f"{got} {earlier[-1]} made for edges that {changed} has changed since; put it before {changed}"
    return f"{got} no earlier stage makes; put {_makers(name)} before it"


def _makers(name: str) -> str:
    """The stages of this package that make an array, in words."""
    return " or ".join(kind.__name__ for kind in STAGE_KINDS if name in kind.makes) or "one that makes it"
