"""Reads tables from CSV and Parquet files, and builds hits and truth from their columns."""

from __future__ import annotations

import csv as python_csv
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64, UInt64
from beampipe.columns import Column, ColumnScan, recognised
from beampipe.errors import BeampipeError, ColumnError, ConfigError, FileError, NotFiniteError, nearest
from beampipe.events import NOISE, Event, HitColumns, Hits, Particles, Truth, cylindrical, scale_named


def arrow(part: str) -> tuple[Any, Any]:
    """pyarrow and its module `part`, imported when they are first needed.

    Args:
        part: name of the module, e.g. ``csv``.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    import pyarrow

    return pyarrow, import_module(f"pyarrow.{part}")


def as_numpy(path: str | Path, column: Any) -> ndarray:
    """A column of pyarrow as an array: of its own type if it holds numbers throughout, else of Python objects.

    Categories are read as what they stand for.

    Args:
        path: file that the column is from, for messages.
        column: an array of pyarrow, chunked or not.

    Raises:
        FileError: it holds text that is damaged.
    """
    pa, _ = arrow("types")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    plain = pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)
    if plain and column.null_count == 0:
        return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())
    values = np.empty(len(column), object)
    try:
        values[:] = column.to_pylist()
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: got text that is no UTF-8 ({error}); copy or write it again", path=path) from error
    return values


def read_columns(path: Path, wanted: Mapping[str, type[np.generic]]) -> dict[str, ndarray]:
    """The columns `wanted` of a CSV file with a header; others are not converted.

    Raises:
        FileError: the file is missing, cut short, or holds a field that is no number of its type.
        ColumnError: a column is missing.
        NotFiniteError: a number is NaN or infinite.
    """
    return _read_csv(path, _checked_header(path, wanted), wanted, skip=1)


def read_table(path: Path, wanted: Mapping[str, type[np.generic]]) -> tuple[dict[str, ndarray], dict[str, ndarray]]:
    """The columns `wanted` of a CSV file with a header, and the others as they are: integers, decimals or words.

    Raises:
        FileError: the file is missing, cut short, holds a field that is no number of its type, or one name twice.
        ColumnError: a column is missing.
        NotFiniteError: a number of `wanted` is NaN or infinite.
    """
    header = _checked_header(path, wanted)
    for name in header:
        if header.count(name) > 1:
            raise FileError(f"{path}: got the column {name!r} {header.count(name)} times; rename or drop all but one")
    columns = _read_csv(path, header, wanted, skip=1, rest=True)
    return {name: columns[name] for name in wanted}, {name: columns[name] for name in header if name not in wanted}


def read_matrix(path: Path, names: tuple[str, ...]) -> ndarray:
    """A CSV file without header as (n, len(names)) float64.

    Raises:
        FileError: the file is missing, cut short, has a header, or another number of columns.
        NotFiniteError: a number is NaN or infinite.
    """
    fields = _first_line(path).split(",")
    if len(fields) != len(names):
        raise FileError(f"{path}: got {len(fields)} columns in row 0, expected {len(names)}: {', '.join(names)}")
    columns = _read_csv(path, list(names), dict.fromkeys(names, np.float64), skip=0)
    return np.stack([columns[name] for name in names], axis=1)


def header_of(path: Path) -> list[str]:
    """The fields of the first line, without quotes and blanks around them."""
    return [name.strip() for name in next(python_csv.reader([_first_line(path)]))]


def _first_line(path: Path) -> str:
    """The first line, decompressed, or FileError if there is none."""
    pa, _ = arrow("csv")
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            # Long enough for any header; a binary file has no line end and is refused by its first field.
            line: bytes = stream.read(65536).split(b"\n", 1)[0]
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{path}: cannot be read ({error}); copy it again") from error
    if not line.strip():
        raise FileError(f"{path}: empty, expected comma-separated columns")
    return line.decode("utf-8", errors="replace").strip()


def _checked_header(path: Path, wanted: Mapping[str, type[np.generic]]) -> list[str]:
    """The header, which must have the columns `wanted`."""
    header = header_of(path)
    for name in wanted:
        if name not in header:
            raise ColumnError(f"{path}: no column {name!r}{nearest(name, header)}; got {', '.join(header)}")
    return header


def _read_csv(
    path: Path, header: list[str], wanted: Mapping[str, type[np.generic]], skip: int, *, rest: bool = False
) -> dict[str, ndarray]:
    pa, csv = arrow("csv")
    bad: list[str] = []

    def refuse(row: Any) -> str:
        bad.append(f"got {row.actual_columns} columns in {row.text[:80]!r}, expected {row.expected_columns}")
        return "error"

    try:
        table = csv.read_csv(
            str(path),
            read_options=csv.ReadOptions(column_names=header, skip_rows=skip, use_threads=False),
            parse_options=csv.ParseOptions(invalid_row_handler=refuse),
            convert_options=csv.ConvertOptions(
                include_columns=header if rest else list(wanted),
                column_types={name: pa.from_numpy_dtype(dtype) for name, dtype in wanted.items()},
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, OSError, EOFError) as error:
        raise FileError(
            f"{path}: {bad[0] if bad else error}; the file may be cut short, copy or write it again"
        ) from error
    columns = {name: as_numpy(path, table.column(name)) for name in table.column_names}
    for name, values in columns.items():
        if wanted.get(name) in (np.float32, np.float64) and not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            raise NotFiniteError(
                f"{path}: got {name} = {values[row]} at row {row}, expected a finite number; drop or repair that row"
            )
    return columns


_BATCH_ROWS: Final = 65536


def open_parquet(path: str | Path) -> Any:
    """The Parquet file, opened by pyarrow.

    Raises:
        FileError: it is no Parquet file or is cut short.
    """
    pa, pq = arrow("parquet")
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: not a whole Parquet file ({error}); copy or write it again", path=path) from error


def event_rows(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, ndarray]]]:
    """Each row of a table with one row per event: its plain values, and its lists as arrays; a null is left out.

    Raises:
        FileError: the file is cut short or damaged.
    """
    for batch in _batches(path, 1):
        values, lists = {}, {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if not column[0].is_valid:
                continue
            if hasattr(column[0], "values"):
                lists[name] = as_numpy(path, column[0].values)
            else:
                values[name] = as_numpy(path, column).tolist()[0]
        yield values, lists


def hit_groups(path: Path, by: str | None) -> Iterator[tuple[object, dict[str, ndarray]]]:
    """The events of a table with one row per hit: their number, and the columns of their hits.

    Args:
        path: Parquet file.
        by: name of the column with the number of the event; None if the file is one event, whose number is None.

    Raises:
        FileError: the file is cut short or damaged.
    """
    pa, _ = arrow("parquet")
    waiting: list[Any] = []
    for batch in _batches(path, _BATCH_ROWS):
        number = None if by is None else as_numpy(path, batch.column(by))
        for begin, end in [(0, batch.num_rows)] if number is None else equal_runs(number):
            part = batch.slice(begin, end - begin)
            if waiting and by is not None and waiting[0].column(by)[0] != part.column(by)[0]:
                yield _event_columns(path, pa.Table.from_batches(waiting), by)
                waiting = []
            waiting.append(part)
    if waiting:
        yield _event_columns(path, pa.Table.from_batches(waiting), by)


def equal_runs(number: ndarray) -> list[tuple[int, int]]:
    """Begin and end of each run of equal numbers: the rows of an event that stand together."""
    cuts = np.flatnonzero(number[1:] != number[:-1]) + 1
    return list(itertools.pairwise([0, *cuts.tolist(), len(number)])) if len(number) else []


def _event_columns(path: Path, table: Any, by: str | None) -> tuple[object, dict[str, ndarray]]:
    columns = {name: as_numpy(path, table.column(name)) for name in table.column_names if name != by}
    return None if by is None else as_numpy(path, table.column(by)[:1]).tolist()[0], columns


def _batches(path: Path, rows: int) -> Iterator[Any]:
    pa, _ = arrow("parquet")
    with open_parquet(path) as file:
        try:
            yield from file.iter_batches(batch_size=rows)
        except (pa.ArrowException, OSError) as error:
            raise FileError(f"{path}: cannot be read ({error}); copy or write it again", path=path) from error


PROMPT: Final = 2.0
"""Particles that start within this distance of the beam line [mm] count as primary where a file lacks the flag."""

_CLOSE: Final = 1e-3
"""Largest relative difference between r and hypot(x, y) where a table has both; float32 and rounding give 1e-6."""

POSITIONS: Final = ("r", "phi", "z"), ("x", "y", "z")
"""Names of the columns of a position, cylindrical or Cartesian."""

_CYLINDRICAL, _CARTESIAN = POSITIONS

_NUMBERS: Final = ("", "_id", "_number", "_nr", "_no", "_num", "_index", "_idx")

EVENT: Final = Column(
    "event_id",
    (
        *(f"{word}{end}" for word in ("event", "evt", "ev") for end in _NUMBERS),
        *("i_event", "i_evt", "entry"),
    ),
)
"""The number of the event in tables with one row per hit or per event."""

RUN: Final = (
    Column("run", ("run_number", "run_nr", "run_no", "run_id")),
    Column("lumi_block", ("lumi", "lumi_section", "luminosity_block", "lbn", "ls")),
)
"""Numbers within which those of events are unique."""


def _of_hit(name: str, *aliases: str, unit: str = "", low: float = -np.inf, high: float = np.inf) -> Column:
    """A column of hits, whose names may have the prefix ``hit_``."""
    return Column(name, (*aliases, *(f"hit_{alias}" for alias in (name, *aliases))), unit, low, high)


def _vector(letter: str, *words: str, unit: str) -> Iterator[Column]:
    """Columns ``px, py, pz`` for the letter p, also called ``particle_px`` or by other words."""
    for axis in "xyz":
        yield _of_hit(f"{letter}{axis}", f"particle_{letter}{axis}", *(f"{word}_{axis}" for word in words), unit=unit)


HIT_COLUMNS: Final = (
    _of_hit("r", "rho", "global_r", unit="mm", low=0.0),
    _of_hit("phi", "global_phi", unit="rad", low=-2 * np.pi - 1e-3, high=2 * np.pi + 1e-3),
    *(_of_hit(axis, f"global_{axis}", f"g{axis}", f"pos_{axis}", f"position_{axis}", unit="mm") for axis in "xyz"),
    Column("hit_id", ("hit_number", "hit_nr")),
    _of_hit("geometry_id"),
    *(_of_hit(f"{part}_id") for part in ("volume", "layer", "module", "surface")),
    _of_hit("particle_id", "particle", "particle_number", "barcode"),
    *_vector("p", "momentum", "mom", unit="GeV"),
    *_vector("v", "vertex", "vtx", "production", unit="mm"),
    _of_hit("charge", "q", "particle_charge", unit="e"),
    _of_hit("pdg", "pdg_id", "pdg_code", "particle_type", "particle_pdg"),
    _of_hit("primary", "is_primary", "particle_primary"),
)
"""The columns of hits that are used, by the names that they may have; case, underscores, blanks and dots do not count.
All others are kept as they are."""


def hit_columns(names: Iterable[str]) -> dict[str, str]:
    """Each name of `HIT_COLUMNS` that is there -> the column of the table that it is read from."""
    return recognised(HIT_COLUMNS, names)


_BITS: Final = (("volume", 8), ("layer", 12), ("module", 28))


@dataclass(frozen=True)
class Origin:
    """Origin of columns, for messages and for writing tracks.

    Attributes:
        path: file that they were read from.
        format: name of its format.
        event_id: number of the event.
    """

    path: Path
    format: str
    event_id: int

    def __str__(self) -> str:
        return f"{self.path}: event {self.event_id}"


def stacked(columns: Mapping[str, ndarray], names: str) -> ndarray:
    """(n, n_names) the columns of these names, which are separated by blanks, side by side."""
    return np.stack([columns[name] for name in names.split()], axis=1)


def event_number(path: str | Path) -> int:
    """The last number in a file's name, 0 if there is none."""
    numbers = re.findall(r"\d+", Path(path).name)
    return int(numbers[-1]) if numbers else 0


def event_of(origin: Origin, columns: Mapping[str, ndarray], scale: str = "mm", truth: Truth | None = None) -> Event:
    """The event whose hits have these columns.

    =============================================  =====================================================
    columns                                        read as
    =============================================  =====================================================
    r, phi, z or x, y, z                           position [mm, rad, mm] or, r, phi, z only, in `scale`
    hit_id                                         the input's own number of each hit
    geometry_id                                    module, as ACTS numbers it
    volume_id, layer_id, module_id or surface_id   module, see `module_code`
    particle_id with px, py, pz                    truth: particle of each hit, 0 for none; its momentum [GeV]
    vx, vy, vz                                     where the particle starts [mm]; if not there, the origin
    charge                                         charge [e], if not there 1
    pdg                                            species, if not there 0
    primary                                        made by the generator; if not there, starts within 2 mm
    =============================================  =====================================================

    `HIT_COLUMNS` lists the other spellings that are recognised. All columns are also kept unchanged; r, phi and z in
    another scale as input_r, input_phi and input_z.

    Args:
        origin: file and event, for messages.
        columns: name -> (n_hits,) array.
        scale: a name of `SCALES`, for r, phi and z.
        truth: the truth, if it was read already; the columns of particles are then ignored.

    Raises:
        FileError: an identifier is out of its range, or r is not hypot(x, y).
        ColumnError: there is no position.
        InputError: the position is not usable (NaN).
    """
    names = hit_columns(columns)
    known = {name: columns[column] for name, column in names.items()}
    try:
        hits = Hits(_hit_positions(origin, known or columns, scale), _hit_modules(origin, known))
        truth = _truth_of_columns(origin, known) if truth is None else truth
        hit_id = integers(origin, "hit_id", known["hit_id"]) if "hit_id" in known else None
        # Coordinates in another scale must not be mistaken for mm.
        scaled = {names.get(name) for name in _CYLINDRICAL} if scale != "mm" else set()
        extra = {(f"input_{name}" if name in scaled else name): values for name, values in columns.items()}
        extra.pop(names.get("hit_id", ""), None)
        return Event(origin.event_id, hits, truth, HitColumns(origin.format, hit_id, extra))
    except FileError:
        raise
    except BeampipeError as error:
        raise type(error)(f"{origin}: {error}") from error


def linked_truth(n_hits: int, hit: Int64[ndarray, " n"], particle: Int64[ndarray, " n"], particles: Particles) -> Truth:
    """The truth of hits that are linked to particles: the first link gives the leading one, the others share the hit.

    Args:
        n_hits: number of the hits.
        hit: (n,) row of the hit of each link.
        particle: (n,) number of the particle of each link, never `NOISE`.
        particles: the particles.
    """
    leading = np.full(n_hits, NOISE, np.int64)
    rows, first = np.unique(hit, return_index=True)
    leading[rows] = particle[first]
    # Several simulated hits of one particle in one hit do not make it shared.
    further = np.unique(np.stack([hit, particle])[:, particle != leading[hit]], axis=1)
    return Truth(leading, particles, further[0], further[1])


def _hit_positions(origin: Origin, named: Mapping[str, ndarray], scale: str = "mm") -> ndarray:
    """(n_hits, 3) float32: r [mm], phi [rad], z [mm] from columns r, phi, z or x, y, z; where both, they must agree."""
    round_, flat = (all(name in named for name in names) for names in (_CYLINDRICAL, _CARTESIAN))
    if not (round_ or flat):
        raise ColumnError(f"{origin}: got {', '.join(named)}, expected columns r, phi, z or x, y, z", path=origin.path)
    if not round_ and scale != "mm":
        raise ConfigError(f"{origin}: got scale {scale!r} for x, y and z, expected mm; leave the scale out")
    if not round_:
        return cylindrical(*(decimals(origin, name, named[name]) for name in _CARTESIAN))
    cylindrical_columns = [decimals(origin, name, named[name]) for name in _CYLINDRICAL]
    position = scale_named(scale).to_mm(np.stack(cylindrical_columns, axis=1).astype(np.float32))
    for column, values in zip(HIT_COLUMNS[:2], position.T, strict=False):
        scan = ColumnScan(column)
        if scan.add(values).all() or not np.isfinite(values).all():  # `Hits` names what is not finite
            continue
        degrees = ", but these look like degrees" if column.unit == "rad" and np.abs(values).max() <= 360.01 else ""
        raise FileError(
            f"{origin}: {column.name}: {scan}; expected {column.unit}{degrees}", path=origin.path, name=column.name
        )
    if flat and scale == "mm":
        r = np.hypot(decimals(origin, "x", named["x"]), decimals(origin, "y", named["y"]))
        wrong = np.abs(position[:, 0] - r) > _CLOSE * np.maximum(r, 1.0)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise FileError(
                f"{origin}: got r = {position[row, 0]:g} where x and y give {r[row]:g} at row {row}, expected one unit"
                " for both; drop the columns that are not in mm",
                path=origin.path,
            )
    return position


def module_code(where: object, volume: ndarray, layer: ndarray, module: ndarray) -> UInt64[ndarray, " n_hits"]:
    """Identifiers of modules as ACTS packs them: volume << 56 | layer << 36 | module << 8.

    Args:
        where: file, for messages.
        volume: (n_hits,) number of the volume, below 2**8.
        layer: (n_hits,) number of the layer in it, below 2**12.
        module: (n_hits,) number of the module in it, below 2**28.

    Raises:
        FileError: a number is negative or too large.
    """
    for (name, bits), values in zip(_BITS, (volume, layer, module), strict=True):
        if len(values) and (values.min() < 0 or values.max() >= 1 << bits):
            raise FileError(
                f"{where}: got {name} numbers from {values.min()} to {values.max()}, expected 0 to {(1 << bits) - 1};"
                " number them anew, or rename the column to read the hits without modules"
            )
    volume, layer, module = (values.astype(np.uint64) for values in (volume, layer, module))
    return np.asarray(volume << np.uint64(56) | layer << np.uint64(36) | module << np.uint64(8), np.uint64)


def decimals(origin: Origin, name: str, values: ndarray) -> Float64[ndarray, " n"]:
    """A column of numbers as float64.

    Raises:
        FileError: it holds something else, or values are missing.
    """
    if values.dtype.kind not in "fiub":
        raise _not_numbers(origin, name, values, "numbers")
    return values.astype(np.float64)


def _not_numbers(origin: Origin, name: str, values: ndarray, expected: str) -> FileError:
    """The error for a column that holds words or gaps, with the number of gaps, else the first word."""
    gaps = sum(value is None or value == "" for value in values)
    word = next((value for value in values if isinstance(value, str) and not _is_number(value)), values[0])
    seen = f"{gaps} of {len(values)} missing" if gaps else repr(word)
    return FileError(
        f"{origin}: got words or gaps as {name} ({seen}), expected {expected}", path=origin.path, name=name
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def decimal_columns(origin: Origin, columns: Mapping[str, ndarray], names: str) -> Float64[ndarray, "n n_names"]:
    """The columns of these names, which are separated by blanks, side by side as float64, checked by `decimals`."""
    return np.stack([decimals(origin, name, columns[name]) for name in names.split()], axis=1)


def integers(origin: Origin, name: str, values: ndarray) -> Int64[ndarray, " n"]:
    """A column of whole numbers as int64; NaN in a column of decimals counts as 0, for "none".

    Raises:
        FileError: a number is not whole, or too large for int64.
    """
    if values.dtype.kind == "u" and len(values) and values.max() > np.iinfo(np.int64).max:
        raise FileError(f"{origin}: got {name} {values.max()}, expected less than 2**63", path=origin.path)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0)
        if (values != np.rint(values)).any() or (np.abs(values) > 2.0**53).any():
            raise FileError(
                f"{origin}: got decimals as {name} that are no exact whole numbers; write integers", path=origin.path
            )
    elif values.dtype.kind not in "iub":
        raise _not_numbers(origin, name, values, "whole numbers")
    return values.astype(np.int64)


def _hit_modules(origin: Origin, named: Mapping[str, ndarray]) -> UInt64[ndarray, " n_hits"] | None:
    if "geometry_id" in named:
        identifiers = named["geometry_id"]  # of all 64 bits, so not by way of int64
        if identifiers.dtype.kind != "u":
            identifiers = integers(origin, "geometry_id", identifiers)
            if len(identifiers) and identifiers.min() < 0:
                raise FileError(
                    f"{origin}: got geometry_id {identifiers.min()}, expected numbers from 0 on", path=origin.path
                )
        return identifiers.astype(np.uint64)
    last = next((name for name in ("module_id", "surface_id") if name in named), None)
    if last is None or not {"volume_id", "layer_id"} <= set(named):
        return None
    return module_code(origin, *(integers(origin, name, named[name]) for name in ("volume_id", "layer_id", last)))


def _truth_of_columns(origin: Origin, named: Mapping[str, ndarray]) -> Truth | None:
    if not {"particle_id", "px", "py", "pz"} <= set(named):
        return None
    particle_id = integers(origin, "particle_id", named["particle_id"])
    if len(particle_id) and particle_id.min() < NOISE:
        raise FileError(
            f"{origin}: got particle_id {particle_id.min()}, expected numbers above 0, and 0 for noise",
            path=origin.path,
        )
    ids, first = np.unique(particle_id, return_index=True)
    ids, first = ids[ids != NOISE], first[ids != NOISE]

    momenta = np.stack([decimals(origin, name, named[name]) for name in ("px", "py", "pz")])
    of_none = momenta[:, particle_id == NOISE]
    one = of_none.shape[1] > 2 and of_none.any() and (of_none == of_none[:, :1]).all()
    if one and not (momenta[:, first] == of_none[:, :1]).all(axis=0).any():
        raise FileError(
            f"{origin}: got one momentum of its own in all {of_none.shape[1]} rows of particle_id 0, which stands"
            " for noise; number the particles from 1",
            path=origin.path,
        )

    def of_particle(name: str, missing: float, dtype: type[np.generic]) -> ndarray:
        values = decimals(origin, name, named[name][first]) if name in named else np.full(len(ids), missing)
        return values.astype(dtype)

    momentum, vertex = (
        np.stack([of_particle(f"{prefix}{axis}", 0.0, np.float32) for axis in "xyz"], axis=1) for prefix in "pv"
    )
    near = np.hypot(vertex[:, 0], vertex[:, 1]) < PROMPT
    particles = Particles(
        ids,
        of_particle("pdg", 0.0, np.int32),
        of_particle("charge", 1.0, np.float32),
        momentum,
        vertex,
        of_particle("primary", 0.0, np.bool_) if "primary" in named else near,
    )
    return Truth(particle_id, particles)
