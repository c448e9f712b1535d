"""Variations: their names, shifts of the jet energy, varied jets, and the random numbers of an event.

The model of the jet energy replaces the uncertainties that an experiment publishes for its jets. Scale: each parameter
shifts the pT of jets around one point in pT and \\|eta\\| by up to 1 %, as a product of two triangular functions; in
quadrature all of them stay below 1 %. Resolution: each parameter widens the resolution around one pT by up to 10 %,
with a random number for each event and jet; ``down`` shifts a jet by the same amount in the opposite direction, as a
resolution cannot be narrowed by adding noise.

All factors are within 1 +- `LARGEST_SHIFT`. They use only additions, products and one square root, so that every
processor gives the same numbers.

Random numbers are functions of the event, and thus independent of the order, the chunk and the worker.

To add a variation of jets, write a function of columns of `Dijets`, and add a `JetVariation` to `IN_MEMORY`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from hashlib import sha256
from itertools import product
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Integer, UInt8, UInt16, UInt64
from beampipe.calibration.config import Energy
from beampipe.calibration.events.dijets import LARGEST_SHIFT, Dijets
from beampipe.errors import InputError, UnknownNameError
from beampipe.random_numbers import mix

VariationKind = Literal["nominal", "weight", "jets", "sample", "method", "extraction"]
"""What is varied: nothing, the weights of events, the jets, the whole sample, the method, or only its extraction."""

NOMINAL: Final = "nominal"
"""Name of the weight and of the jets that are not varied."""

_ALONE: Final = ("nominal", "method")
"""Kinds whose names are written without the kind as prefix; all such names are defined here."""


@dataclass(frozen=True)
class Variation:
    """One case for which a scale factor is computed.

    Attributes:
        kind: kind of the variation.
        name: name of the weight, of the variation of jets, of the sample, of the method or of
            the extraction.
    """

    kind: VariationKind
    name: str

    def __str__(self) -> str:
        """The text for files and messages: ``weight:pdf_1``, ``jets:jes_1_up``, ``sample:herwig``, ``nominal``."""
        return self.name if self.kind in _ALONE else f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Variation:
        """The variation of a text written by `str`."""
        kind, colon, name = text.partition(":")
        for prefixed in get_args(VariationKind):
            if colon and kind == prefixed:
                return cls(prefixed, name)
        return UNVARIED if text == NOMINAL else cls("method", text)

    def matches(self, kind: VariationKind, patterns: Sequence[str]) -> bool:
        """Whether the variation is of a kind, and its name matches one of the patterns (``pdf_*``)."""
        return self.kind == kind and bool(matching((self.name,), patterns))


UNVARIED: Final = Variation("nominal", NOMINAL)
"""The nominal case, in which nothing is varied."""

GLUON_REWEIGHT: Final = Variation("method", "gluon_reweight")
"""The case in which central jets are weighted by the factors of gluons."""


def matching_or_error(what: str, names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The names that match any of the patterns; each pattern must match at least one name.

    Args:
        what: kind of the names, for the message.
        names: all names, in the order of the result.
        patterns: patterns as of a shell, e.g. ``jes_*``.

    Raises:
        UnknownNameError: a pattern matches none.
    """
    for pattern in patterns:
        if not matching(names, (pattern,)):
            raise UnknownNameError(what, pattern, names)
    return matching(names, patterns)


def matching(names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The names that match one of the patterns (``pdf_*``), in the order of the names."""
    wild = [pattern for pattern in patterns if any(sign in pattern for sign in "*?[")]
    plain = set(patterns).difference(wild)
    return tuple(name for name in names if name in plain or any(fnmatchcase(name, pattern) for pattern in wild))


def event_keys(
    dataset: int | np.uint64, run: Integer[ndarray, " n"], event: Integer[ndarray, " n"]
) -> UInt64[ndarray, " n"]:
    """One key per event.

    Args:
        dataset: key of the dataset, 64 bits.
        run: numbers of the runs.
        event: numbers of the events.
    """
    run, event = run.astype(np.uint64), event.astype(np.uint64)
    return mix(mix(np.uint64(dataset) + run) + event)


def poisson_table() -> UInt8[ndarray, " p"]:
    """The Poisson number of mean 1 for each 16-bit uniform random number, by inversion.

    The rounding to 16 bits changes the mean by less than 2e-5.
    """
    table = np.zeros(65536, np.uint8)
    probability, cumulated = np.exp(-1.0), 0.0
    for k in range(1, 9):
        cumulated += probability
        table[int(np.rint(cumulated * 65536)) :] = k
        probability /= k
    return table


POISSON: Final = poisson_table()
"""Poisson numbers of mean 1; see `poisson_table`."""


class EnergyModel(NamedTuple):
    """Constants of the model of the jet energy.

    Attributes:
        scale: largest relative shift of the jet energy scale.
        resolution: relative resolution of the jet pT.
        widening: largest relative widening of the resolution.
        low_pt: pT of the first point [GeV].
        high_pt: pT of the last point [GeV].
        last_eta: \\|eta\\| of the last point; the first is at 0.
        pt_nodes: number of points in pT around which a parameter of the scale shifts jets.
        noise_seed: added to the number of each random number.
    """

    scale: float
    resolution: float
    widening: float
    low_pt: float
    high_pt: float
    last_eta: float
    pt_nodes: int
    noise_seed: int


MODEL: Final = EnergyModel(0.01, 0.045, 0.1, 500.0, 2000.0, 2.1, 5, 0x5EED)
"""The model in use. Its constants are arbitrary; the resolution is about that of the toy detector of `simulation` at
500 GeV."""


KERNELS: Final = ("tracks", "scale", "resolution")
"""Variations of jets that the compiled filler computes itself, as it numbers them."""


@dataclass(frozen=True)
class JetVariation:
    """A variation of the jets of nominal simulation. Systematics choose it by its name: ``kinematics = ["jes_*"]``.

    Attributes:
        name: name of the variation.
        title: what is varied, in a few words.
        group: what it belongs to, e.g. ``tracking``.
        makes: the column of jets that it changes: ``pt`` [GeV], by at most `LARGEST_SHIFT`, or ``n_trk``.
        reads: columns of `Dijets` that `vary` takes, in its order. Width and c1 are NaN where no tagger reads them.
        vary: function that returns (n, 2) varied numbers, which must not depend on other events; n_trk is rounded.
            None if the files have the varied numbers.
        kernel: number of the variation in the compiled filler: index in `KERNELS`, number and sign of the parameter.
            None if only `vary` computes it, from the tables of selected events.
        points: number of points of the model that it is part of; histograms are filled again if it changes.
    """

    name: str
    title: str
    group: str
    makes: Literal["pt", "n_trk"]
    reads: tuple[str, ...] = ()
    vary: Callable[..., ndarray] | None = None
    kernel: tuple[int, int, float] | None = None
    points: int = 0


IN_FILES: Final = (
    JetVariation("trk_eff", "lower tracking efficiency", "tracking", "n_trk", kernel=(0, 0, 0.0)),
    JetVariation("trk_fake", "more fake tracks", "tracking", "n_trk", kernel=(0, 0, 0.0)),
)
"""Variations whose numbers of tracks the files have, in the branches `VARIED_N_TRK`."""

IN_MEMORY: Final[tuple[JetVariation, ...]] = ()
"""Variations that are computed from the tables of selected events, without branches or settings of their own."""


@cache
def jet_variations(energy: Energy) -> Mapping[str, JetVariation]:
    """All variations of jets by name; those of the energy are ``jes_1_up``, ``jes_1_down``, ... ``jer_1_up``, ..."""
    across = eta_nodes(energy)
    every = [*IN_FILES, *IN_MEMORY]
    for number, (way, sign) in product(range(energy.scale), _WAYS.items()):
        name, vary = f"jes_{number + 1}_{way}", partial(_scaled, number, across, sign)
        title, reads = f"jet energy scale, parameter {number + 1} {way}", ("pt", "eta")
        every.append(JetVariation(name, title, "energy scale", "pt", reads, vary, (1, number, sign), across))
    n = energy.resolution
    for number, (way, sign) in product(range(n), _WAYS.items()):
        name, vary = f"jer_{number + 1}_{way}", partial(_smeared, number, n, sign)
        title, needs = f"jet energy resolution, parameter {number + 1} {way}", ("pt", "run", "event")
        every.append(JetVariation(name, title, "energy resolution", "pt", needs, vary, (2, number, sign), n))
    return {variation.name: variation for variation in every}


def built_in_variations(in_files: Sequence[str], energy: Energy) -> tuple[str, ...]:
    """Names of the variations of jets that files with some of `IN_FILES` can have."""
    others = (name for name, variation in jet_variations(energy).items() if variation.vary is not None)
    return (*in_files, *others)


_WAYS: Final = {"up": 1.0, "down": -1.0}


def eta_nodes(energy: Energy) -> int:
    """Number of points in \\|eta\\| around which a parameter of the scale shifts jets."""
    return -(-energy.scale // MODEL.pt_nodes)


def _scaled(
    number: int, n_eta_nodes: int, sign: float, pt: Float32[ndarray, "n 2"], eta: Float32[ndarray, "n 2"]
) -> Float64[ndarray, "n 2"]:
    """pT with a parameter of the jet energy scale shifted."""
    across = np.abs(eta.astype(np.float64)) / MODEL.last_eta
    in_pt = _triangle(_along(pt), number % MODEL.pt_nodes, MODEL.pt_nodes)
    in_eta = _triangle(across, number // MODEL.pt_nodes, n_eta_nodes)
    scaled: ndarray = pt * (1 + sign * MODEL.scale * (in_pt * in_eta))
    return scaled


def _smeared(
    number: int, n_parameters: int, sign: float, pt: Float32[ndarray, "n 2"], run: ndarray, event: ndarray
) -> Float64[ndarray, "n 2"]:
    """pT with a wider resolution, by random numbers of mean 0, variance 1 and at most 3.5 in size.

    These are sums of four uniform ones, the same in every dataset.
    """
    widening = MODEL.widening * _triangle(_along(pt), number, n_parameters)
    keys, noise = event_keys(0, run, event), np.empty(pt.shape)
    for jet in range(2):
        bits = mix(keys + mix(np.array([2 * number + jet + MODEL.noise_seed], np.uint64)))
        parts = sum(((bits >> np.uint64(16 * c)) & np.uint64(0xFFFF)).astype(np.float64) for c in range(4))
        noise[:, jet] = (parts / 65536 - 2 + 2 / 65536) * 3**0.5
    smeared: ndarray = pt * (1 + sign * MODEL.resolution * np.sqrt((1 + widening) ** 2 - 1) * noise)
    return smeared


def _along(pt: Float32[ndarray, "n 2"]) -> Float64[ndarray, "n 2"]:
    """Where jets are between the first and the last point in pT: 0 to 1."""
    at: ndarray = (pt.astype(np.float64) - MODEL.low_pt) / (MODEL.high_pt - MODEL.low_pt)
    return at


def _triangle(x: Float64[ndarray, "n 2"], node: int, n_nodes: int) -> Float64[ndarray, "n 2"]:
    """1 at x = node / (n_nodes - 1), 0 from the next node on; x is clipped to [0, 1]. All nodes add up to 1."""
    if n_nodes == 1:
        return np.ones_like(x)
    height: ndarray = np.maximum(0.0, 1 - np.abs(np.clip(x, 0, 1) * (n_nodes - 1) - node))
    return height


@dataclass(frozen=True, eq=False)
class Kinematics:
    """The varied quantities of the jets.

    Attributes:
        pt: (n, 2) float32, transverse momentum of each jet [GeV].
        n_trk: (n, 2) uint16, number of tracks of each jet.
    """

    pt: Float32[ndarray, "n 2"]
    n_trk: UInt16[ndarray, "n 2"]


def dataset_key(dataset: str, seed: int = 0) -> int:
    """A 64-bit hash of a dataset's name: the part of an event's key that differs between datasets."""
    return int.from_bytes(sha256(f"{seed}:{dataset}".encode()).digest()[:8], "little")


def kinematics_of(name: str, dijets: Dijets, energy: Energy) -> Kinematics:
    """pT and n_trk of the jets in a variation, or the nominal ones for `NOMINAL`.

    Args:
        name: name of the variation.
        dijets: events with the nominal jets.
        energy: number of nuisance parameters of the jet energy.

    Raises:
        UnknownNameError: there is no such variation, or the events do not have it.
        InputError: a pT is shifted by more than `LARGEST_SHIFT`, so that the table may lack events.
    """
    nominal = Kinematics(dijets.pt, dijets.n_trk)
    if name == NOMINAL:
        return nominal
    if name in dijets.varied_n_trk:
        return replace(nominal, n_trk=dijets.varied_n_trk[name])
    variation = jet_variations(energy).get(name)
    if variation is None or variation.vary is None:
        raise UnknownNameError("variation of jets", name, built_in_variations((), energy))
    varied = variation.vary(*(getattr(dijets, column) for column in variation.reads))
    if variation.makes == "n_trk":
        return replace(nominal, n_trk=np.clip(np.rint(varied), 0, np.iinfo(np.uint16).max).astype(np.uint16))
    if (np.abs(varied - dijets.pt) > LARGEST_SHIFT * dijets.pt).any():
        raise InputError(f"variation {name}: got a pT shifted by more than {LARGEST_SHIFT:.0%}, expected at most this")
    return replace(nominal, pt=varied.astype(np.float32))


def changed_jets(first: Kinematics, second: Kinematics) -> Sequence[ndarray]:
    """Indices (event, jet) of the jets in which two variations differ."""
    return np.nonzero((first.pt != second.pt) | (first.n_trk != second.n_trk))
