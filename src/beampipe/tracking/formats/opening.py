"""One door to every format of events: the reader is picked by what the files hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from beampipe.errors import ColumnError, ConfigError, FileError, UnknownNameError
from beampipe.tracking.events import Event
from beampipe.tracking.formats.families import family_of
from beampipe.tracking.formats.reading.acts import ACTS
from beampipe.tracking.formats.reading.colliderml import COLLIDERML, particles_beside
from beampipe.tracking.formats.reading.edm4hep import EDM4HEP
from beampipe.tracking.formats.reading.event_display import DISPLAY
from beampipe.tracking.formats.reading.features import FEATURES
from beampipe.tracking.formats.reading.format import Format, Told
from beampipe.tracking.formats.reading.glimpse import Glimpse, take_glimpse
from beampipe.tracking.formats.reading.own import OWN
from beampipe.tracking.formats.reading.spacepoints import SPACEPOINTS
from beampipe.tracking.formats.reading.tables import TABLE
from beampipe.tracking.formats.reading.trackml import TRACKML
from beampipe.tracking.formats.scale import scale_named
from beampipe.tracking.formats.tables.cell_id import cell_fields

__all__ = ["FORMATS", "check_told", "format_named", "input_files", "open_events", "open_told"]

FORMATS: Final[dict[str, Format]] = {
    one.name: one for one in (OWN, TABLE, TRACKML, ACTS, SPACEPOINTS, COLLIDERML, DISPLAY, EDM4HEP, FEATURES)
}
"""Name -> format of events that can be read. A new one is one file in `reading/`, and its name here."""


def open_events(
    path: str | Path,
    scale: str = "mm",
    *,
    format: str | None = None,
    hits: Sequence[str] = (),
    links: Sequence[str] = (),
    particles: str | None = None,
    cell_id: str | None = None,
) -> Iterator[Event]:
    """The events at `path`, one in memory at a time. What a file is tells its content, not only its name.

    ====================  ======================================================================================
    format                files
    ====================  ======================================================================================
    ``beampipe``          Parquet, as written by `write_events`
    ``table``             Parquet with columns r, phi, z or x, y, z: a row per hit, or a row of lists per event;
                          CSV with such a header too, where `format` says so
    ``trackml``           ``eventNNN-hits.csv[.gz]`` and the files beside it
    ``acts``              ``eventNNN-measurements.csv[.gz]`` and the files beside it
    ``acts-spacepoints``  ``eventNNN-spacepoint*.csv[.gz]`` and the files beside it
    ``colliderml``        Parquet `tracker_hits` of release 1, and `particles` beside it
    ``event-display``     JSON of ColliderML's event display
    ``edm4hep``           ROOT files of podio: tracker hits of EDM4hep
    ``features``          CSV of three columns r, phi, z without header, in `scale`
    ====================  ======================================================================================

    A folder is read file by file, in order of the events' numbers or of the names. All its files of events must be of
    one format; files that are of none are left alone.

    Args:
        path: file or folder of events.
        scale: a name of `SCALES`, for r, phi and z in ``features`` and ``table``; the others state their units.
        format: name of the format, a key of `FORMATS`, where the content does not tell.
        hits: EDM4hep: names of the collections of tracker hits.
        links: EDM4hep: names of the links from each of `hits` to simulated hits, for the truth.
        particles: EDM4hep: name of the collection of particles; ColliderML: path of the table of particles.
        cell_id: EDM4hep: how `cellID` is packed, as DD4hep writes it, e.g. ``system:5,side:-2,layer:6,module:11``: then
            the modules are known.

    Raises:
        FileError: missing, cut short, of no known kind or of several; ColumnError if a column is missing.
        ConfigError: a scale or a name for a format that has no use for it.
        NotFiniteError: NaN or infinity among the coordinates.
        UnknownNameError: no such scale, format or collection.
    """
    return open_told(path, Told(format, scale, tuple(hits), tuple(links), particles, cell_id))


def check_told(told: Told) -> None:
    """Refuse what can be told to be wrong without a file.

    Raises:
        UnknownNameError: no such scale or format.
        ConfigError: fields of `cellID` that are none.
    """
    scale_named(told.scale)
    if told.format is not None:
        format_named(told.format)
    if told.cell_id is not None:
        cell_fields(told.cell_id)


def open_told(path: str | Path, told: Told) -> Iterator[Event]:
    """The events at `path`, as `open_events` gives them, with all that a user tells about them in one value."""
    path = Path(path)
    check_told(told)
    if not _exists(path):
        raise FileError(f"{path}: no such file or folder", path=path)
    if path.is_dir():
        return _folder(path, told)
    found = _format_of(take_glimpse(path)) if told.format is None else format_named(told.format)
    _check_use(path, found, told)
    return found.read(path, told)


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
    return FORMATS[name]


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
    family = family_of(path)
    others = [] if family is None else path.parent.glob(f"{family[0].stem}-*")
    tables = [particles_beside(path), None if particles is None else Path(particles)]
    return [path, *others, *(table for table in tables if table is not None and _exists(table))]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long, a folder that is closed
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error


def _format_of(file: Glimpse) -> Format:
    """The only format that a file can be of."""
    found = [one for one in FORMATS.values() if one.recognises(file)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.name for one in found)
        raise FileError(f"{file.path}: could be {names}; say which by --format NAME", path=file.path)
    error = ColumnError if file.kind == "parquet" else FileError
    possible = [one.name for one in FORMATS.values() if one.accepts(file)]
    hint = f"--format {possible[0]} reads it" if possible else f"expected one of {', '.join(FORMATS)}"
    raise error(f"{file.path}: of no known kind: got {file}; {hint}", path=file.path)


def _folder(path: Path, told: Told) -> Iterator[Event]:
    files = [file for file in _files_in(path) if not file.name.startswith(".")]
    seen = [take_glimpse(file) for file in files]
    chosen: dict[str, list[Path]] = {}
    for one in FORMATS.values():
        test = one.accepts if told.format == one.name else one.recognises
        if told.format in (None, one.name) and (paths := [file.path for file in seen if test(file)]):
            chosen[one.name] = paths
    chosen = {name: paths for name, paths in chosen.items() if not FORMATS[name].yields_to & set(chosen)}
    if len(chosen) > 1:
        counts = ", ".join(f"{len(paths)} of {name} ({paths[0].name}, ...)" for name, paths in chosen.items())
        raise FileError(f"{path}: got files of several formats: {counts}; say which by --format NAME", path=path)
    if not chosen:
        inside = f"{len(files)} files: {', '.join(file.name for file in files[:5])}" if files else "no file"
        raise FileError(
            f"{path}: got no event{f' of {told.format}' if told.format else ''} but {inside}; expected files of one of"
            f" {', '.join(FORMATS)}; folders in it are not looked into",
            path=path,
        )
    ((name, paths),) = chosen.items()
    _check_use(path, FORMATS[name], told)
    return (event for file in _ordered(name, paths) for event in FORMATS[name].read(file, told))


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError as error:
        raise FileError(f"{folder}: cannot be read ({error.strerror})", path=folder) from error


def _ordered(name: str, paths: list[Path]) -> list[Path]:
    """The files of a folder by the numbers of their events where their names tell, else by name; each event once."""
    families = [family_of(path) for path in paths]
    keyed = sorted(
        (((0, "") if family is None else (family[0].event_id, family[0].stem)), path)
        for family, path in zip(families, paths, strict=True)
    )
    for (key, path), (next_key, next_path) in itertools.pairwise(keyed):
        if key == next_key and key[1]:
            raise FileError(
                f"{path}: got {next_path.name} of the same event beside it, expected one file of {name} per event;"
                " name the file that is meant, or move the other away",
                path=path,
            )
    return [path for _, path in keyed]


def _check_use(path: Path, one: Format, told: Told) -> None:
    for name in told.given():
        if name == "scale" and name not in one.takes:
            raise ConfigError(
                f"{path}: got scale {told.scale!r} for a file of {one.name}, which states its units; leave it out"
            )
        if name not in one.takes:
            option = name.replace("_", "-")
            raise ConfigError(f"{path}: got --{option} for a file of {one.name}, which has no use for it; leave it out")
