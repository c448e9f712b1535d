"""The ntuples of the calibration: writing and reading whole files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Int8, Int64, UInt8, UInt16, UInt32, UInt64
from beampipe.errors import FileError, ShapeError
from beampipe.files import MARK, replacing
from beampipe.jets.ntuple_format import (
    BOOKKEEPING,
    BOOKKEEPING_BRANCHES,
    CONSTITUENT_BRANCHES,
    EVENT_BRANCHES,
    EVENTS,
    FORMAT,
    JET_BRANCHES,
    MC_BRANCHES,
    VARIED_N_TRK,
)

EVENTS_PER_BASKET: Final = 50_000
"""Events per basket of a file. Readers take whole baskets, so they read multiples of this."""


@dataclass(frozen=True, eq=False)
class Events:
    """Events with any number of jets each, in the layout of the files. Columns that data lack are None.

    Attributes:
        run: (n_events,) uint32, number of the run.
        event: (n_events,) uint64, number of the event.
        trigger: (n_events,) bool, whether the trigger fired.
        offset: (n_events + 1,) int64, first jet of each event.
        jet_pt: (n_jets,) float32, transverse momentum [GeV], falling within an event.
        jet_eta: (n_jets,) float32, pseudorapidity.
        jet_phi: (n_jets,) float32, azimuth [rad].
        jet_clean: (n_jets,) bool, whether the jet passes the cleaning.
        jet_n_trk: (n_jets,) uint16, number of tracks.
        jet_width: (n_jets,) float32, track width.
        jet_c1: (n_jets,) float32, two-point energy correlation of the tracks.
        jet_n_trk_eff: (n_jets,) uint16, number of tracks at a lower tracking efficiency; None for data.
        jet_n_trk_fake: (n_jets,) uint16, number of tracks with more fakes; None for data.
        jet_label: (n_jets,) int8, PDG number of the parton without sign, 0 for none; None for data.
        jet_region: (n_jets,) int8, region for the rule ``branch`` of the calibration; None for files without.
        weight: (n_events, n_weights) float32, the nominal weight first; None for data.
        constituent_offset: (n_events + 1,) int64, first constituent of each event; None for files without constituents.
        constituent_jet: (n,) uint8, jet of a constituent in its event, rising.
        constituent_pt: (n,) float32, transverse momentum of a constituent [GeV].
        constituent_eta: (n,) float32, pseudorapidity of a constituent.
        constituent_phi: (n,) float32, azimuth of a constituent [rad].
        constituent_charged: (n,) bool, whether a constituent is a track.
        constituent_variation: (n,) uint8, which variations have it, as in `JetConstituents`.
    """

    run: UInt32[ndarray, " n_events"]
    event: UInt64[ndarray, " n_events"]
    trigger: Bool[ndarray, " n_events"]
    offset: Int64[ndarray, " n_events_1"]
    jet_pt: Float32[ndarray, " n_jets"]
    jet_eta: Float32[ndarray, " n_jets"]
    jet_phi: Float32[ndarray, " n_jets"]
    jet_clean: Bool[ndarray, " n_jets"]
    jet_n_trk: UInt16[ndarray, " n_jets"]
    jet_width: Float32[ndarray, " n_jets"]
    jet_c1: Float32[ndarray, " n_jets"]
    jet_n_trk_eff: UInt16[ndarray, " n_jets"] | None = None
    jet_n_trk_fake: UInt16[ndarray, " n_jets"] | None = None
    jet_label: Int8[ndarray, " n_jets"] | None = None
    jet_region: Int8[ndarray, " n_jets"] | None = None
    weight: Float32[ndarray, "n_events n_weights"] | None = None
    constituent_offset: Int64[ndarray, " n_events_1"] | None = None
    constituent_jet: UInt8[ndarray, " n"] | None = None
    constituent_pt: Float32[ndarray, " n"] | None = None
    constituent_eta: Float32[ndarray, " n"] | None = None
    constituent_phi: Float32[ndarray, " n"] | None = None
    constituent_charged: Bool[ndarray, " n"] | None = None
    constituent_variation: UInt8[ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.run)

    def __getitem__(self, part: slice) -> Events:
        """The events of a contiguous slice."""
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ShapeError(f"events can only be taken in a row: got a step of {step}")
        stop = max(start, stop)
        rows = {name: slice(int(each[start]), int(each[stop])) for name, each in self.offsets.items()}
        values: dict[str, Any] = {name: each[start : stop + 1] - each[start] for name, each in self.offsets.items()}
        values |= {name: column[rows.get(_offset_of(name), part)] for name, column in self.columns.items()}
        return Events(**values)

    @property
    def offsets(self) -> dict[str, ndarray]:
        """The first jet of each event, and its first constituent if there are any."""
        names = ("offset",) if self.constituent_offset is None else ("offset", "constituent_offset")
        return {name: getattr(self, name) for name in names}

    @property
    def columns(self) -> dict[str, ndarray]:
        """The columns that these events have, by name of the branch, without `offsets`."""
        names = (field.name for field in fields(self) if not field.name.endswith("offset"))
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @classmethod
    def join(cls, parts: list[Events]) -> Events:
        """The events of some parts one after the other; all parts must have the same columns."""
        values: dict[str, Any] = {}
        for name in parts[0].offsets:
            counts = np.concatenate([np.diff(part.offsets[name]) for part in parts])
            values[name] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        values |= {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
        return cls(**values)


def _offset_of(column: str) -> str:
    """The attribute of `Events` with the first row of each event in a column; empty for a column of events."""
    return {"jet": "offset", "constituent": "constituent_offset"}.get(column.partition("_")[0], "")


def file_name(dataset: str, slice_number: int, file_number: int) -> str:
    """The name of one file of a dataset.

    Args:
        dataset: name of the dataset.
        slice_number: number of the slice, from 0.
        file_number: number of the file in its slice, from 0.
    """
    return f"{dataset}.slice{slice_number}.{file_number:04d}.root"


def new_bookkeeping(*, weight_names: Sequence[str], settings: Mapping[str, Any], **numbers: Any) -> dict[str, Any]:
    """The bookkeeping of a new file.

    Args:
        weight_names: names of the weights.
        settings: generator settings of the events; stored as JSON.
        numbers: the other values by their names in `BOOKKEEPING_BRANCHES`, which `write_ntuple` checks; they refer to
            all generated events, also those that are not written.
    """
    texts = {"weight_names": ",".join(weight_names), "settings": json.dumps(settings)}
    return {"format": FORMAT, "filter_efficiency": 1.0, **numbers, **texts}


def write_ntuple(path: Path, events: Events, bookkeeping: Mapping[str, Any]) -> None:
    """Write one file; it appears under its name only when it is complete. The same contents give the same bytes.

    Args:
        path: the file; its folder is created.
        events: all events of the file.
        bookkeeping: one value for each of `BOOKKEEPING_BRANCHES`, as by `new_bookkeeping`.

    Raises:
        ShapeError: `bookkeeping` has other names than the layout.
    """
    import awkward as ak
    import uproot

    if set(bookkeeping) != set(BOOKKEEPING_BRANCHES):
        wrong = ", ".join(sorted(set(bookkeeping) ^ set(BOOKKEEPING_BRANCHES)))
        raise ShapeError(f"{path.name}: the bookkeeping differs from the layout in {wrong}")
    jets = [*JET_BRANCHES, *VARIED_N_TRK.values(), *MC_BRANCHES, "jet_region"]
    jets = [name for name in jets if name.startswith("jet_") and name in events.columns]
    options = {"compression": uproot.ZSTD(5), "uuid_function": partial(_identifier, events, bookkeeping)}
    # Of an open file uproot writes no name into it, which would be that of the part.
    with (
        replacing(path, parents=True) as part,
        part.open("w+b") as stream,
        _fixed_time(),
        uproot.recreate(stream, **options) as file,
    ):
        for start in range(0, max(len(events), 1), EVENTS_PER_BASKET):
            block = events[start : start + EVENTS_PER_BASKET]
            columns = block.columns
            # uproot writes one counter, njet, for all fields of a record, and names the branches jet_FIELD.
            record = ak.zip({name[4:]: columns[name] for name in jets})
            table: dict[str, Any] = {name: columns[name] for name in EVENT_BRANCHES}
            table["jet"] = ak.unflatten(record, np.diff(block.offset))
            if block.constituent_offset is not None:
                parts = ak.zip({name.partition("_")[2]: columns[name] for name in CONSTITUENT_BRANCHES})
                table["constituent"] = ak.unflatten(parts, np.diff(block.constituent_offset))
            if block.weight is not None:
                n_weights = np.full(len(block), block.weight.shape[1], dtype=np.int64)
                table["weight"] = ak.unflatten(block.weight.ravel(), n_weights)
            if start == 0:
                tree = file.mktree(EVENTS, {name: _kind(column) for name, column in table.items()}, title=MARK)
            tree.extend(table)
        entry = {name: _entry(kind, bookkeeping[name]) for name, kind in BOOKKEEPING_BRANCHES.items()}
        kinds = {name: _kind(column) for name, column in entry.items()}
        file.mktree(BOOKKEEPING, kinds, title=MARK).extend(entry)


def _identifier(events: Events, bookkeeping: Mapping[str, Any]) -> UUID:
    """The identifier of a file: a digest of its contents in place of a random number."""
    digest = sha256(repr([(name, str(bookkeeping[name])) for name in BOOKKEEPING_BRANCHES]).encode())
    for column in (*events.offsets.values(), *events.columns.values()):
        digest.update(np.ascontiguousarray(column).data)
    return UUID(bytes=digest.digest()[:16])


_WRITING: Final = Lock()
_TIME: Final = datetime(2020, 1, 1)


@contextmanager
def _fixed_time() -> Iterator[None]:
    """Let uproot write one time into all files: the clock would make each file another one."""
    from uproot import _util

    with _WRITING:
        code_of = _util.datetime_to_code
        _util.datetime_to_code = lambda _: code_of(_TIME)
        try:
            yield
        finally:
            _util.datetime_to_code = code_of


@contextmanager
def _tree(path: Path, name: str) -> Iterator[Any]:
    """A tree of a file, open while the block reads it; its errors become a `FileError`."""
    import uproot

    try:
        with uproot.open(path) as file:
            if name not in file:
                objects = dict.fromkeys(key.partition(";")[0] for key in file if not key.startswith("##"))
                raise FileError(
                    f"{path}: got {', '.join(objects) or 'no object'}, expected the tree {name!r} of a file by beampipe"
                    " calibration simulate or toy",
                    path=path,
                    name=name,
                )
            yield file[name]
    except FileError:
        raise
    except (OSError, ValueError, KeyError) as error:
        message = f"{path}: expected a ROOT file with the tree {name!r}, got {error}"
        raise FileError(message, path=path, name=name) from error


def read_bookkeeping(path: Path) -> dict[str, Any]:
    """The bookkeeping of a file, by name of the branch; `sum_weights` is (n_weights,) float64.

    Raises:
        FileError: the file is incomplete or has another layout.
    """
    with _tree(path, BOOKKEEPING) as tree:
        entries = tree.arrays(list(BOOKKEEPING_BRANCHES))
    row: dict[str, Any] = entries[0].to_list()
    return row | {"sum_weights": np.array(row["sum_weights"], dtype=np.float64)}


def read_ntuple(path: Path) -> Events:
    """All events of a file.

    Raises:
        FileError: the file is incomplete or has another layout.
    """
    import awkward as ak

    with _tree(path, EVENTS) as tree:
        arrays = tree.arrays([field.name for field in fields(Events) if field.name in tree])
    columns: dict[str, Any] = {}
    for name in arrays.fields:
        if offset := _offset_of(name):
            columns[offset] = np.concatenate([[0], np.cumsum(ak.num(arrays[name]).to_numpy())]).astype(np.int64)
        columns[name] = (ak.flatten(arrays[name]) if offset else arrays[name]).to_numpy()
    return Events(**columns)


def _kind(column: Any) -> Any:
    """The type of a column, from which uproot makes its branch."""
    return column.dtype if isinstance(column, ndarray) else column.type.content


def _entry(kind: str, value: Any) -> Any:
    """One value as a column of one entry."""
    import awkward as ak

    if kind == "string":
        return ak.Array([value])
    if np.ndim(value) == 1:
        return ak.Array(np.asarray(value, dtype=kind)[None].tolist())
    return np.array([value], dtype=kind)
