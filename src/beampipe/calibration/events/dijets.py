"""The table of selected dijet events, in memory and as a file."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int8, Int64, UInt16, UInt32, UInt64
from beampipe.errors import FileError

FLAVOURS: Final = ("light", "charm", "bottom", "gluon")
"""Names of the flavours; the index is the number of a flavour. All but gluon are quarks; data has number 0."""

CUT_NAMES: Final = (
    "all",
    "trigger",
    "two jets",
    "eta",
    "subleading pt",
    "leading pt",
    "pt ratio",
    "clean",
    "n_trk",
    "label",
    "weight",
)
"""Names of the cuts in their order; the cut flow counts the events that pass a cut and all before it."""

EVENT_CUTS: Final = "cuts"
"""Name of the cuts of the configuration's `cuts`, which follow those of `CUT_NAMES` if there are any."""

LAST_OF_PHASE_SPACE: Final = "pt ratio"
"""The last cut that defines which events are measured. Events that fail a cut after it are lost to the measurement."""


LARGEST_SHIFT: Final = 0.1
"""Largest relative change of a pT by a variation; `select` keeps all events that such a change could select."""


@dataclass(frozen=True)
class WeightUnits:
    """Units that weights and their squares are rounded to, so that sums are exact.

    Attributes:
        bits: number of bits after the point of a weight in units of 2**exponent.
        exponent: exponent of the power of 2 nearest to the median weight; weights may thus have any scale.
    """

    bits: int = 36
    exponent: int = 0

    @property
    def scale(self) -> float:
        """Units in a weight of 1."""
        return 2.0 ** (self.bits - self.exponent)

    @property
    def square_scale(self) -> float:
        """Units in a squared weight of 1."""
        return 2.0 ** (self.bits - 2 * self.exponent)


@dataclass(frozen=True, eq=False)
class CutFlow:
    """Numbers of events that pass each of `CUT_NAMES` and all cuts before it, with nominal pT and n_trk.

    Attributes:
        events: (n_cuts,) int64, numbers of events; with one more if there are `EVENT_CUTS`.
        weight: (n_cuts,) int64, sums of nominal weights in `WeightUnits`.
    """

    events: Int64[ndarray, " c"]
    weight: Int64[ndarray, " c"]


class RunRange(NamedTuple):
    """The range of event numbers of one run in a chunk.

    Attributes:
        run: number of the run.
        first: smallest event number of the run.
        last: largest event number of the run.
    """

    run: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Dijets:
    """Pairs of leading jets. The pair is ordered by the file's pT: leading first.

    The table also contains all events that a variation of the jet energy or of the tracking could select: the cuts on
    pT and n_trk are applied when histograms are filled. Its rows therefore do not depend on the variations.

    Attributes:
        run: (n,) uint32, number of the run.
        event: (n,) uint64, number of the event.
        entry: (n,) uint32, index of the event in the range of the file that was read.
        jet: (n, 2) uint16, index of each jet in its event.
        weight: (n, n_weights) float32, weights of the event, nominal first; ones for data.
        pt: (n, 2) float32, transverse momentum of each jet [GeV].
        eta: (n, 2) float32, pseudorapidity of each jet.
        n_trk: (n, 2) uint16, number of tracks of each jet.
        width: (n, 2) float32, width of each jet; NaN if it was not read.
        c1: (n, 2) float32, two-point energy correlation of each jet; NaN if it was not read.
        label: (n, 2) int8, number in `FLAVOURS` of each jet; 0 for data.
        region: (n, 2) int8, number in `REGIONS` of each jet that the file has, or -1; None if regions follow from eta.
        cut_flow: numbers of events after each cut.
        ranges: range of event numbers of each run, of all events before cuts.
        varied_n_trk: (n, 2) uint16, number of tracks of each jet, by name of the variation.
        scores: (n, 2) float32, scores that the files have, by name of the tagger.
        kept: (n,) numbers of the event for cuts, by name of the branch.
    """

    run: UInt32[ndarray, " n"]
    event: UInt64[ndarray, " n"]
    entry: UInt32[ndarray, " n"]
    jet: UInt16[ndarray, "n 2"]
    weight: Float32[ndarray, "n w"]
    pt: Float32[ndarray, "n 2"]
    eta: Float32[ndarray, "n 2"]
    n_trk: UInt16[ndarray, "n 2"]
    width: Float32[ndarray, "n 2"]
    c1: Float32[ndarray, "n 2"]
    label: Int8[ndarray, "n 2"]
    region: Int8[ndarray, "n 2"] | None
    cut_flow: CutFlow
    ranges: tuple[RunRange, ...] = ()
    varied_n_trk: Mapping[str, UInt16[ndarray, "n 2"]] = field(default_factory=dict)
    scores: Mapping[str, Float32[ndarray, "n 2"]] = field(default_factory=dict)
    kept: Mapping[str, ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.run)

    def part(self, chosen: Int64[ndarray, " m"]) -> Dijets:
        """Some of the events, by their indices; cut flow and ranges stay those of all events."""

        def taken(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: each[chosen] for name, each in value.items()}
            return value[chosen] if isinstance(value, ndarray) else value

        return replace(self, **{item.name: taken(getattr(self, item.name)) for item in fields(self)})


_SHORT: Final = {"run": "u4", "weight": "f4", "jet": "u2", "n_trk": "u2", "label": "i1", "region": "i1"}
"""Columns that `_shortened` writes in fewer bytes -> their types in `Dijets`."""

_OBSERVABLES: Final = ("width", "c1")
_SCORE: Final = "score:"
_KEPT: Final = "kept:"


def not_read(shape: tuple[int, ...]) -> Float32[ndarray, "n 2"]:
    """The values of an observable that was not read: NaN, without memory of their own."""
    return np.broadcast_to(np.float32(np.nan), shape)


def write_dijets(dijets: Dijets, path: Path) -> None:
    """Write dijet events as a .npz with an array per column; no value is rounded.

    Only the nominal weight and n_trk are written: `select.with_variations` reads others from the file of the events.
    Observables that were not read are left out. To save bytes, `event` and `entry` are written as differences between
    consecutive rows, whole numbers in the narrowest type that holds them, and a column of equal rows as a single row.
    """
    nominal = replace(dijets, weight=dijets.weight[:, :1])
    columns: dict[str, Any] = {
        name: _shortened(values) for name in _SHORT if (values := getattr(nominal, name)) is not None
    }
    columns |= {"pt": dijets.pt, "eta": dijets.eta}
    columns |= {name: values for name in _OBSERVABLES if not np.isnan((values := getattr(dijets, name))[:1]).any()}
    columns |= {_SCORE + name: values for name, values in dijets.scores.items()}
    columns |= {_KEPT + name: values for name, values in dijets.kept.items()}
    columns["entry"] = _shortened(np.diff(dijets.entry, prepend=np.uint32(0)))
    columns["ranges"] = np.array(dijets.ranges, np.uint64).reshape(-1, 3)
    columns["event"] = _shortened(np.diff(dijets.event, prepend=columns["ranges"][:1, 1].sum()))  # 0 without any range
    columns |= {"passed": dijets.cut_flow.events, "passed_weight": dijets.cut_flow.weight}
    np.savez(path, **columns)


def _shortened(values: ndarray) -> ndarray:
    """One row if all are equal; else unsigned integers in the narrowest type that holds them."""
    flat, width = values.reshape(-1), values[:1].size  # numpy is slow along short axes
    if (flat[width:] == flat[:-width]).all():
        return values[:1]
    return values.astype(np.min_scalar_type(values.max())) if values.dtype.kind == "u" else values


def write_variations(dijets: Dijets, path: Path) -> None:
    """Write the weights and the numbers of tracks of variations, which `write_dijets` leaves out."""
    columns: dict[str, Any] = {"weight": dijets.weight[:, 1:], **dijets.varied_n_trk}
    np.savez(path, **columns)


def read_variations(dijets: Dijets, path: Path) -> Dijets:
    """A table with what `write_variations` wrote.

    Raises:
        FileError: the file has another format.
    """
    varied = read_columns(path, "weights and numbers of tracks of variations")
    try:
        return replace(
            dijets, weight=np.concatenate([dijets.weight, varied.pop("weight")], axis=1), varied_n_trk=varied
        )
    except (KeyError, ValueError) as error:
        raise FileError(f"{path}: got no variations ({error})", path=path) from error


def read_dijets(path: Path) -> Dijets:
    """Read what `write_dijets` wrote.

    Raises:
        FileError: the file has another format.
    """
    columns = read_columns(path, "table of dijet events")
    try:
        pt, ranges = columns["pt"], tuple(RunRange(*numbers) for numbers in columns["ranges"].tolist())

        def restored(name: str, dtype: str) -> Any:
            if name == "region" and name not in columns:
                return None
            values = columns[name].astype(dtype, copy=False)
            return np.broadcast_to(values, (len(pt), *values.shape[1:]))

        return Dijets(
            **{name: columns[name] for name in ("pt", "eta")},
            event=np.cumsum(restored("event", "u8")) + columns["ranges"][:1, 1].sum(),
            entry=np.cumsum(restored("entry", "u4"), dtype=np.uint32),
            **{name: restored(name, dtype) for name, dtype in _SHORT.items()},
            **{name: columns.get(name, not_read(pt.shape)) for name in _OBSERVABLES},
            scores={name.removeprefix(_SCORE): columns[name] for name in columns if name.startswith(_SCORE)},
            kept={name.removeprefix(_KEPT): columns[name] for name in columns if name.startswith(_KEPT)},
            cut_flow=CutFlow(columns["passed"], columns["passed_weight"]),
            ranges=ranges,
        )
    except (KeyError, ValueError) as error:
        raise FileError(f"{path}: got no table of dijet events ({error})", path=path) from error


def read_columns(path: Path, content: str) -> dict[str, Any]:
    """Read the arrays of a .npz; `content` is what the error of another format misses.

    Raises:
        FileError: the file has another format.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, AttributeError, BadZipFile, zlib.error) as error:
        raise FileError(f"{path}: got no {content} ({error})", path=path) from error
