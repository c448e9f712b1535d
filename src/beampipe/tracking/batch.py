"""Track finding over files: one input, one output; a file that fails costs none of the others."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from beampipe.errors import BeampipeError, ConfigError
from beampipe.tracking.events import NO_TRACK, Event, Tracks
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.formats import open_events, write_tracks

__all__ = ["FileResult", "output_paths", "track_files"]


@dataclass(frozen=True)
class FileResult:
    """What came of one input.

    Attributes:
        path: input, a file or folder.
        output: file of the labels, if nothing went wrong.
        n_events: number of events written.
        n_hits: number of hits written.
        n_tracks: number of tracks found.
        n_on_tracks: number of hits on tracks.
        n_outside: number of hits on no layer of the detector, as far as the finder tells.
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


def output_paths(inputs: Sequence[Path], output: Path) -> list[Path]:
    """Where the labels of each input go.

    Args:
        inputs: files or folders.
        output: for one input the file itself; for several (or if it is a folder) a folder that gets
            ``NAME.tracks.parquet`` for each.

    Raises:
        ConfigError: several inputs but `output` is a file, or two inputs of one name.
    """
    if len(inputs) == 1 and not output.is_dir():
        return [output]
    if output.is_file() or output.suffix in (".parquet", ".csv"):
        raise ConfigError(f"output: got the file {output} for {len(inputs)} inputs, expected a folder")
    names = [path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet") for path in inputs]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"output: got {count} inputs named {name!r}, expected distinct names; run them one by one")
    return [output / f"{name}.tracks.parquet" for name in names]


@dataclass(frozen=True)
class _Asked:
    """An event of one input and where its tracks will be; or the end of that input, with or without an error."""

    path: Path
    event: Event | None = None
    tracks: Callable[[], Tracks] | None = None
    error: BeampipeError | None = None


def track_files(
    inputs: Sequence[Path],
    finder: TrackFinder,
    output: Path,
    scale: str = "mm",
    progress: Callable[[Path, Event, Tracks], None] = lambda path, event, tracks: None,
    in_flight: int = 1,
) -> Iterator[FileResult]:
    """Find the tracks of all events in `inputs`, file after file.

    Args:
        inputs: files or folders that `open_events` knows.
        finder: finder that is asked for the tracks of each event.
        output: file or folder of the labels, see `output_paths`.
        scale: units of files with three columns, a name of `beampipe.tracking.formats.SCALES`.
        progress: called after each event.
        in_flight: events that are asked for at once: with more than one, so many are read ahead and submitted, across
            files too. The outputs are the same.

    Yields:
        One result per input; after an error the next input is tried.

    Raises:
        ConfigError: the outputs cannot be named.
    """
    outputs = output_paths(inputs, output)
    if len(inputs) > 1:
        output.mkdir(parents=True, exist_ok=True)
    failed: set[Path] = set()
    asked = _ahead(_ask(inputs, finder, scale, in_flight, failed), in_flight)
    for path, target in zip(inputs, outputs, strict=True):
        yield _track_file(path, asked, target, progress, failed)


def _ask(
    inputs: Sequence[Path], finder: TrackFinder, scale: str, in_flight: int, failed: set[Path]
) -> Iterator[_Asked]:
    """Each event of each input with its tracks to come, and an end for each input."""
    for path in inputs:
        try:
            for event in open_events(path, scale):
                if path in failed:
                    break
                if in_flight > 1:
                    yield _Asked(path, event, finder.submit(event.hits).result)
                else:
                    yield _Asked(path, event, partial(finder.find, event.hits))
        except BeampipeError as error:
            yield _Asked(path, error=error)
        else:
            yield _Asked(path)


def _ahead(items: Iterator[_Asked], count: int) -> Iterator[_Asked]:
    """The same items in the same order, `count` events taken before the first is given."""
    taken: deque[_Asked] = deque()
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
    asked: Iterator[_Asked],
    target: Path,
    progress: Callable[[Path, Event, Tracks], None],
    failed: set[Path],
) -> FileResult:
    n_hits = n_tracks = n_on_tracks = n_outside = 0
    at_end = False

    def found() -> Iterator[tuple[Event, Tracks]]:
        nonlocal n_hits, n_tracks, n_on_tracks, n_outside, at_end
        for item in asked:
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
        n_events = write_tracks(target, found())
    except BeampipeError as error:
        failed.add(path)  # and is read no further; what was asked for already is left unused
        while not at_end:
            at_end = next(asked).event is None
        return FileResult(path, target, error=str(error))
    return FileResult(path, target, n_events, n_hits, n_tracks, n_on_tracks, n_outside)
