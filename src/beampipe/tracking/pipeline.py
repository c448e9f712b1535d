"""A pipeline: stages in a straight line from hits to tracks, perhaps after another pipeline that leaves hits over.

Stage by stage it runs on a GPU, with stages of one's own, and to look at the arrays between the stages. A named
pipeline on the CPU runs the same stages composed in C++ (`kernels/native/pipelines`), in one call.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, astuple, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.errors import ConfigError, TooLargeError
from beampipe.events import NO_TRACK, ON_AXIS, BeamSpot, Hits, Tracks
from beampipe.tracking import kernels
from beampipe.tracking.beam_spot import estimate_beam_spot
from beampipe.tracking.catalogue import Limit, PipelineSpec
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.input_checks import HitMonitor
from beampipe.tracking.kernels.reference import number_by_first_hit
from beampipe.tracking.layout.check import LayerCheck
from beampipe.tracking.stages import OF_HITS, STAGE_KINDS, Stage

if TYPE_CHECKING:
    from beampipe.tracking.kernels._native import Pipeline as NativePipeline


# How long an event takes where the kernels were not compiled, and the numpy reference runs in their place.


MAX_REFERENCE_SECONDS: Final = 60.0
"""Longest time [s] that events may take by the reference, unless somebody asks for more."""

_SECONDS_PER_HIT: Final = 1e-4

_SECONDS_PER_HIT2: Final = 1e-7
"""Time of the reference [s] that grows with hits, and with their square: `module_map` and `exatrkx` on one core."""


def reference_seconds(n_hits: int) -> float:
    """Time that the reference needs for an event of so many hits [s], right within a factor of three or so."""
    return _SECONDS_PER_HIT * n_hits + _SECONDS_PER_HIT2 * n_hits * n_hits


def check_reference_time(name: str, sizes: Sequence[int], *, refuses: bool) -> None:
    """Refuse events that would take too long, or warn with the time that they will take.

    Args:
        name: name of the pipeline, for the message.
        sizes: number of hits of each event.
        refuses: whether they are refused; if not, one warning tells the time.

    Raises:
        TooLargeError: they would take longer than `LONGEST`.
    """
    seconds = sum(map(reference_seconds, sizes))
    if seconds <= MAX_REFERENCE_SECONDS:
        return
    got = f"{name}: got {max(sizes)} hits, for which the numpy reference needs about {_duration(seconds)}"
    mend = "the kernels were not compiled: install a C++ compiler and then beampipe again, or a wheel"
    if refuses:
        raise TooLargeError(
            f"{got}, expected at most {_duration(MAX_REFERENCE_SECONDS)}; {mend}; or take smaller events,"
            " or go on with --force (check=False)"
        )
    warnings.warn(f"{got}; {mend}", RuntimeWarning, stacklevel=2)


def _duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


# Checks a line of stages when it is built, so that none misses an array when it runs.


INPUT_ARRAYS: Final = ("position", "offsets")
"""The arrays that a pipeline hands to its first stage."""

OUTPUT_ARRAYS: Final = ("edge_index", "track_id")
"""The arrays that a pipeline reads at the end."""

COUNTED_ARRAYS: Final = ("triplets",)
"""The arrays that a pipeline counts at the end where they are there."""


@dataclass(frozen=True, eq=False)
class Step:
    """A stage at its place in a line.

    Attributes:
        name: name under which the time of the stage is added up.
        stage: the stage.
        needs: names of the arrays that the stage is called with.
        makes: names of the arrays that the stage returns.
        forgets: names of the arrays that nobody reads after the stage.
    """

    name: str
    stage: Stage
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    forgets: tuple[str, ...]


def checked_steps(pipeline: str, line: Sequence[tuple[str, Stage]]) -> tuple[Step, ...]:
    """The steps of a line in which each stage finds what it needs.

    Args:
        pipeline: name of the pipeline, for messages.
        line: name and stage of each step.

    Raises:
        ConfigError: a stage does not say what it needs and makes, needs what no earlier stage makes or what belongs
            to edges that have changed since; or no stage makes the tracks.
    """
    for _, stage in line:
        _check_declaration(pipeline, stage)
    read = [{*OUTPUT_ARRAYS, *COUNTED_ARRAYS}]  # what is read after each stage, from the last one back
    for _, stage in reversed(line):
        read.append(read[-1] - set(stage.makes) | set(stage.needs))
    there, steps = set(INPUT_ARRAYS), []
    for place, (label, stage) in enumerate(line):
        for name in stage.needs:
            if name not in there:
                raise ConfigError(_missing(pipeline, line, place, name))
        made = set(stage.makes)
        valid = (there & OF_HITS if "edge_index" in made else there) | made
        kept = valid & read[len(line) - 1 - place]
        forgets = tuple(sorted((there | made) - kept))
        steps.append(Step(label, stage, tuple(stage.needs), tuple(stage.makes), forgets))
        there = kept
    for name in OUTPUT_ARRAYS:
        if name not in there:
            stages = ", ".join(type(stage).__name__ for _, stage in line) or "no stages"
            raise ConfigError(f"pipeline {pipeline}: got {stages}, expected `{name}` at the end; add {_makers(name)}")
    return tuple(steps)


def _check_declaration(pipeline: str, stage: Stage) -> None:
    """Refuse a stage that does not say what it needs and makes, or says it wrongly."""
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


def _missing(pipeline: str, line: Sequence[tuple[str, Stage]], place: int, name: str) -> str:
    """Why the stage at that place cannot have the array of that name, and what to do."""
    kind = type(line[place][1]).__name__
    where = f"after {type(line[place - 1][1]).__name__}" if place else "first"
    got = f"pipeline {pipeline}: got stage {kind} {where}, it needs `{name}`, which"
    earlier = [type(stage).__name__ for _, stage in line[:place] if name in stage.makes]
    if earlier:
        changed = next(type(s).__name__ for _, s in reversed(line[:place]) if "edge_index" in s.makes)
        return f"{got} {earlier[-1]} made for edges that {changed} has changed since; put it before {changed}"
    return f"{got} no earlier stage makes; put {_makers(name)} before it"


def _makers(name: str) -> str:
    """The stages of ours that make an array, in words."""
    return " or ".join(kind.__name__ for kind in STAGE_KINDS if name in kind.makes) or "one that makes it"


# A named pipeline as one call of C++, which Triton's native backend makes, too (`kernels/native/pipelines`).


_COUNT_NAMES: Final = ("hits", "edges", "triplets", "outside", "unfilled_layers")


@dataclass(frozen=True, eq=False)
class Composed:
    """The stages of a spec, composed in C++: the same tracks as the line of stages in Python, without its overhead.

    Attributes:
        spec: what the pipeline is made of.
        weights: folder of the weight files, which C++ reads by itself.
        threads: number of threads for one call.
        beam_spot: beam line that is expected.
        check: whether events are refused whose hits are not of the detector that the weights were learned from.

    Raises:
        ConfigError: the parts of the spec make no pipeline, or the weights do not fit.
        FileError: weights are missing or damaged.
    """

    spec: PipelineSpec
    weights: Path
    threads: int
    beam_spot: BeamSpot = ON_AXIS
    check: bool = True
    _native: NativePipeline = field(init=False, repr=False)

    def __post_init__(self) -> None:
        native = kernels.native()
        assert native is not None, "ask kernels.native() first"
        object.__setattr__(self, "_native", native.Pipeline(self.spec.to_json(), str(self.weights)))

    def __reduce__(self) -> tuple[type[Composed], tuple[PipelineSpec, Path, int, BeamSpot, bool]]:
        return Composed, (self.spec, self.weights, self.threads, self.beam_spot, self.check)

    def __call__(self, events: Sequence[Hits], between: Callable[[], None] | None) -> list[Tracks]:
        """Tracks of one or more events, found together; an event's `seconds` are its share by number of hits.

        Args:
            events: hits of each event.
            between: called before each stage, if given; what it raises ends the work.

        Raises:
            TooLargeError: the events would need too much memory or time.
            LayoutError: the hits of an event are of another detector, or in other units.
        """
        positions = [hits.position for hits in events]
        sizes = [len(position) for position in positions]
        position = positions[0] if len(events) == 1 else np.concatenate(positions)
        offsets = np.array([0, *sizes], np.int64).cumsum()
        track_id, seconds, edges, triplets, outside, unfilled, beam_lines = self._native.find(
            position, offsets, astuple(self.beam_spot), self.threads, self.check, between
        )
        # Of several events, the answer for one keeps no other's labels alive.
        parts = [track_id] if len(events) == 1 else [part.copy() for part in np.split(track_id, offsets[1:-1])]
        n_hits = max(len(position), 1)
        counts = zip(sizes, edges, triplets, outside, unfilled, strict=True)
        return [
            Tracks(
                label,
                {step: taken * (count[0] / n_hits) for step, taken in zip(self._native.steps, seconds, strict=True)},
                dict(zip(_COUNT_NAMES, count, strict=True)),
                beam_spot=BeamSpot(*beam_line),
            )
            for label, count, beam_line in zip(parts, counts, beam_lines, strict=True)
        ]


# A pipeline: stages in a straight line from hits to tracks, perhaps after another one that leaves hits over.


_FOLLOWED: Final = 3
"""At most so many times an event is found again."""

MEMORY_LIMIT: Final = 8e9
"""Most memory of an event, or of events found together [B]; what would need more is refused."""


@dataclass(frozen=True, eq=False, repr=False)
class Pipeline(InOneThread):
    """Finds tracks by running its stages in turn.

    Attributes:
        name: name of the pipeline.
        stages: name of the step and stage, in order; steps of one name are timed together.
        bytes_per_hit: memory of an event that grows with its hits [B].
        bytes_per_hit2: memory of an event that grows with their square [B]: edges, at a given size of the detector.
        beam_spot: beam line that is expected. An event whose tracks clearly come from elsewhere is found again, seen
            from there.
        in_blocks: whether the stages take several events as one graph; if not, `find_many` finds them one by one.
        layout: layers that hits are compared with before finding; None for no comparison.
        limit: events up to which the pipeline finds what it is made for; denser ones are refused where `layout` refuses
            events of another detector. None for events of any size.
        after: pipeline that goes before: the stages work on the hits that are on none of its tracks. The steps of the
            second pass are timed under names that end in ``_2``, and so on.
        by_reference: whether the numpy reference runs, as no kernels were compiled. What would take minutes is then
            refused where `layout` refuses, or begun with a warning that tells the time.
        composed: the same stages composed in C++, which finds the tracks in their place. `dataclasses.replace` drops
            it: a pipeline with other stages runs these.

    Raises:
        ConfigError: a stage needs an array that no earlier stage makes; the message says which one does.
    """

    name: str
    stages: tuple[tuple[str, Stage], ...]
    bytes_per_hit: float
    bytes_per_hit2: float
    beam_spot: BeamSpot = ON_AXIS
    in_blocks: bool = True
    layout: LayerCheck | None = None
    limit: Limit | None = None
    after: Pipeline | None = None
    by_reference: bool = False
    composed: InitVar[Composed | None] = None
    _steps: tuple[Step, ...] = field(init=False, repr=False)
    _composed: Composed | None = field(init=False, repr=False)
    _watch: HitMonitor | None = field(init=False, repr=False)

    def __post_init__(self, composed: Composed | None) -> None:
        object.__setattr__(self, "_steps", checked_steps(self.name, self.stages))
        object.__setattr__(self, "_composed", composed)
        watch = None
        if self.layout is not None and self.layout.refuses:
            watch = HitMonitor(self.name, self.layout.usual, self.beam_spot)
        object.__setattr__(self, "_watch", watch)

    def find(self, hits: Hits, /, *, between: Callable[[], None] | None = None) -> Tracks:
        """Tracks of one event, with the time of each step and the numbers of hits, edges and triplets.

        Warns once if hits fit the detector only in part (`beampipe.tracking.input_checks`).

        Args:
            hits: hits of the event.
            between: called before each stage, if given; what it raises ends the work.

        Raises:
            TooLargeError: the event would need more memory than `MEMORY_LIMIT`, has more hits than `limit`, or would
                take minutes by the numpy reference.
            LayoutError: the hits are of another detector, or in other units.
        """
        return self._found([hits], between)[0]

    def find_many(self, events: Sequence[Hits], *, between: Callable[[], None] | None = None) -> list[Tracks]:
        """Tracks of several events, found together: each stage runs once, on all of them side by side.

        The labels are those that `find` gives for each event. As for time, an event's `seconds` are its share of the
        whole by number of hits. Small events gain most: what a stage costs whatever the number of hits is paid once,
        and the threads have something to share.

        Args:
            events: hits of each event; events may differ in size and be empty.
            between: called before each stage, if given; what it raises ends the work.

        Raises:
            TooLargeError: one event, or all together, would need more memory than `MEMORY_LIMIT`; see `memory`.
                Or one has more hits than `limit`. Found one by one, the others may still be answered.
            LayoutError: the hits of one event are of another detector, or in other units; likewise.
        """
        if not events:
            return []
        if not self.in_blocks:
            return [self._found([hits], between)[0] for hits in events]
        return self._found(events, between)

    def facts(self) -> Mapping[str, object]:
        """Name, steps, beam line, and whether the line runs in C++."""
        runs = "stage by stage" if self._composed is None else "in C++"
        return {"name": self.name, "steps": ", ".join(self.steps), "beam spot": self.beam_spot.text, "runs": runs}

    def memory(self, n_hits: int) -> float:
        """Memory that an event of that size may need [B]; events found together need the sum."""
        own = self.bytes_per_hit * n_hits + self.bytes_per_hit2 * n_hits * n_hits
        return own if self.after is None else max(own, self.after.memory(n_hits))

    def arrays_after(self, hits: Hits) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The name of each step and the arrays that are there after it, for a look inside one event.

        Args:
            hits: hits of the event; the arrays of a later pass are those of the hits that are left over.
        """
        if self.after is not None:
            yield from self.after.arrays_after(hits)
            hits = hits.take(self.after.find(hits).track_id < 0)
        arrays: dict[str, Any] = {"position": wrap_phi(self.beam_spot.seen(hits.position)), "offsets": None}
        for step in self._steps:
            _apply(step, arrays)
            yield self._timed_as(step.name), dict(arrays)

    def _found(self, events: Sequence[Hits], between: Callable[[], None] | None) -> list[Tracks]:
        """Tracks of one or more events, found together."""
        self._check_memory(events)
        refuses = self.layout is not None and self.layout.refuses
        if refuses:
            self._check_limit(events)
        if self.by_reference:
            check_reference_time(self.name, [len(hits) for hits in events], refuses=refuses)
        found = self._run(events, between) if self._composed is None else self._composed(events, between)
        if self._watch is not None:
            for hits, tracks in zip(events, found, strict=True):
                self._watch.look(hits, tracks)
        return found

    def _run(self, events: Sequence[Hits], between: Callable[[], None] | None) -> list[Tracks]:
        """The same by one stage after the other."""
        fits = None if self.layout is None else self.layout.check(events)
        seen = [self.beam_spot.seen(hits.position) for hits in events]
        tracks_of = [replace(tracks, beam_spot=self.beam_spot) for tracks in self._by_stages(seen, between)]
        found = [self._followed(hits, tracks, between) for hits, tracks in zip(events, tracks_of, strict=True)]
        for tracks, fit in zip(found, fits or (), strict=fits is not None):
            tracks.counts.update(outside=fit.outside, unfilled_layers=fit.unfilled)
        return found

    def _followed(self, hits: Hits, tracks: Tracks, between: Callable[[], None] | None) -> Tracks:
        """The tracks; found again if they clearly come from elsewhere than the hits were seen from."""
        for _ in range(_FOLLOWED):
            off = estimate_beam_spot(tracks.beam_spot.seen(hits.position), tracks.track_id)
            if not off.significant:
                break
            there = tracks.beam_spot.moved(off.x, off.y)
            again = self._by_stages([there.seen(hits.position)], between)[0]
            if (again.track_id >= 0).sum() <= (tracks.track_id >= 0).sum():
                break
            seconds = {step: taken + tracks.seconds[step] for step, taken in again.seconds.items()}
            tracks = replace(again, seconds=seconds, beam_spot=there)
        return tracks

    def _by_stages(
        self, positions: Sequence[Float32[ndarray, "_ 3"]], between: Callable[[], None] | None
    ) -> list[Tracks]:
        """The tracks of hits that are seen from the beam line, pass by pass, without a look at the layers."""
        if self.after is None:
            return self._run_line(positions, between)
        before = self.after._by_stages(positions, between)
        left = [np.flatnonzero(tracks.track_id == NO_TRACK) for tracks in before]
        found = self._run_line([position[rows] for position, rows in zip(positions, left, strict=True)], between)
        return [_joined(*parts) for parts in zip(before, found, left, strict=True)]

    @property
    def steps(self) -> tuple[str, ...]:
        """Names under which the steps of all passes are timed, in order."""
        before = () if self.after is None else self.after.steps
        return before + tuple(dict.fromkeys(self._timed_as(name) for name, _ in self.stages))

    @property
    def _n_passes(self) -> int:
        """Number of pipelines that run one after the other, this one among them."""
        return 1 if self.after is None else self.after._n_passes + 1

    def _timed_as(self, step: str) -> str:
        """Name under which a step of this pass is timed."""
        return step if self.after is None else f"{step}_{self._n_passes}"

    def _run_line(
        self, positions: Sequence[Float32[ndarray, "_ 3"]], between: Callable[[], None] | None
    ) -> list[Tracks]:
        """The tracks by the stages of this pass alone, one after the other."""
        seconds = {self._timed_as(name): 0.0 for name, _ in self.stages}
        sizes = [len(position) for position in positions]
        if max(sizes) < 2:
            return [
                Tracks(np.full(n, NO_TRACK, np.int64), dict(seconds), {"hits": n, "edges": 0, "triplets": 0})
                for n in sizes
            ]
        arrays: dict[str, Any] = {"position": wrap_phi(positions[0]), "offsets": None}
        if len(positions) > 1:
            arrays["position"] = wrap_phi(np.concatenate(positions))
            arrays["offsets"] = offsets = np.cumsum([0, *sizes], dtype=np.int64)
        for step in self._steps:
            if between is not None:
                between()
            start = perf_counter()
            _apply(step, arrays)
            seconds[self._timed_as(step.name)] += perf_counter() - start
        if len(positions) > 1:
            return _split(arrays, offsets, seconds)
        counts = {"hits": sizes[0], "edges": arrays["edge_index"].shape[1]}
        if "triplets" in arrays:
            counts["triplets"] = arrays["triplets"].shape[1]
        return [Tracks(arrays["track_id"], seconds, counts)]

    def _check_memory(self, events: Sequence[Hits]) -> None:
        limit = f"expected at most {MEMORY_LIMIT / 1e9:.1f} GB"
        total = 0.0
        for row, hits in enumerate(events):
            need = self.memory(len(hits))
            if need > MEMORY_LIMIT:
                raise TooLargeError(
                    f"{self.name}: got {len(hits)} hits{_where(row, len(events))}, which would need"
                    f" {need / 1e9:.1f} GB, {limit}; cut the event into regions in phi or z"
                )
            total += need
        if total > MEMORY_LIMIT:
            raise TooLargeError(
                f"{self.name}: got {len(events)} events, which would need {total / 1e9:.1f} GB together, {limit};"
                " find fewer of them at a time"
            )

    def _check_limit(self, events: Sequence[Hits]) -> None:
        """Refuse what is so dense that the pipeline would lose most of its tracks."""
        if self.limit is None:
            return
        for row, hits in enumerate(events):
            if len(hits) > self.limit.hits:
                raise TooLargeError(
                    f"{self.name}: got {len(hits)} hits{_where(row, len(events))}, expected at most {self.limit.hits}:"
                    f" denser events lose most of their tracks; use {self.limit.instead},"
                    " or go on with --force (check=False)"
                )


def _where(row: int, n_events: int) -> str:
    """Which of several events is meant, for messages."""
    return f" in event {row} of {n_events}" if n_events > 1 else ""


def wrap_phi(position: Float32[ndarray, "n_hits 3"]) -> Float32[ndarray, "n_hits 3"]:
    """The same hits with phi between -pi and pi, where the kernels look for it."""
    outside = np.abs(position[:, 1]) > np.float32(np.pi)
    if not outside.any():
        return position
    turned = position.copy()
    turned[outside, 1] = np.remainder(position[outside, 1].astype(np.float64) + np.pi, 2 * np.pi) - np.pi
    return turned


def _apply(step: Step, arrays: dict[str, Any]) -> None:
    """Replace what the stage forgets by what it makes."""
    made = step.stage(**{name: arrays[name] for name in step.needs})
    arrays.update(zip(step.makes, made, strict=True))
    for name in step.forgets:
        del arrays[name]


def _split(
    arrays: Mapping[str, Any], offsets: Int64[ndarray, " n_events_and_1"], seconds: Mapping[str, float]
) -> list[Tracks]:
    """The tracks of each event of a graph: its part of the labels, numbered from 0."""
    track_id = arrays["track_id"]
    edges = np.searchsorted(arrays["edge_index"][0], offsets)  # edges are sorted by their inner hit
    counted = {"hits": np.diff(offsets), "edges": np.diff(edges)}
    if "triplets" in arrays:
        counted["triplets"] = _per_event(arrays["triplets"], edges)
    found, next_track = [], 0
    for row, (first, last) in enumerate(pairwise(offsets.tolist())):
        label = track_id[first:last].copy()  # the answer keeps no other event's labels alive
        on_track = label >= 0
        label[on_track] -= next_track  # tracks are numbered by their first hit, so one event's come before the next's
        next_track += int(label.max(initial=NO_TRACK)) + 1
        share = (last - first) / len(track_id)
        counts = {name: int(count[row]) for name, count in counted.items()}
        found.append(Tracks(label, {name: share * taken for name, taken in seconds.items()}, counts))
    return found


def _joined(before: Tracks, found: Tracks, left: Int64[ndarray, " n_left"]) -> Tracks:
    """The tracks of one event by two passes, the second of which saw the hits `left` over by the first."""
    label = before.track_id.copy()
    label[left] = np.where(found.track_id == NO_TRACK, NO_TRACK, found.track_id + before.n_tracks)
    counts = {name: count + found.counts[name] for name, count in before.counts.items() if name in found.counts}
    counts["hits"] = len(label)
    return Tracks(number_by_first_hit(label), {**before.seconds, **found.seconds}, counts)


def _per_event(
    triplets: Int64[ndarray, "2 n_triplets"], edges: Int64[ndarray, " n_events_and_1"]
) -> Int64[ndarray, " n_events"]:
    """Number of triplets of each event, whose edges begin at `edges`."""
    n_events = len(edges) - 1
    event = np.repeat(np.arange(n_events), np.diff(edges))
    return np.bincount(event[triplets[0]], minlength=n_events)
