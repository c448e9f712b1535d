"""Pseudo-data with a known scale factor: events of a sample, with the jets of each flavour altered by a given amount.

If the pseudo-data are made from the nominal simulation of the calibration, statistical fluctuations cancel and only the
bias of the method remains. If they are made from an independent sample, they act as an experiment with known truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.errors import ConfigError, FileError, InputError, look_up
from beampipe.jets.ntuple_format import CONSTITUENT_BRANCHES
from beampipe.jets.substructure import IN_ALL, ONLY_IN_FAKES
from beampipe.random_numbers import keys, uniform
from beampipe.simulation.ntuples.ntuple_files import Events, file_name, read_bookkeeping, read_ntuple, write_ntuple

GLUON_LABEL: Final = 21
"""PDG number of the gluon, the label of gluon jets."""

_INJECTED: Final = 4
"""Identifier of this stream of random numbers; see `keys`. The detector uses 1 to 3."""


@dataclass(frozen=True)
class Injection:
    """Modification of the jets of each flavour.

    Attributes:
        name: name of the injection.
        quark_tracks: factor on the mean number of tracks of quark jets, 0 to 2. Below 1 each track is kept with this
            chance; above 1 each track is doubled with the chance by which the factor exceeds 1. So are the tracks among
            the constituents, if the files have them.
        gluon_tracks: factor on the mean number of tracks of gluon jets, 0 to 2.
        quark_shape: factor on width and c1 of quark jets, and on the distances of constituents from the jet's axis.
        gluon_shape: the same for gluon jets.
    """

    name: str
    quark_tracks: float = 1.0
    gluon_tracks: float = 1.0
    quark_shape: float = 1.0
    gluon_shape: float = 1.0

    def __post_init__(self) -> None:
        for flavour, factor in (("quark", self.quark_tracks), ("gluon", self.gluon_tracks)):
            if not 0 <= factor <= 2:
                raise ConfigError(f"injection {self.name}: got {flavour}_tracks {factor}, expected a number in [0, 2]")
        for flavour, factor in (("quark", self.quark_shape), ("gluon", self.gluon_shape)):
            if not factor > 0:
                raise ConfigError(f"injection {self.name}: got {flavour}_shape {factor}, expected a positive number")


_INJECTIONS: Final = (
    Injection("none"),
    Injection("fewer_tracks", 0.93, 0.93, 0.97, 0.97),
    Injection("quark_fewer", 0.92, 1.0, 0.96, 1.0),
    Injection("gluon_fewer", 1.0, 0.92, 1.0, 0.96),
    Injection("apart", 0.95, 1.05, 0.97, 1.03),
    Injection("closer", 1.05, 0.95, 1.03, 0.97),
)

INJECTIONS: Final = {injection.name: injection for injection in _INJECTIONS}
"""The injections by name. Fewer tracks make quark jets easier to accept: their scale factor rises."""


def inject(
    source: Sequence[Path],
    folder: Path,
    injection: Injection | str,
    *,
    seed: int = 1,
    dataset: str | None = None,
    progress: Callable[[Path], object] = lambda path: None,
) -> list[Path]:
    """Make pseudo-data from the files of a simulated sample, one output file per input file.

    Labels are kept as the truth, and the nominal weight; other weights and variations of the tracking are dropped.

    Args:
        source: files of one simulated sample.
        folder: where the new files go.
        injection: the injection, or a name of `INJECTIONS`.
        seed: seed which, with the numbers of run and event, fixes what happens to an event.
        dataset: name of the new dataset; by default the old name, followed by the name of the injection.
        progress: is called with each new file.

    Returns:
        The new files, in the order of the old ones.

    Raises:
        UnknownNameError: no injection has that name.
        FileError: a file is not of simulation, is incomplete or has another layout.
    """
    injection = _injection(injection)
    out = []
    for path in source:
        book, events = read_bookkeeping(path), read_ntuple(path)
        if events.jet_label is None or events.weight is None:
            message = f"{path}: got data (no labels, no weights), expected simulation to make pseudo-data from"
            raise FileError(message, path=path)
        name = dataset or _dataset(book, injection)
        settings = json.loads(book["settings"]) | {"injection": asdict(injection), "injection_seed": seed}
        book |= {
            "dataset": name,
            "sum_weights": book["sum_weights"][:1],
            "weight_names": "nominal",
            "settings": json.dumps(settings),
        }
        new = folder / file_name(name, book["slice"], book["file_number"])
        write_ntuple(new, altered(events, injection, seed), book)
        out.append(new)
        progress(new)
    return out


def injected_paths(source: Sequence[Path], folder: Path, injection: Injection | str) -> list[Path]:
    """The files that `inject` writes.

    Args:
        source: files of one simulated sample.
        folder: where the new files go.
        injection: the injection, or a name of `INJECTIONS`.

    Raises:
        UnknownNameError: no injection has that name.
        FileError: a file is incomplete or has another layout.
    """
    injection = _injection(injection)
    books = [read_bookkeeping(path) for path in source]
    return [folder / file_name(_dataset(book, injection), book["slice"], book["file_number"]) for book in books]


def _injection(injection: Injection | str) -> Injection:
    """An injection, by its name if one is given."""
    return injection if isinstance(injection, Injection) else look_up("injection", injection, INJECTIONS)


def _dataset(book: Mapping[str, Any], injection: Injection) -> str:
    """Name of the new dataset, unless another one is given."""
    return f"{book['dataset']}_{injection.name}"


def altered(events: Events, injection: Injection, seed: int) -> Events:
    """The events after an injection, with the nominal weight only.

    Args:
        events: simulated events.
        injection: modification of their jets.
        seed: seed which, with the numbers of run and event, fixes what happens to an event.

    Raises:
        InputError: the events are of data, or constituents of jets disagree with their numbers of tracks.
    """
    if events.jet_label is None or events.weight is None:
        raise InputError("injection: got data (no labels, no weights), expected simulated events")
    jet_event = np.repeat(np.arange(len(events)), np.diff(events.offset))
    rank = _numbers_within(jet_event)
    own = keys(np.full(len(jet_event), seed), _INJECTED, events.run[jet_event], events.event[jet_event], rank)
    gluon = events.jet_label == GLUON_LABEL
    shape = np.where(gluon, injection.gluon_shape, injection.quark_shape).astype(np.float32)
    factor = np.where(gluon, injection.gluon_tracks, injection.quark_tracks)
    jet = np.repeat(np.arange(len(gluon)), events.jet_n_trk)  # of each track
    chance = uniform(keys(own[jet], _numbers_within(jet)), 0)
    copies = (chance < factor[jet]).astype(np.int64) + (chance < factor[jet] - 1)
    return replace(
        events,
        jet_n_trk=np.bincount(jet, copies, len(gluon)).astype(np.uint16),
        jet_width=events.jet_width * shape,
        jet_c1=events.jet_c1 * shape,
        jet_n_trk_eff=None,
        jet_n_trk_fake=None,
        weight=events.weight[:, :1].copy(),
        **_altered_constituents(events, shape, copies),
    )


def _altered_constituents(
    events: Events, shape: Float32[ndarray, " n_jets"], copies: Int64[ndarray, " n_tracks"]
) -> dict[str, Any]:
    """The columns of constituents after an injection; none if the events have no constituents.

    Args:
        events: the events before.
        shape: factor on the distances from the axis of each jet.
        copies: number of copies of each counted track, by jet and falling pT.

    Raises:
        InputError: the tracks among the constituents of a jet are not those that are counted.
    """
    if events.constituent_offset is None:
        return {}
    kept = events.columns["constituent_variation"] != ONLY_IN_FAKES
    columns = {name: events.columns[name][kept] for name in CONSTITUENT_BRANCHES}
    event = np.repeat(np.arange(len(events)), np.diff(events.constituent_offset))[kept]
    jet = events.offset[event] + columns["constituent_jet"]
    charged = columns["constituent_charged"]
    if not np.array_equal(np.bincount(jet[charged], minlength=len(shape)), events.jet_n_trk):
        raise InputError(
            "injection: got jets with other numbers of tracks than among their constituents, expected equal"
        )
    for name, axis in (("constituent_eta", events.jet_eta), ("constituent_phi", events.jet_phi)):
        off = columns[name] - axis[jet]
        if name == "constituent_phi":
            off = _turned(off)
        columns[name] = axis[jet] + shape[jet] * off
    columns["constituent_phi"] = _turned(columns["constituent_phi"])
    columns["constituent_variation"][:] = IN_ALL
    repeated = np.ones(len(jet), np.int64)
    repeated[charged] = copies
    counts = np.bincount(event, repeated, len(events)).astype(np.int64)
    altered = {name: np.repeat(column, repeated) for name, column in columns.items()}
    return {"constituent_offset": np.concatenate([[0], np.cumsum(counts)]), **altered}


def _turned(phi: Float32[ndarray, " n"]) -> Float32[ndarray, " n"]:
    """Azimuths moved by full turns to -pi to pi."""
    return (phi + np.float32(np.pi)) % np.float32(2 * np.pi) - np.float32(np.pi)


def _numbers_within(owner: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
    """The position of each entry among those of its owner, for sorted owners."""
    return np.arange(len(owner)) - np.searchsorted(owner, owner)
