"""Track finding over files: one input, one output; a file that fails costs none of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from beampipe.errors import BeampipeError, ConfigError
from beampipe.tracking.events import Event, Hits, Tracks
from beampipe.tracking.formats import open_events, write_tracks

__all__ = ["FileResult", "Finder", "output_paths", "track_files"]


@runtime_checkable
class Finder(Protocol):
    """Anything that labels hits."""

    def find(self, hits: Hits, /) -> Tracks:
        """Find the tracks of one event."""


@dataclass(frozen=True)
class FileResult:
    """What came of one input.

    Attributes:
        path: the input.
        output: where its labels are, or would be.
        n_events: events written.
        n_hits: hits written.
        n_tracks: tracks found.
        error: why nothing was written, or None.
    """

    path: Path
    output: Path
    n_events: int = 0
    n_hits: int = 0
    n_tracks: int = 0
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


def track_files(
    inputs: Sequence[Path],
    finder: Finder,
    output: Path,
    scale: str = "mm",
    progress: Callable[[Path, Event, Tracks], None] = lambda path, event, tracks: None,
) -> Iterator[FileResult]:
    """Find the tracks of all events in `inputs`, file after file.

    Args:
        inputs: files or folders that `open_events` knows.
        finder: what finds them.
        output: see `output_paths`.
        scale: units of three-column files.
        progress: called after each event.

    Yields:
        One result per input; after an error the next input is tried.

    Raises:
        ConfigError: the outputs cannot be named.
    """
    outputs = output_paths(inputs, output)
    if len(inputs) > 1:
        output.mkdir(parents=True, exist_ok=True)
    for path, target in zip(inputs, outputs, strict=True):
        yield _track_file(path, finder, target, scale, progress)


def _track_file(
    path: Path, finder: Finder, target: Path, scale: str, progress: Callable[[Path, Event, Tracks], None]
) -> FileResult:
    n_hits = n_tracks = 0

    def found() -> Iterator[tuple[Event, Tracks]]:
        nonlocal n_hits, n_tracks
        for event in open_events(path, scale):
            tracks = finder.find(event.hits)
            n_hits, n_tracks = n_hits + len(event.hits), n_tracks + tracks.n_tracks
            progress(path, event, tracks)
            yield event, tracks

    try:
        n_events = write_tracks(target, found())
    except BeampipeError as error:
        return FileResult(path, target, error=str(error))
    return FileResult(path, target, n_events, n_hits, n_tracks)
