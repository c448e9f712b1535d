"""Track finding in whatever holds events, and over files: one output each; a file that fails stops no other."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

from beampipe.errors import BeampipeError, ConfigError, FileError, MissingExtraError
from beampipe.events import NO_TRACK, Event, Events, Hits, Tracks
from beampipe.files import check_output, make_folder
from beampipe.notebook import Shown
from beampipe.terminal import bars
from beampipe.tracking.finder import TrackFinder, hits_of
from beampipe.tracking.finder_names import named_finder
from beampipe.tracking.fitting.fitter import FittedFinder
from beampipe.tracking.formats import input_files, open_events, track_format, write_tracks
from beampipe.tracking.formats.writing import parameters_path, writing_parameters
from beampipe.tracking.loading import load_track_fitter

if TYPE_CHECKING:
    from pandas import DataFrame


def _find(finder: TrackFinder, event: Event | Hits) -> Tracks:
    return finder.find(hits_of(event)).found_in(event)


@dataclass(frozen=True, eq=False, repr=False)
class FoundTracks(Shown):
    """Events and their tracks, which are found while a loop takes them; a loop can be repeated.

    Attributes:
        events: the events.
        finder: finder of their tracks.
        progress: whether a loop shows a bar.
    """

    events: Sequence[Event]
    finder: TrackFinder
    progress: bool = False

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[tuple[Event, Tracks]]:
        """Each event and its tracks."""
        if not self.progress:
            return ((event, _find(self.finder, event)) for event in self.events)
        return self._with_bar()

    def _with_bar(self) -> Iterator[tuple[Event, Tracks]]:
        with bars() as open_bar, open_bar("events", len(self)) as step:
            for event in self.events:
                yield event, _find(self.finder, event)
                step()

    def __getitem__(self, row: int) -> tuple[Event, Tracks]:
        """The event in that row and its tracks."""
        event = self.events[row]
        return event, _find(self.finder, event)

    def save(self, path: str | Path, form: str = "beampipe") -> int:
        """Write the tracks of all events as `write_tracks` does; `open_tracks` reads the form ``beampipe``.

        Returns:
            The number of events.
        """
        return write_tracks(path, self, form)

    def to_pandas(self) -> DataFrame:
        """The tracks of all events as a table of pandas: `event_id`, and the columns of `Tracks.to_pandas`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        import pandas as pd

        of_events = [(event.event_id, tracks.to_pandas()) for event, tracks in self]
        for event_id, table in of_events:
            table.insert(0, "event_id", event_id)
        return pd.concat([table for _, table in of_events], ignore_index=True)

    def facts(self) -> Mapping[str, object]:
        """The events and the finder."""
        return {"events": self.events, "finder": self.finder}


@overload
def find_tracks(
    source: Event | Hits, finder: str | TrackFinder = ..., *, fit: bool = ..., progress: bool = ...
) -> Tracks: ...


@overload
def find_tracks(
    source: Events | Sequence[Event], finder: str | TrackFinder = ..., *, fit: bool = ..., progress: bool = ...
) -> FoundTracks: ...


@overload
def find_tracks(
    source: Any, finder: str | TrackFinder = ..., *, fit: bool = ..., progress: bool = ..., **reading: Any
) -> Any: ...


def find_tracks(
    source: Any, finder: str | TrackFinder = "module_map", *, fit: bool = True, progress: bool = False, **reading: Any
) -> Tracks | FoundTracks:
    """Find the tracks of an event, of events, of a file, or of a table in memory.

    >>> tracks = find_tracks(shipped_events(0)[0])
    >>> len(tracks), len(tracks[tracks.pt > 1])
    (18, 11)

    Args:
        source: an `Event` or its `Hits`; several events; or what `open_events` takes: a path, a DataFrame, arrays by
            name, an array of awkward.
        finder: a name that `named_finders` accepts, or a finder.
        fit: whether a named finder also fits a helix to each track, for `eta`, `d0`, ...
        progress: whether a loop over several events shows a bar.
        reading: further arguments of `open_events`, such as `columns`.

    Returns:
        The tracks of an event, also of a file or table that holds only one; else pairs of events and tracks.

    Raises:
        BeampipeError: any error of `open_events`, of the finder and of the fit.
    """
    if isinstance(finder, str):
        found_by = named_finder(finder)
        finder = FittedFinder(found_by, load_track_fitter()) if fit else found_by
    if isinstance(source, Event | Hits):
        return _find(finder, source)
    if isinstance(source, Events) or (
        isinstance(source, list | tuple) and not isinstance(next(iter(source), None), str | Path)
    ):
        return FoundTracks(source, finder, progress)
    events = open_events(source, **reading)
    return _find(finder, events[0]) if len(events) == 1 else FoundTracks(events, finder, progress)


_ENDING: Final = re.compile(r"\.(csv|parquet|json|root)$")
"""Endings of inputs that are removed in the names of outputs."""


@dataclass(frozen=True)
class FileResult:
    """Result of one input.

    Attributes:
        path: input, a file or folder.
        output: file of the labels, if nothing went wrong.
        n_events: number of events written.
        n_hits: number of hits written.
        n_tracks: number of tracks found.
        n_on_tracks: number of hits on tracks.
        n_outside: number of hits on no layer of the detector, as far as the finder counts them.
        error: why nothing was written; None if all went well.
    """

    path: Path
    output: Path
    n_events: int = 0
    n_hits: int = 0
    n_tracks: int = 0
    n_on_tracks: int = 0
    n_outside: int = 0
    error: str | None = None


def output_paths(inputs: Sequence[Path], output: Path, form: str = "labels") -> list[Path]:
    """Paths of the outputs of some inputs.

    Args:
        inputs: files or folders.
        output: for one input the file itself; for several (or if it is a folder) a folder that gets
            ``NAME.tracks.parquet`` for each, with the usual ending of the form.
        form: name of the form in which tracks are written, a key of `beampipe.tracking.formats.TRACK_FORMATS`.

    Raises:
        ConfigError: several inputs but `output` is a file, or two inputs of one name.
        UnknownNameError: no such form.
    """
    endings = track_format(form).endings
    if len(inputs) == 1 and (endings[0] == "" or not _is_folder(output)):
        return [output]
    if output.is_file() or output.suffix in (".parquet", ".csv", ".jsonl", ".root"):
        raise ConfigError(f"output: got the file {output} for {len(inputs)} inputs, expected a folder")
    names = [_ENDING.sub("", path.name.removesuffix(".gz")) for path in inputs]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"output: got {count} inputs named {name!r}, expected distinct names; run them one by one")
    return [output / f"{name}.tracks{endings[0]}" for name in names]


def check_outputs(
    inputs: Sequence[Path],
    output: Path,
    form: str = "labels",
    also_read: Sequence[Path] = (),
    *,
    parameters: bool = False,
) -> list[Path]:
    """Refuse outputs that cannot be written or would overwrite an input, before anything is loaded.

    Args:
        inputs: files or folders; missing ones are reported later, one by one.
        output: file or folder of the tracks, see `output_paths`.
        form: name of the form in which tracks are written.
        also_read: further files that are read, such as a table of particles.
        parameters: whether fitted parameters are written beside the tracks.

    Returns:
        The paths of `output_paths`.

    Raises:
        FileError: an output is an input or belongs to one, is a folder where a file is expected, or cannot be written.
        ConfigError: the outputs cannot be named.
        UnknownNameError: no such form.
    """
    outputs = output_paths(inputs, output, form)
    read = [*also_read, *(file for path in inputs for file in input_files(path))]
    if len(inputs) > 1 or _is_folder(output):
        make_folder(output)
    for target in outputs:
        if track_format(form).endings[0] or target.suffix:
            track_format(form).check(target)
            check_output(target, inputs=read)
        elif target.is_file():
            raise FileError(f"{target}: got a file, expected a folder for {form}; choose another name", path=target)
        if parameters:
            check_output(parameters_path(target), inputs=read)
    return outputs


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # a name that is too long
        raise FileError(f"{path}: cannot be written ({error.strerror})", path=path) from error


@dataclass(frozen=True)
class _PendingEvent:
    """An event of one input and a function that waits for its tracks; or the end of that input, perhaps by an error."""

    path: Path
    event: Event | None = None
    tracks: Callable[[], Tracks] | None = None
    error: BeampipeError | None = None


def track_files(
    inputs: str | Path | Sequence[str | Path],
    finder: TrackFinder,
    output: str | Path,
    progress: Callable[[Path, Event, Tracks], None] = lambda path, event, tracks: None,
    in_flight: int = 1,
    *,
    read: Callable[[Path], Iterable[Event]] = open_events,
    form: str = "labels",
    parameters: bool = False,
) -> Iterator[FileResult]:
    """Find the tracks of all events in `inputs`, file after file.

    >>> write_events("events.parquet", shipped_events(0))
    20
    >>> [result] = track_files("events.parquet", load_pipeline("module_map"), "tracks.parquet")
    >>> result.n_events, result.n_tracks
    (20, 254)

    Args:
        inputs: file or folder that `open_events` reads, or several.
        finder: finds the tracks of each event.
        output: file or folder of the labels, see `output_paths`.
        progress: called after each event.
        in_flight: events in flight at once: with more than one, so many are read ahead and submitted, across
            files too. The outputs are the same.
        read: reads the events of an input: `open_events`, with more arguments where the inputs need them.
        form: name of the form in which the tracks are written, a key of `beampipe.tracking.formats.TRACK_FORMATS`.
        parameters: write also the fitted parameters of the tracks, to `parameters_path` of each output; the finder
            must be one that fits, such as `beampipe.tracking.fitting.fitter.FittedFinder`.

    Yields:
        One result per input; after an error the next input is tried.

    Raises:
        FileError: an output is an input, or cannot be written.
        ConfigError: the outputs cannot be named.
        UnknownNameError: no such form.
    """
    paths = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    outputs = check_outputs(paths, Path(output), form, parameters=parameters)
    failed: set[Path] = set()
    check = track_format(form).needs  # refuses events that cannot be written in that form
    submitted = _look_ahead(_submit_events(paths, finder, read, check, in_flight, failed), in_flight)

    def write(target: Path, events_and_tracks: Iterator[tuple[Event, Tracks]]) -> int:
        with_parameters = (
            writing_parameters(parameters_path(target), events_and_tracks) if parameters else events_and_tracks
        )
        return write_tracks(target, with_parameters, form=form)

    for path, target in zip(paths, outputs, strict=True):
        yield _track_file(path, submitted, write, target, progress, failed)


def _submit_events(
    inputs: Sequence[Path],
    finder: TrackFinder,
    read: Callable[[Path], Iterable[Event]],
    check: Callable[[Event], object],
    in_flight: int,
    failed: set[Path],
) -> Iterator[_PendingEvent]:
    """Each event of each input, submitted to the finder, and an end for each input."""
    for path in inputs:
        try:
            for event in read(path):
                check(event)
                if path in failed:
                    break
                if in_flight > 1:
                    yield _PendingEvent(path, event, finder.submit(event.hits).result)
                else:
                    yield _PendingEvent(path, event, partial(finder.find, event.hits))
        except MissingExtraError:
            raise  # it concerns all inputs
        except BeampipeError as error:
            yield _PendingEvent(path, error=error)
        else:
            yield _PendingEvent(path)


def _look_ahead(items: Iterator[_PendingEvent], count: int) -> Iterator[_PendingEvent]:
    """The same items in the same order, read `count` events ahead."""
    taken: deque[_PendingEvent] = deque()
    n_events = 0
    for item in items:
        taken.append(item)
        n_events += item.event is not None
        while taken and (n_events >= count or taken[0].event is None):
            first = taken.popleft()
            n_events -= first.event is not None
            yield first
    yield from taken


def _track_file(
    path: Path,
    submitted: Iterator[_PendingEvent],
    write: Callable[[Path, Iterator[tuple[Event, Tracks]]], int],
    target: Path,
    progress: Callable[[Path, Event, Tracks], None],
    failed: set[Path],
) -> FileResult:
    n_hits = n_tracks = n_on_tracks = n_outside = 0
    at_end = False

    def events_and_tracks() -> Iterator[tuple[Event, Tracks]]:
        nonlocal n_hits, n_tracks, n_on_tracks, n_outside, at_end
        for item in submitted:
            if item.event is None or item.tracks is None:
                at_end = True
                if item.error is not None:
                    raise item.error
                return
            tracks = item.tracks()
            n_hits, n_tracks = n_hits + len(item.event.hits), n_tracks + tracks.n_tracks
            n_on_tracks += int((tracks.track_id != NO_TRACK).sum())
            n_outside += tracks.counts.get("outside", 0)
            progress(path, item.event, tracks)
            yield item.event, tracks

    try:
        n_events = write(target, events_and_tracks())
    except BeampipeError as error:
        failed.add(path)  # so that it is read no further; submitted events are discarded
        while not at_end:
            at_end = next(submitted).event is None
        return FileResult(path, target, error=str(error))
    return FileResult(path, target, n_events, n_hits, n_tracks, n_on_tracks, n_outside)
