"""One door to every format: the reader is picked by what the path is called and what the file holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from beampipe.errors import ConfigError, FileError
from beampipe.tracking.events import Event
from beampipe.tracking.formats.acts_csv import read_acts
from beampipe.tracking.formats.families import Family, family_of
from beampipe.tracking.formats.features import read_features
from beampipe.tracking.formats.parquet import read_events
from beampipe.tracking.formats.scale import scale_named
from beampipe.tracking.formats.table import first_line
from beampipe.tracking.formats.trackml import read_trackml

__all__ = ["open_events"]

_MAGIC = b"PAR1"


def open_events(path: str | Path, scale: str = "mm") -> Iterator[Event]:
    """The events at `path`, one in memory at a time.

    ======================================  ================================================
    path                                    read as
    ======================================  ================================================
    a file that starts with ``PAR1``        Parquet, as written by `write_events`
    ``eventNNN-measurements.csv[.gz]``      one event of ACTS, with the files beside it
    ``eventNNN-hits.csv[.gz]``              one event of TrackML, with the files beside it
    any other ``.csv[.gz]``, three columns  one event: r, phi, z without header, in `scale`
    a folder                                every event of ACTS or else TrackML in it
    ======================================  ================================================

    Args:
        path: file or folder of events.
        scale: a name of `SCALES`, for three-column files; the others state their units.

    Raises:
        FileError: missing, cut short or of no known kind; ColumnError if a column is missing.
        ConfigError: a scale for a file that states its units.
        NotFiniteError: NaN or infinity among the coordinates.
        UnknownNameError: no such scale.
    """
    path = Path(path)
    scale_named(scale)
    if path.is_dir():
        _states_its_units(path, scale)
        return _folder(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file or folder")
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) == _MAGIC:
            _states_its_units(path, scale)
            return read_events(path)
    if ".csv" not in path.suffixes[-2:]:
        raise FileError(f"{path}: of no known kind; expected Parquet, .csv, .csv.gz or a folder of them")
    family = family_of(path)
    if family is not None and family[1] in ("measurements", "hits") and _has_header(path):
        _states_its_units(path, scale)
        return iter([_read_family(*family)])
    return iter([read_features(path, scale)])


def _folder(path: Path) -> Iterator[Event]:
    families: dict[str, dict[str, Family]] = {"measurements": {}, "hits": {}}
    for file in sorted(path.iterdir()):
        found = family_of(file)
        if found is not None and found[1] in families:
            families[found[1]][found[0].stem] = found[0]
    # ACTS writes -hits.csv too, for the simulated hits, so measurements tell the two apart.
    kind = "measurements" if families["measurements"] else "hits"
    if not families[kind]:
        raise FileError(f"{path}: got no event, expected files eventNNN-measurements.csv (ACTS) or eventNNN-hits.csv")
    ordered = sorted(families[kind].values(), key=lambda family: (family.event_id, family.stem))
    return (_read_family(family, kind) for family in ordered)


def _read_family(family: Family, kind: str) -> Event:
    return read_acts(family) if kind == "measurements" else read_trackml(family)


def _has_header(path: Path) -> bool:
    return any(character.isalpha() for character in first_line(path).replace("e", "").replace("E", ""))


def _states_its_units(path: Path, scale: str) -> None:
    if scale != "mm":
        raise ConfigError(f"{path}: got scale {scale!r} for a file that states its units; leave the scale out")
