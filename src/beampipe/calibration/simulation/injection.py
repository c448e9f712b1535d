"""Pseudo-data with a known answer: the events of a sample, with the jets of each flavour altered by a stated amount.

Made from the events that the calibration takes as its simulation, the statistics of the two cancel and what is left is
the method; made from an independent sample, it is an experiment with a known truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt16
from numpy import ndarray

from beampipe.calibration.simulation.randoms import keys, uniform
from beampipe.calibration.simulation.write import Events, file_name, read_bookkeeping, read_ntuple, write_ntuple
from beampipe.errors import ConfigError, FileError, UnknownNameError

__all__ = ["INJECTIONS", "Injection", "altered", "inject"]

GLUON_LABEL: Final = 21
_OWN: Final = 4  # kind of the random numbers, beside those of the detector


@dataclass(frozen=True)
class Injection:
    """What is done to the jets of each flavour.

    Attributes:
        name: of the injection.
        quark_tracks: mean number of tracks after over before. Below 1 each track is kept with this chance; up to 2
            each is doubled with the chance that is above 1.
        gluon_tracks: the same for gluon jets.
        quark_shape: factor on width and c1.
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
"""Name -> injection. Fewer tracks make quark jets easier to accept: their scale factor rises."""


def inject(
    source: Sequence[Path],
    folder: Path,
    injection: Injection | str,
    *,
    seed: int = 1,
    dataset: str | None = None,
    progress: Callable[[Path], object] | None = None,
) -> list[Path]:
    """Make pseudo-data from the files of a simulated sample, one file each.

    Labels stay, they are the truth; of the weights only the nominal one stays, and the varied track counts go.

    Args:
        source: files of one sample.
        folder: where the new files go.
        injection: what to do, or a name of `INJECTIONS`.
        seed: with run and number of an event it fixes what happens to it.
        dataset: of the new files; by default the old name and the injection's.
        progress: called with each new file.

    Raises:
        UnknownNameError: there is no such injection.
        FileError: a file is no simulation.
    """
    if isinstance(injection, str):
        if injection not in INJECTIONS:
            raise UnknownNameError("injection", injection, INJECTIONS)
        injection = INJECTIONS[injection]
    out = []
    for path in source:
        book, events = read_bookkeeping(path), read_ntuple(path)
        if events.jet_label is None or events.weight is None:
            raise FileError(f"{path}: got data (no labels, no weights), expected simulation to make pseudo-data from")
        name = dataset or f"{book['dataset']}_{injection.name}"
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
        if progress:
            progress(new)
    return out


def altered(events: Events, injection: Injection, seed: int) -> Events:
    """The events after an injection, with the nominal weight only.

    Args:
        events: simulation.
        injection: what to do.
        seed: see `inject`.
    """
    assert events.jet_label is not None
    assert events.weight is not None
    counts = np.diff(events.offset)
    jet_event = np.repeat(np.arange(len(events)), counts)
    place = np.arange(len(jet_event)) - events.offset[jet_event]
    own = keys(np.full(len(jet_event), seed), _OWN, events.run[jet_event], events.event[jet_event], place)
    gluon = events.jet_label == GLUON_LABEL

    def by_flavour(quark: float, other: float) -> Any:
        return np.where(gluon, other, quark)

    shape = by_flavour(injection.quark_shape, injection.gluon_shape).astype(np.float32)
    return replace(
        events,
        jet_n_trk=_altered_counts(events.jet_n_trk, by_flavour(injection.quark_tracks, injection.gluon_tracks), own),
        jet_width=events.jet_width * shape,
        jet_c1=events.jet_c1 * shape,
        jet_n_trk_eff=None,
        jet_n_trk_fake=None,
        weight=events.weight[:, :1].copy(),
    )


def _altered_counts(n_trk: UInt16[ndarray, " n"], factor: ndarray, own: ndarray) -> UInt16[ndarray, " n"]:
    """Each track kept or doubled on its own, with the chances of its jet."""
    jet = np.repeat(np.arange(len(n_trk)), n_trk)
    track = np.arange(len(jet)) - np.repeat(np.cumsum(n_trk, dtype=np.int64) - n_trk, n_trk)
    chance = uniform(keys(own[jet], track), 0)
    n_left = (chance < factor[jet]).astype(np.int64) + (chance < factor[jet] - 1)
    return np.bincount(jet, n_left, len(n_trk)).astype(np.uint16)
