"""All formats of events and of tracks: files are recognised by their content and opened by the matching reader."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from glob import glob
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Final

from beampipe.errors import ColumnError, ConfigError, FileError, expect_type, look_up
from beampipe.events import Event, Events, Tracks, scale_named
from beampipe.tracking.formats.acts import ACTS, PARAMETERS_OF_ACTS, PROTOTRACKS, SPACEPOINTS
from beampipe.tracking.formats.colliderml import COLLIDERML, DISPLAY, PREDICTIONS, particles_beside
from beampipe.tracking.formats.edm4hep import EDM4HEP, EDM4HEP_TRACKS, cell_fields
from beampipe.tracking.formats.format import TABLE_KINDS, EventFiles, EventFormat, FileProbe, probe_file
from beampipe.tracking.formats.hit_tables import FEATURES, HOW_TO_NAME, TABLE, events_in_memory
from beampipe.tracking.formats.naming import Naming, stated
from beampipe.tracking.formats.parquet import OWN, OWN_TRACKS, read_tracks
from beampipe.tracking.formats.read_options import ReadOptions
from beampipe.tracking.formats.trackml import SUBMISSION, TRACKML
from beampipe.tracking.formats.writing import LABELS, LISTS, TrackFormat

EVENT_FORMATS: Final[dict[str, EventFormat]] = {
    reader.name: reader for reader in (OWN, TABLE, TRACKML, ACTS, SPACEPOINTS, COLLIDERML, DISPLAY, EDM4HEP, FEATURES)
}
"""Name -> format of events that can be read. To add one: define it in a module of this package, and list it here."""


def open_events(
    path: str | Path | Any,
    scale: str = "mm",
    *,
    format: str | None = None,
    hits: Sequence[str] = (),
    links: Sequence[str] = (),
    particles: str | None = None,
    cell_id: str | None = None,
    columns: Mapping[str, str] | Sequence[str] = (),
    units: Mapping[str, str] | Sequence[str] = (),
) -> Events:
    """The events at `path`, read when they are used, one in memory at a time. Files are recognised by their content.

    >>> write_events("events.parquet", shipped_events(0))
    20
    >>> events = open_events("events.parquet")
    >>> len(events), events[0], len(events[10:15])
    (20, Event(event: 0, hits: 1831, truth: 177 particles), 5)

    ====================  ======================================================================================
    format                files
    ====================  ======================================================================================
    ``beampipe``          Parquet, as written by `write_events`
    ``table``             Parquet, Feather, HDF5 or a ROOT tree with columns r, phi, z or x, y, z: a row per hit, or a
                          row of lists per event; CSV too, with further columns where `format` says so
    ``trackml``           ``eventNNN-hits.csv[.gz]`` and the files beside it
    ``acts``              ``eventNNN-measurements.csv[.gz]`` and the files beside it
    ``acts-spacepoints``  ``eventNNN-spacepoint*.csv[.gz]`` and the files beside it
    ``colliderml``        Parquet `tracker_hits` of release 1, and `particles` beside it
    ``event-display``     JSON of ColliderML's event display
    ``edm4hep``           ROOT files of podio: tracker hits of EDM4hep
    ``features``          CSV of three columns r, phi, z without header, in `scale`
    ====================  ======================================================================================

    A folder is read file by file, in order of the events' numbers or of the names. All its files of events must be of
    one format; files of no known format are ignored.

    Args:
        path: file or folder of events, a pattern such as ``"run*.parquet"``, or a list of these, one after the other;
            or a table of hits in memory: a DataFrame, arrays by name, an array of awkward.
        scale: a name of `SCALES`, for r, phi and z in ``features`` and ``table``; the others state their units.
        format: name of the format, a key of `EVENT_FORMATS`, where the content does not determine it.
        hits: EDM4hep: names of the collections of tracker hits.
        links: EDM4hep: names of the links from each of `hits` to simulated hits, for the truth.
        particles: EDM4hep: name of the collection of particles; ColliderML: path of the table of particles.
        cell_id: EDM4hep: how `cellID` is packed, as DD4hep writes it, e.g. ``system:5,side:-2,layer:6,module:11``: then
            the modules are known.
        columns: ``table``: column that a quantity is read from, where its name is not recognised:
            ``{"r": "hit_r", "event": "evt"}``; for the event ``"none"`` if the table is one event.
        units: ``table``: unit of a quantity, where it is not mm, rad or GeV: ``{"x": "cm", "phi": "deg"}``.

    Raises:
        FileError: missing, cut short, of no known format or of several; ColumnError if a column is missing.
        TypeError: neither a path nor a table.
        ConfigError: a scale or a name for a format that has no use for it.
        NotFiniteError: NaN or infinity among the coordinates.
        UnknownNameError: no such scale, format or collection.
    """
    named, measured = stated("columns", columns), stated("units", units)
    options = ReadOptions(scale, format, tuple(hits), tuple(links), particles, cell_id, named, measured)
    return open_with(path, options)


def check_options(options: ReadOptions) -> None:
    """Refuse options that are wrong for any file.

    Raises:
        UnknownNameError: no such scale or format.
        ConfigError: fields of `cellID` that are none.
    """
    scale_named(options.scale)
    if options.format is not None:
        event_format(options.format)
    if options.cell_id is not None:
        cell_fields(options.cell_id)
    Naming.of(options)


def open_with(path: str | Path | Any, options: ReadOptions) -> Events:
    """The same as `open_events`, with all options in one value."""
    check_options(options)
    if isinstance(path, list | tuple) and path and all(isinstance(each, str | PathLike) for each in path):
        opened = [open_with(each, options) for each in path]
        return Events(", ".join(each.source for each in opened), partial(_one_after_the_other, opened))
    if not isinstance(path, (str, PathLike)):
        read = partial(events_in_memory, path, options)
        return Events(type(path).__name__, lambda first: islice(read(), first, None))
    path = Path(path)
    if options.format is None and (options.columns or options.units):
        options = replace(options, format=TABLE.name)
    if not _exists(path):
        if matching := sorted(glob(str(path))):
            return _open_files(path, [Path(file) for file in matching], options)
        raise FileError(f"{path}: no such file or folder", path=path)
    if path.is_dir():
        files = [file for file in _files_in(path) if not file.name.startswith(".")]
        return _open_files(path, files, options)
    chosen = _recognised_format(probe_file(path)) if options.format is None else event_format(options.format)
    _check_use(path, chosen, options)
    chosen.read(path, options)  # refuses a file without the columns that its format needs
    return chosen.events(path, [path], options)


def event_format(name: str) -> EventFormat:
    """The format of that name.

    Raises:
        UnknownNameError: there is none.
    """
    return look_up("format", name, EVENT_FORMATS)


def input_files(path: Path, particles: str | None = None) -> list[Path]:
    """The files that may be read with an input: so an output must be none of them.

    Args:
        path: file or folder of events.
        particles: path of the table of particles, if the user gave one.

    Returns:
        The file and those that belong to it, or every file in the folder; none if there is no such input.
    """
    if not _exists(path):
        return []
    if path.is_dir():
        inside = _files_in(path)
        return [*inside, *filter(None, (particles_beside(file) for file in inside))]
    files = EventFiles.of(path)
    others = [] if files is None else path.parent.glob(f"{files.stem}-*")
    tables = [particles_beside(path), None if particles is None else Path(particles)]
    return [path, *others, *(table for table in tables if table is not None and _exists(table))]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long, a folder that is closed
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error


def _recognised_format(file: FileProbe) -> EventFormat:
    """The only format that a file can be of."""
    candidates = [form for form in EVENT_FORMATS.values() if form.recognises(file)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = ", ".join(form.name for form in candidates)
        raise FileError(f"{file.path}: could be {names}; say which by --format NAME", path=file.path)
    error = ColumnError if file.kind in TABLE_KINDS and file.kind != "csv" else FileError
    possible = [form.name for form in EVENT_FORMATS.values() if form.accepts(file)]
    hint = f"--format {possible[0]} reads it" if possible else f"expected one of {', '.join(EVENT_FORMATS)}"
    if file.kind in TABLE_KINDS and not possible:
        hint += f"; if these are hits, {HOW_TO_NAME}"
    raise error(f"{file.path}: of no known kind: got {file}; {hint}", path=file.path)


def _one_after_the_other(opened: Sequence[Events], first: int) -> Iterator[Event]:
    for events in opened:
        if first and first >= (n := len(events)):
            first -= n
            continue
        yield from events[first:] if first else events
        first = 0


def _open_files(path: Path, files: list[Path], options: ReadOptions) -> Events:
    """The events of the files of a folder, or of those that match a pattern."""
    naming = Naming.of(options)
    probes = [naming.probed(probe) if naming.fits(probe) else probe for probe in map(probe_file, files)]
    chosen: dict[str, list[Path]] = {}
    for reader in EVENT_FORMATS.values():
        test = reader.accepts if options.format == reader.name else reader.recognises
        if options.format in (None, reader.name) and (paths := [file.path for file in probes if test(file)]):
            chosen[reader.name] = paths
    chosen = {name: paths for name, paths in chosen.items() if not EVENT_FORMATS[name].yields_to & set(chosen)}
    if len(chosen) > 1:
        counts = ", ".join(f"{len(paths)} of {name} ({paths[0].name}, ...)" for name, paths in chosen.items())
        raise FileError(f"{path}: got files of several formats: {counts}; say which by --format NAME", path=path)
    if not chosen:
        inside = f"{len(files)} files: {', '.join(file.name for file in files[:5])}" if files else "no file"
        raise FileError(
            f"{path}: got no event{f' of {options.format}' if options.format else ''} but {inside}; expected files of"
            f" one of {', '.join(EVENT_FORMATS)}; folders in it are not looked into",
            path=path,
        )
    ((name, paths),) = chosen.items()
    _check_use(path, EVENT_FORMATS[name], options)
    return EVENT_FORMATS[name].events(path, _ordered(name, paths), options)


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError as error:
        raise FileError(f"{folder}: cannot be read ({error.strerror})", path=folder) from error


def _ordered(name: str, paths: list[Path]) -> list[Path]:
    """The files of a folder by the numbers of events in their names, else by name; each event once."""
    events = [EventFiles.of(path) for path in paths]
    keyed = sorted(
        (((0, "") if files is None else (files.event_id, files.stem)), path)
        for files, path in zip(events, paths, strict=True)
    )
    for (key, path), (next_key, next_path) in itertools.pairwise(keyed):
        if key == next_key and key[1]:
            raise FileError(
                f"{path}: got {next_path.name} of the same event beside it, expected one file of {name} per event;"
                " name the file that is meant, or move the other away",
                path=path,
            )
    return [path for _, path in keyed]


def _check_use(path: Path, reader: EventFormat, options: ReadOptions) -> None:
    """Refuse options that the format does not use."""
    for name in options.given():
        if name not in reader.takes:
            why = "states its units" if name == "scale" else "has no use for it"
            option = f"scale {options.scale!r}" if name == "scale" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"{path}: got {option} for a file of {reader.name}, which {why}; leave it out")


TRACK_FORMATS: Final[dict[str, TrackFormat]] = {
    form.name: form
    for form in (LABELS, LISTS, SUBMISSION, PROTOTRACKS, PARAMETERS_OF_ACTS, PREDICTIONS, EDM4HEP_TRACKS, OWN_TRACKS)
}
"""Name -> format in which tracks are written. To add one: define it in a module of this package, and list it here."""


def track_format(name: str) -> TrackFormat:
    """The format of tracks of that name.

    Raises:
        UnknownNameError: there is none.
    """
    return look_up("form", name, TRACK_FORMATS)


def open_tracks(path: str | Path) -> Tracks | list[Tracks]:
    """The tracks in a file of `Tracks.save`, or of `write_tracks` in the form ``beampipe``, with their events.

    >>> tracks = find_tracks(shipped_events(0)[0])
    >>> tracks.save("tracks.parquet")
    >>> open_tracks("tracks.parquet") == tracks
    True

    Args:
        path: the file.

    Returns:
        The tracks if the file has those of one event, else a list with those of each event.

    Raises:
        FileError: missing, damaged, or a file of something else.
    """
    expect_type("open_tracks", path, (str, PathLike), 'call open_tracks("tracks.parquet")')
    file = probe_file(Path(path))
    if not file.has("track_id", "track_beam_spot"):
        readers = [form.name for form in EVENT_FORMATS.values() if form.recognises(file)]
        what = f"events of the format {readers[0]!r}, which open_events reads" if readers else str(file)
        if file.has("track_id"):
            what = "labels or lists of tracks, which pandas reads"
        raise FileError(f"{path}: got {what}; expected a file of tracks.save, which open_tracks reads", path=path)
    tracks = list(read_tracks(path))
    return tracks[0] if len(tracks) == 1 else tracks


def write_tracks(path: str | Path, events_and_tracks: Iterable[tuple[Event, Tracks]], form: str = LABELS.name) -> int:
    """Write tracks; a file appears only when it is complete.

    >>> finder = load_pipeline("module_map")
    >>> write_tracks("tracks.parquet", ((event, finder.find(event)) for event in shipped_events(0)))
    20

    ===================  ========================  ===================================================================
    format               ending                    columns
    ===================  ========================  ===================================================================
    ``labels``           ``.parquet``, ``.csv``    one row per hit: `TRACK_COLUMNS`, then the input's columns
    ``lists``            ``.parquet``, ``.jsonl``  one row per track: event_id, track_id, hits (rows), hit_id
    ``trackml``          ``.csv``                  one row per hit: event_id, hit_id, track_id (0: on no track)
    ``acts``             a folder, or ``.csv``     per event: trackId, measurementId, x, y, z [mm]
    ``acts-parameters``  a folder, or ``.csv``     per event: fitted parameters and their covariance
    ``colliderml``       ``.parquet``              one row per hit on a track: event_id, hit_id (row), track_id
    ``edm4hep``          ``.root``                 per event: hits, tracks, states of fitted tracks
    ``beampipe``         ``.parquet``              per event: the event and its tracks, for `open_tracks`
    ===================  ========================  ===================================================================

    Args:
        path: file to write; for ``acts`` and ``acts-parameters`` a folder.
        events_and_tracks: events and their tracks, taken one at a time.
        form: name of the format, a key of `TRACK_FORMATS`.

    Returns:
        The number of events written.

    Raises:
        FileError: another ending, a folder that is missing or closed, or no space.
        InputError: the input lacks what the format needs; ShapeError: labels of another length than the hits.
        UnknownNameError: no such format.
    """
    expect_type("write_tracks", path, (str, PathLike), "call write_tracks(path, [(event, tracks)])")
    pairs: object = events_and_tracks
    if isinstance(pairs, Tracks):
        raise TypeError(
            "write_tracks: got Tracks, expected pairs of events and tracks; call write_tracks(path, [(event, tracks)])"
        )
    chosen = track_format(form)
    chosen.check(Path(path))
    return chosen.write(Path(path), events_and_tracks)
