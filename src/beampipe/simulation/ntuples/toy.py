"""Toy samples as ntuples: dijet events drawn from parametric distributions, which were fitted to the Pythia sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int64
from beampipe.errors import InputError
from beampipe.simulation.jet_detector import LESS_EFFICIENT, MORE_FAKES, NOT_CLEAN, fakes
from beampipe.simulation.ntuples.dijets import JET_PT, TRIGGER_PT
from beampipe.simulation.ntuples.ntuple_files import Events, file_name, new_bookkeeping, write_ntuple
from beampipe.simulation.samples import Slice

WHOLE: Final = Slice(470.0, 2400.0, 4.0, 1.0)
"""The whole range of the hard pT as one slice."""

EVENTS_PER_SEED: Final = 50_000
"""Events that are drawn at a time, from a seed of their own."""

MAX_ETA: Final = 4.4
"""Largest |eta| of a jet."""

QUARK_SHARES: Final = (0.28, 0.74, 0.84, 0.93)
"""Cumulated fractions of the quark jets labelled 1 (d), 2 (u), 3 (s) and 4 (c); the rest is labelled 5 (b)."""


@dataclass(frozen=True)
class FlavourLaws:
    """Distributions of the observables of jets of one flavour, with L = ln(pT / 500 GeV).

    The number of tracks n has a negative binomial distribution of mean m and variance m + m² / `n_shape`, with
    m = (`n` + `n_slope` L) (1 - `n_eta` eta²).

    The width is log-normal: ln(width) = `width` + `width_slope` L + `width_n` ln(n / m) + `width_spread` g, where g is
    a standard normal random number. So is c1: ln(c1) = `c1` + `c1_slope` L + `c1_n` ln(n / m)
    + `c1_width` `width_spread` g + `c1_spread` h, with another such number h.

    Attributes:
        n: mean number of tracks at 500 GeV and eta = 0.
        n_slope: growth of the mean number of tracks with L.
        n_eta: relative fall of the mean number of tracks with eta².
        n_shape: shape of the distribution of the number of tracks; the larger, the closer to Poisson's.
        width: mean ln(width) at 500 GeV.
        width_slope: growth of ln(width) with L.
        width_n: growth of ln(width) with ln(n / m).
        width_spread: standard deviation of ln(width).
        c1: mean ln(c1) at 500 GeV.
        c1_slope: growth of ln(c1) with L.
        c1_n: growth of ln(c1) with ln(n / m).
        c1_width: growth of ln(c1) with the deviation of ln(width).
        c1_spread: standard deviation of ln(c1) beyond that.
    """

    n: float
    n_slope: float
    n_eta: float
    n_shape: float
    width: float
    width_slope: float
    width_n: float
    width_spread: float
    c1: float
    c1_slope: float
    c1_n: float
    c1_width: float
    c1_spread: float


QUARK_LAWS: Final = FlavourLaws(12.5, 4.2, 0.017, 6.2, -3.37, -0.35, 1.32, 0.73, -1.69, -0.09, 0.60, 0.23, 0.25)

GLUON_LAWS: Final = FlavourLaws(19.7, 8.4, 0.016, 12.5, -2.83, -0.24, 1.22, 0.56, -1.42, -0.06, 0.46, 0.20, 0.11)


@dataclass(frozen=True)
class ToyModel:
    """The parameters of the toy.

    Attributes:
        quark: distributions of quark jets.
        gluon: distributions of gluon jets.
        quark_tracks: factor on the mean number of tracks of quark jets; other than 1 it is an injected difference.
        gluon_tracks: factor on the mean number of tracks of gluon jets; other than 1 it is an injected difference.
        fraction: probability that a jet of 500 GeV comes from a quark, if both jets have the same |eta|.
        fraction_slope: growth of that probability with ln(pT / 500 GeV).
        fraction_eta: growth of that probability with tanh(|eta| - |eta of the other jet|): forward jets are more often
            quark jets.
        spectrum: exponent of the falling spectrum of the hard process: its density is pT to the minus `spectrum`.
        total: cross section between 470 and 2400 GeV [pb].
        extra_jets: mean number of jets beyond the leading two.
    """

    quark: FlavourLaws = QUARK_LAWS
    gluon: FlavourLaws = GLUON_LAWS
    quark_tracks: float = 1.0
    gluon_tracks: float = 1.0
    fraction: float = 0.46
    fraction_slope: float = 0.22
    fraction_eta: float = 0.14
    spectrum: float = 4.0
    total: float = 100.0
    extra_jets: float = 3.0

    def cross_section(self, low: float, high: float) -> float:
        """Cross section of a range of the hard pT [pb]; its ends `low` and `high` are in GeV."""
        power = 1 - self.spectrum
        share: float = (low**power - high**power) / (WHOLE.low**power - WHOLE.high**power)
        return self.total * share

    def quark_fraction(
        self, pt: Float64[ndarray, " n"], eta: Float64[ndarray, " n"], other_eta: Float64[ndarray, " n"]
    ) -> Float64[ndarray, " n"]:
        """Probability that a jet of the leading pair comes from a quark; `pt` in GeV, `other_eta` of the other jet."""
        rank = np.tanh(np.abs(eta) - np.abs(other_eta))
        chance = self.fraction + self.fraction_slope * np.log(pt / 500) + self.fraction_eta * rank
        clipped: ndarray = np.clip(chance, 0.05, 0.95)
        return clipped

    def mean_tracks(
        self, quark: Bool[ndarray, " n"], pt: Float64[ndarray, " n"], eta: Float64[ndarray, " n"]
    ) -> Float64[ndarray, " n"]:
        """Mean number of tracks of jets, of quarks where `quark` is True and of gluons elsewhere; `pt` is in GeV."""
        growth, square = np.log(pt / 500), np.minimum(eta**2, 6.25)
        q, g = self.quark, self.gluon
        mean: ndarray = np.where(
            quark,
            self.quark_tracks * np.maximum(q.n + q.n_slope * growth, 2) * (1 - q.n_eta * square),
            self.gluon_tracks * np.maximum(g.n + g.n_slope * growth, 2) * (1 - g.n_eta * square),
        )
        return mean


MODEL: Final = ToyModel()
"""The parameters fitted to the Pythia sample, with no injected difference."""


def toy_weight_names(n_weights: int) -> tuple[str, ...]:
    """Names of the weights of the toy: the nominal one, four of the showers, then PDF members, `n_weights` in all."""
    shower = ("nominal", "fsr_up", "fsr_down", "isr_up", "isr_down")
    return (*shower, *(f"pdf_{k:03d}" for k in range(n_weights - len(shower))))[:n_weights]


def toy_events(
    n_events: int,
    seed: int,
    *,
    n_weights: int = 1,
    kind: Literal["simulation", "data"] = "simulation",
    part: Slice = WHOLE,
    model: ToyModel = MODEL,
    run: int = 1,
    first_event: int = 0,
) -> Events:
    """Draw dijet events.

    Args:
        n_events: number of events; all of them are kept.
        seed: seed of all random numbers; the same seed gives the same events.
        n_weights: number of weights of each event, see `toy_weight_names`; data has none.
        kind: simulation has labels, varied numbers of tracks and weights; data follows the spectrum, with weight 1.
        part: slice of the hard pT. Simulation is drawn as ``pT**(part.power - model.spectrum)``, and its weights
            compensate the first exponent.
        model: parameters of the toy.
        run: number of the run.
        first_event: number of the first event; the others follow.

    Raises:
        InputError: fewer than one event, or fewer than one weight.
    """
    if n_events < 1 or n_weights < 1:
        raise InputError(f"toy: got {n_events} events with {n_weights} weights, expected one or more of each")
    blocks, simulation = [], kind == "simulation"
    bias = part.power if simulation else 0.0
    for start in range(0, n_events, EVENTS_PER_SEED):
        n = min(EVENTS_PER_SEED, n_events - start)
        # All steps draw from the same generator, so the result depends on their order.
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, start // EVENTS_PER_SEED])))
        pairs = _draw_pairs(rng, n, part, bias - model.spectrum, model)
        jets = _draw_jets(rng, pairs, model)
        n_trk, width, c1 = _observables(rng, model, jets)
        columns: dict[str, Any] = _simulated_columns(rng, jets, n_trk) if simulation else {}
        if simulation:
            pull = n_trk / model.mean_tracks(jets.quark, jets.pt, jets.eta) - 1
            nominal = (part.low / pairs.hard) ** bias
            columns["weight"] = _weights(
                nominal, n_weights, pull[jets.offset[:-1, None] + np.arange(2)].sum(axis=1), pairs
            )
        block = Events(
            run=np.full(n, run, dtype=np.uint32),
            event=np.arange(first_event + start, first_event + start + n, dtype=np.uint64),
            trigger=pairs.pt[0] > TRIGGER_PT,
            offset=jets.offset,
            jet_pt=jets.pt.astype(np.float32),
            jet_eta=jets.eta.astype(np.float32),
            jet_phi=jets.phi.astype(np.float32),
            jet_clean=rng.random(len(jets.pt)) > NOT_CLEAN,
            jet_n_trk=n_trk.astype(np.uint16),
            jet_width=width.astype(np.float32),
            jet_c1=c1.astype(np.float32),
            **columns,
        )
        blocks.append(block)
    return Events.join(blocks) if len(blocks) > 1 else blocks[0]


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The two leading jets of each event, the hardest first.

    Attributes:
        hard: (n,) pT of the hard process [GeV].
        pt: (2, n) pT of the jets [GeV].
        eta: (2, n) pseudorapidity of the jets.
        phi: (2, n) azimuth of the jets [rad].
        quark: (2, n) bool, whether a jet comes from a quark.
    """

    hard: Float64[ndarray, " n"]
    pt: Float64[ndarray, "2 n"]
    eta: Float64[ndarray, "2 n"]
    phi: Float64[ndarray, "2 n"]
    quark: Bool[ndarray, "2 n"]


@dataclass(frozen=True, eq=False)
class _Jets:
    """All jets of some events, by event and falling pT.

    Attributes:
        offset: (n_events + 1,) first jet of each event.
        pt: (n_jets,) pT [GeV].
        eta: (n_jets,) pseudorapidity.
        phi: (n_jets,) azimuth [rad].
        quark: (n_jets,) bool, whether the jet comes from a quark.
    """

    offset: Int64[ndarray, " n_events_1"]
    pt: Float64[ndarray, " n_jets"]
    eta: Float64[ndarray, " n_jets"]
    phi: Float64[ndarray, " n_jets"]
    quark: Bool[ndarray, " n_jets"]


def _draw_pairs(rng: np.random.Generator, n: int, part: Slice, power: float, model: ToyModel) -> _Pairs:
    """The leading pairs: balanced up to radiation and resolution, with a common boost along the beam."""
    hard = _power_law(rng.random(n), part.low, part.high, power)
    radiated = rng.exponential(0.06, (2, n)).clip(max=0.6)
    pt = hard * (1 - radiated) * (1 + 0.045 * rng.standard_normal((2, n)).clip(-4, 4))
    pt = np.stack([pt.max(axis=0), pt.min(axis=0)])
    narrow = (hard / 470) ** -0.35
    boost, opening = 0.75 * narrow * rng.standard_normal(n), 0.8 * narrow * rng.standard_normal(n)
    eta = np.stack([boost + opening, boost - opening]).clip(-MAX_ETA, MAX_ETA)
    phi = 2 * np.pi * rng.random(n) - np.pi
    back = np.where(phi > 0, phi - np.pi, phi + np.pi) + 0.05 * rng.standard_normal(n)
    fraction = [model.quark_fraction(pt[0], eta[0], eta[1]), model.quark_fraction(pt[1], eta[1], eta[0])]
    return _Pairs(hard, pt, eta, np.stack([phi, back]), rng.random((2, n)) < np.stack(fraction))


def _draw_jets(rng: np.random.Generator, pairs: _Pairs, model: ToyModel) -> _Jets:
    """All jets of the events: the pair first, then softer and softer ones."""
    counts = 2 + rng.poisson(model.extra_jets, len(pairs.hard))
    offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    n_jets = int(offset[-1])
    pt, eta = np.empty(n_jets), rng.normal(0, 1.3, n_jets).clip(-MAX_ETA, MAX_ETA)
    phi, quark = rng.uniform(-np.pi, np.pi, n_jets), rng.random(n_jets) < 0.4
    for rank in range(2):
        at = offset[:-1] + rank
        pt[at], eta[at], phi[at], quark[at] = pairs.pt[rank], pairs.eta[rank], pairs.phi[rank], pairs.quark[rank]
    left = rng.random(n_jets)
    for rank in range(2, int(counts.max(initial=0))):
        at = offset[:-1][counts > rank] + rank
        pt[at] = JET_PT + (pt[at - 1] - JET_PT) * left[at]
    return _Jets(offset, pt, eta, phi, quark)


def _simulated_columns(rng: np.random.Generator, jets: _Jets, n_trk: Int64[ndarray, " n"]) -> dict[str, ndarray]:
    """The additional columns of simulation, by name of the branch: labels and varied numbers of tracks."""
    quark_labels = np.array([1, 2, 3, 4, 5], dtype=np.int8)
    which = np.searchsorted(QUARK_SHARES, rng.random(len(n_trk)))
    return {
        "jet_label": np.where(jets.quark, quark_labels[which], np.int8(21)),
        "jet_n_trk_eff": rng.binomial(n_trk, 1 - LESS_EFFICIENT).astype(np.uint16),
        "jet_n_trk_fake": (n_trk + rng.poisson(MORE_FAKES * fakes(jets.eta, jets.pt))).astype(np.uint16),
    }


def _observables(
    rng: np.random.Generator, model: ToyModel, jets: _Jets
) -> tuple[Int64[ndarray, " n"], Float64[ndarray, " n"], Float64[ndarray, " n"]]:
    """Number of tracks, width and c1 of jets, by their `FlavourLaws`."""
    q, g = asdict(model.quark), asdict(model.gluon)
    of = {name: np.where(jets.quark, q[name], g[name]) for name in q if name[:2] != "n_"}
    shape = np.where(jets.quark, q["n_shape"], g["n_shape"])
    mean = model.mean_tracks(jets.quark, jets.pt, jets.eta)
    n_trk = rng.negative_binomial(shape, shape / (shape + mean))
    growth, excess = np.log(jets.pt / 500), np.log(np.maximum(n_trk, 1) / mean)
    off = of["width_spread"] * rng.standard_normal(len(n_trk))
    width = np.exp(of["width"] + of["width_slope"] * growth + of["width_n"] * excess + off)
    c1 = of["c1"] + of["c1_slope"] * growth + of["c1_n"] * excess + of["c1_width"] * off
    c1 = np.exp(c1 + of["c1_spread"] * rng.standard_normal(len(n_trk)))
    some = n_trk > 0
    return n_trk, np.where(some, width.clip(max=0.4), 0.0), np.where(some & (n_trk > 1), c1.clip(max=0.5), 0.0)


def _weights(
    nominal: Float64[ndarray, " n"], n_weights: int, pull: Float64[ndarray, " n"], pairs: _Pairs
) -> Float32[ndarray, "n n_weights"]:
    """Weights of events. Shower weights vary the number of tracks, PDF members the spectrum, eta and flavours."""
    traits = (pull, np.log(pairs.hard / 800), np.abs(pairs.eta).sum(axis=0) - 1, pairs.quark.sum(axis=0) - 1.0)
    shower = [[0, 0, 0, 0], [-0.15, 0, 0, 0], [0.18, 0, 0, 0], [0, 0.03, 0.02, 0], [0, -0.04, -0.02, 0]]
    # The members do not depend on the seed of the events.
    members = np.random.default_rng(20).normal(0, [0, 0.03, 0.02, 0.04], (n_weights, len(traits)))
    moves = np.concatenate([shower, members])[:n_weights]
    ratio = np.ones((len(nominal), n_weights), dtype=np.float32)
    for trait, move in zip(traits, moves.T, strict=True):
        for k in np.flatnonzero(move):
            ratio[:, k] += (move[k] * trait).astype(np.float32)
    return np.maximum(ratio, np.float32(0.05)) * nominal.astype(np.float32)[:, None]


def _power_law(chance: Float64[ndarray, " n"], low: float, high: float, power: float) -> Float64[ndarray, " n"]:
    """Random numbers between `low` and `high` with the density x**power, from uniform ones."""
    if power == -1:
        even: ndarray = low * (high / low) ** chance
        return even
    up = power + 1
    drawn: ndarray = (low**up + chance * (high**up - low**up)) ** (1 / up)
    return drawn


TOY_SLICES: Final = (
    Slice(470.0, 800.0, 4.0, 0.45),
    Slice(800.0, 1300.0, 4.0, 0.33),
    Slice(1300.0, 2400.0, 4.0, 0.22),
)
"""The slices of the toy; its events are spread evenly in pT within a slice."""

_VERSION: Final = 1
"""Version of the toy's laws, kept in its files."""


def toy_paths(folder: Path, files: int, *, slices: int, dataset: str = "toy") -> list[list[Path]]:
    """The files of a toy by slice: files are shared evenly, the first slices get one more.

    Args:
        folder: output folder.
        files: number of files in all slices together.
        slices: number of slices; 1 for data.
        dataset: name of the dataset in the files.
    """
    shares = [files // slices + (number < files % slices) for number in range(slices)]
    return [[folder / file_name(dataset, number, k) for k in range(share)] for number, share in enumerate(shares)]


def simulate_toy(
    folder: Path,
    events: int,
    *,
    files: int = 1,
    n_weights: int = 1,
    seed: int = 1,
    kind: Literal["simulation", "data"] = "simulation",
    slices: tuple[Slice, ...] = TOY_SLICES,
    model: ToyModel = MODEL,
    dataset: str = "toy",
    progress: Callable[[Path], object] = lambda path: None,
) -> list[Path]:
    """Write toy events in the layout of the simulation or, with ``kind="data"``, of data.

    Data of N events correspond to a luminosity of ``N / model.total`` [1/pb].

    Args:
        folder: output folder; files of the same name are replaced.
        events: number of events in all files together.
        files: number of files in all slices together, at least one per slice; data has one slice.
        n_weights: number of weights of each event, see `toy_weight_names`; data has none.
        seed: seed of all random numbers.
        kind: whether the files look like simulation or like data, see `toy_events`.
        slices: slices of the simulation; each gets its share of the events and of the files.
        model: the laws that the events follow.
        dataset: name of the dataset in the files.
        progress: is called with each file once it is there.

    Returns:
        The files, by slice and number.

    Raises:
        InputError: fewer files than slices, or fewer events than files.
    """
    parts = (WHOLE,) if kind == "data" else slices
    if not len(parts) <= files <= events:
        raise InputError(
            f"toy: got {files} files for {events} events, expected {len(parts)} or more, at least one for each slice of"
            " pT, and no more than events"
        )
    data, paths = kind == "data", []
    settings = {"generator": "toy", "version": _VERSION, "seed": seed, "kind": kind, "model": asdict(model)}
    wanted = toy_paths(folder, files, slices=len(parts), dataset=dataset)
    for slice_number, part in enumerate(parts):  # events are shared by the slices' shares
        n_files = len(wanted[slice_number])
        edges = np.linspace(0, round(events * part.share), n_files + 1).round().astype(int).tolist()
        for file_number, (first, last) in enumerate(pairwise(edges)):
            seeds = np.random.SeedSequence([seed, data, slice_number, file_number])
            drawn = toy_events(
                last - first,
                int(seeds.generate_state(1)[0]),
                n_weights=n_weights,
                kind=kind,
                part=part,
                model=model,
                run=1 + slice_number,
                first_event=file_number * 10**9,
            )
            sums = np.array([float(len(drawn))] if drawn.weight is None else drawn.weight.sum(0, np.float64))
            bookkeeping = new_bookkeeping(
                dataset=dataset,
                slice=slice_number,
                file_number=file_number,
                n_slices=len(parts),
                n_files=n_files,
                n_generated=len(drawn),
                cross_section=0.0 if data else model.cross_section(part.low, part.high),
                sum_weights=sums,
                weight_names=("nominal",) if data else toy_weight_names(n_weights),
                settings=settings | {"slice": asdict(part)},
            )
            path = wanted[slice_number][file_number]
            write_ntuple(path, drawn, bookkeeping)
            paths.append(path)
            progress(path)
    return paths
