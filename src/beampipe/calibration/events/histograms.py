"""Exact histograms and their files. Sums are 64-bit integers in `WeightUnits`, independent of the order.

In files the bytes of integers are transposed (all lowest bytes first) and compressed with ZSTD, which is twenty times
faster than zlib.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.calibration.config import REGIONS, JetBin, jet_bins
from beampipe.calibration.events.dijets import CutFlow, read_columns
from beampipe.errors import FileError, InputError, look_up

_SHAPES, _PLANES = "shapes", "planes"
"""Members with the shapes of all compressed arrays, as JSON, and with their bytes."""

_LEVEL: Final = 1


def write_arrays(path: Path, arrays: Mapping[str, ndarray]) -> None:
    """Write arrays; those of int64 are compressed together. The same arrays give the same bytes."""
    import cramjam

    whole = {name: array for name, array in arrays.items() if array.dtype == np.int64}
    others: dict[str, Any] = {name: array for name, array in arrays.items() if name not in whole}
    others[_SHAPES] = np.frombuffer(json.dumps({name: array.shape for name, array in whole.items()}).encode(), np.uint8)
    numbers = np.concatenate([np.empty(0, np.int64), *(array.ravel() for array in whole.values())])
    # The highest bytes of numbers are nearly all equal: transpose the bytes before they are compressed.
    planes = np.ascontiguousarray(numbers.astype("<i8", copy=False).view(np.uint8).reshape(-1, 8).T)
    others[_PLANES] = np.frombuffer(bytes(cramjam.zstd.compress(planes.data, _LEVEL)), np.uint8)
    np.savez(path, **others)


def read_arrays(path: Path) -> dict[str, ndarray]:
    """Read the arrays that `write_arrays` wrote.

    Raises:
        FileError: the file has another format.
    """
    import cramjam

    out = read_columns(path, "histograms")
    try:
        shapes = json.loads(bytes(out.pop(_SHAPES)))
        sizes = [math.prod(shape) for shape in shapes.values()]
        planes = np.empty(8 * sum(sizes), np.uint8)
        n = cramjam.zstd.decompress_into(out.pop(_PLANES).data, planes.data)
        if n != len(planes):
            raise ValueError(f"got {n} bytes, expected {len(planes)}")
        numbers: ndarray = np.ascontiguousarray(planes.reshape(8, -1).T).view("<i8").ravel()
        parts = np.split(numbers.astype(np.int64, copy=False), np.cumsum(sizes)[:-1])
        return out | {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=False)}
    except (KeyError, ValueError, cramjam.DecompressionError) as error:
        raise FileError(f"{path}: got no histograms ({error})", path=path) from error


class TaggerBins(NamedTuple):
    """A tagger's part of the axis x.

    Attributes:
        name: name of the tagger.
        bins: number of bins of the tagger.
    """

    name: str
    bins: int


@dataclass(frozen=True)
class Axes:
    """Axes of the histograms; a row is a bin of (eta, pt, region, flavour, x), x over the bins of all taggers.

    Attributes:
        pt_edges: edges of the bins of jet pT [GeV].
        flavours: names of the flavours.
        taggers: name and number of bins of each tagger.
        eta_edges: edges of the bins of jet \\|eta\\|; none for a single bin.
    """

    pt_edges: tuple[float, ...]
    flavours: tuple[str, ...]
    taggers: tuple[TaggerBins, ...]
    eta_edges: tuple[float, ...] = ()

    @property
    def bins(self) -> tuple[JetBin, ...]:
        """The bins of jets, in their order."""
        return jet_bins(self.pt_edges, self.eta_edges)

    @property
    def width(self) -> int:
        """Bins of all taggers together."""
        return sum(tagger.bins for tagger in self.taggers)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of bins of jets, of regions, of flavours and of x."""
        return len(self.bins), len(REGIONS), len(self.flavours), self.width

    @property
    def n_rows(self) -> int:
        """Number of cells in all."""
        return int(np.prod(self.shape))

    def columns(self, tagger: str) -> slice:
        """Bins of one tagger on the axis x.

        Raises:
            UnknownNameError: there is no such tagger.
        """
        bins = dict(self.taggers)
        end = look_up("tagger", tagger, dict(zip(bins, accumulate(bins.values()), strict=True)))
        return slice(end - bins[tagger], end)


class FilledColumns(NamedTuple):
    """The variations of histograms.

    Attributes:
        weight_names: names of the weights, nominal first.
        kinematics: names of the variations of jets.
        replicas: numbers of the bootstrap replicas.
    """

    weight_names: tuple[str, ...]
    kinematics: tuple[str, ...]
    replicas: range


@dataclass(frozen=True, eq=False)
class Filled:
    """Exact histograms of a chunk, or the sum over many chunks.

    Attributes:
        axes: axes of all arrays.
        weight_names: names of the weights, nominal first.
        kinematics: names of the variations of jets.
        sumw: (n_rows, n_weights) int64, sums of every weight over nominal jets.
        sumw2: (n_rows, n_weights) int64, sums of the squares of every weight over nominal jets.
        varied_sumw: (n_kinematics, n_rows) int64, sums of the nominal weight over varied jets.
        varied_sumw2: (n_kinematics, n_rows) int64, sums of the square of the nominal weight over varied jets.
        replicas: (n_rows, n_replicas) int64, sums of the nominal weight over nominal jets, each event counted as often
            as its Poisson number.
        entries: (n_rows,) int64, numbers of nominal jets.
        cut_flow: events after each cut.
        bound: upper bound of the absolute values of all sums.
        groups: (n_groups, n_weights + n_kinematics, n_rows) int64, the sums of `sumw` and `varied_sumw` over the events
            of each group; no groups if they are not configured.
        first_replica: number of the first replica.
    """

    axes: Axes
    weight_names: tuple[str, ...]
    kinematics: tuple[str, ...]
    sumw: Int64[ndarray, "r w"]
    sumw2: Int64[ndarray, "r w"]
    varied_sumw: Int64[ndarray, "k r"]
    varied_sumw2: Int64[ndarray, "k r"]
    replicas: Int64[ndarray, "r b"]
    entries: Int64[ndarray, " r"]
    cut_flow: CutFlow
    bound: float = 0.0
    groups: Int64[ndarray, "g c s"] = field(default_factory=lambda: np.zeros((0, 0, 0), np.int64))
    first_replica: int = 0

    @classmethod
    def empty(cls, axes: Axes, columns: FilledColumns, cut_flow: CutFlow) -> Filled:
        """Histograms that are zero everywhere."""
        rows, weights, varied, replicas = axes.n_rows, *map(len, columns)
        # One allocation: numpy requests huge pages for large arrays, which are faster to obtain.
        sums = np.zeros((2, rows, weights), np.int64)
        return cls(
            axes=axes,
            weight_names=columns.weight_names,
            kinematics=columns.kinematics,
            sumw=sums[0],
            sumw2=sums[1],
            varied_sumw=np.zeros((varied, rows), np.int64),
            varied_sumw2=np.zeros((varied, rows), np.int64),
            replicas=np.zeros((rows, replicas), np.int64),
            entries=np.zeros(rows, np.int64),
            cut_flow=cut_flow,
            first_replica=columns.replicas.start,
        )

    @property
    def columns(self) -> FilledColumns:
        """The variations."""
        replicas = range(self.first_replica, self.first_replica + self.replicas.shape[1])
        return FilledColumns(self.weight_names, self.kinematics, replicas)

    @property
    def n_groups(self) -> int:
        """Number of groups of events."""
        return len(self.groups)

    def bounded(self) -> Filled:
        """The histograms with the largest absolute sum as `bound`."""
        arrays = [*(getattr(self, name) for name in _SUMS), self.cut_flow.weight]
        sizes = (max(int(array.max()), -int(array.min())) for array in arrays if array.size)
        return replace(self, bound=float(max(sizes, default=0)))


MOST: Final = 2.0**62
"""Upper limit of sums: half of the int64 range, so that the bound itself may be rounded."""

_SUMS: Final = {"sumw": 0, "sumw2": 0, "replicas": 0, "entries": 0, "varied_sumw": 1, "varied_sumw2": 1}
"""Arrays of sums -> their axis of rows."""

_ROWS_OF: Final = {**_SUMS, "groups": 2}
"""All arrays that are summed over chunks -> their axis of rows."""


_ROOM: Final = 4
"""Safety margin [bits] of the number that the error suggests: sums over all chunks are larger than those of one."""


def refuse_overflow(bound: float, bits: int | None = None) -> None:
    """Raise an error before sums can exceed 64 bits; `bits` are those of the weights, if they are known here.

    Raises:
        InputError: `bound` is too large.
    """
    if bound >= MOST:
        fewer = math.ceil(math.log2(bound / MOST)) + _ROOM if bound < math.inf else math.inf
        advice = f"set weight_bits = {(bits or 36) - fewer} for the sample" + ", if it has the default, 36" * (not bits)
        if fewer >= (bits or 36):
            advice = "their sizes differ too much: drop the largest by selection.max_weight, e.g. 1e4 medians"
        raise InputError(f"sums of weights could reach {bound:.2g} units, more than 64 bits hold; {advice}")


def merge(parts: Iterable[Filled]) -> Filled:
    """The sum of parts with the same axes; it does not depend on order or grouping.

    Raises:
        InputError: there is no part, their axes differ, or 64 bits could overflow.
    """
    total: Filled | None = None
    for part in parts:
        if total is None:
            total = replace(part, **{name: getattr(part, name).copy() for name in _ROWS_OF})
            continue
        for name in ("axes", "weight_names", "kinematics", "n_groups", "first_replica"):
            if getattr(part, name) != getattr(total, name):
                raise InputError(
                    f"merging histograms: got {name} {getattr(part, name)}, expected {getattr(total, name)}"
                )
        # A cell of the sum is at most the sum of the largest cells.
        refuse_overflow(total.bound + part.bound)
        for name in _ROWS_OF:
            np.add(getattr(total, name), getattr(part, name), out=getattr(total, name))
        flow = CutFlow(total.cut_flow.events + part.cut_flow.events, total.cut_flow.weight + part.cut_flow.weight)
        total = replace(total, cut_flow=flow, bound=total.bound + part.bound)
    if total is None:
        raise InputError("merging histograms: got none, expected at least one")
    return total


def joined(parts: Sequence[Filled], columns: FilledColumns) -> Filled:
    """Histograms of the same events, of which each part has some of the variations, and all have the nominal ones.

    Args:
        parts: histograms that together have all variations.
        columns: variations of the result.

    Raises:
        InputError: the parts differ in the nominal histograms, or a variation is in none.
    """
    first = parts[0]
    for part in parts[1:]:
        nominal = ((each.sumw[:, 0], each.sumw2[:, 0], each.entries, each.cut_flow.events) for each in (first, part))
        if not all(map(np.array_equal, *nominal)):
            raise InputError("histograms of variations: got different nominal ones, expected those of the same events")
    if first.columns == columns:
        return first.bounded()
    out = Filled.empty(first.axes, columns, first.cut_flow)
    np.copyto(out.entries, first.entries)
    weights, jets, replicas = (_places(parts, k, wanted) for k, wanted in enumerate(columns))
    for k, (part, own) in enumerate(weights):
        out.sumw[:, k], out.sumw2[:, k] = part.sumw[:, own], part.sumw2[:, own]
    for k, (part, own) in enumerate(jets):
        out.varied_sumw[k], out.varied_sumw2[k] = part.varied_sumw[own], part.varied_sumw2[own]
    for k, (part, own) in enumerate(replicas):
        out.replicas[:, k] = part.replicas[:, own]
    if first.n_groups:
        in_groups = [part.groups[:, own] for part, own in weights]
        in_groups += [part.groups[:, len(part.weight_names) + own] for part, own in jets]
        out = replace(out, groups=np.stack(in_groups, axis=1))
    return out.bounded()


def _places(parts: Sequence[Filled], kind: int, wanted: Sequence[object]) -> list[tuple[Filled, int]]:
    """The part that has each of the wanted columns of a kind, and the index of the column in it."""
    places = {name: (part, own) for part in parts for own, name in enumerate(part.columns[kind])}
    lacking = [name for name in wanted if name not in places]
    if lacking:
        raise InputError(f"histograms of variations: got none of {lacking[0]}, expected all variations")
    return [places[name] for name in wanted]


def write_filled(filled: Filled, path: Path) -> None:
    """Write histograms as a .npz of arrays; rows that are empty everywhere are left out."""
    rows = np.flatnonzero(
        filled.entries.astype(bool) | filled.varied_sumw.any(axis=0) | filled.varied_sumw2.any(axis=0)
    )
    axes, kept = filled.axes, _ROWS_OF if filled.n_groups else _SUMS
    arrays: dict[str, Any] = {name: getattr(filled, name).take(rows, axis=axis) for name, axis in kept.items()}
    arrays |= {
        "rows": rows,
        "pt_edges": np.array(axes.pt_edges),
        "eta_edges": np.array(axes.eta_edges, np.float64),
        "flavours": np.array(axes.flavours),
        "taggers": np.array([tagger.name for tagger in axes.taggers]),
        "bins": np.array([tagger.bins for tagger in axes.taggers]),
        "weight_names": np.array(filled.weight_names),
        "kinematics": np.array(filled.kinematics, dtype=str),
        "events": filled.cut_flow.events,
        "event_weights": filled.cut_flow.weight,
        "bound": np.array(filled.bound),
        "first_replica": np.array(filled.first_replica),
    }
    write_arrays(path, arrays)


def read_filled(path: Path) -> Filled:
    """Read what `write_filled` wrote.

    Raises:
        FileError: the file has another format.
    """
    arrays = read_arrays(path)
    try:
        axes = Axes(
            tuple(arrays["pt_edges"].tolist()),
            tuple(arrays["flavours"].tolist()),
            tuple(map(TaggerBins, arrays["taggers"].tolist(), arrays["bins"].tolist())),
            tuple(arrays["eta_edges"].tolist()),
        )
        rows, n_rows = arrays["rows"], axes.n_rows
        whole: dict[str, Any] = {}
        for name, axis in (_ROWS_OF if "groups" in arrays else _SUMS).items():
            part = arrays[name]
            whole[name] = np.zeros((*part.shape[:axis], n_rows, *part.shape[axis + 1 :]), np.int64)
            whole[name][(slice(None),) * axis + (rows,)] = part
        return Filled(
            axes=axes,
            weight_names=tuple(arrays["weight_names"].tolist()),
            kinematics=tuple(arrays["kinematics"].tolist()),
            cut_flow=CutFlow(arrays["events"], arrays["event_weights"]),
            bound=float(arrays["bound"]),
            first_replica=int(arrays["first_replica"]),
            **whole,
        )
    except (KeyError, ValueError) as error:
        raise FileError(f"{path}: got no histograms ({error})", path=path) from error
