"""The stages `scale`, `performance` and `ntuple`: from jets of all chunks to the files that the calibration reads.

The number of tracks of a jet, its width and its C1 come from the tracks that were found. Two variations of the number
are measured in simulation: without as many tracks as are lost (the efficiency is uncertain by all that it lacks), and
with as many fakes again as there are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.chain.tables import FAKE, JetEvents
from beampipe.errors import FileError
from beampipe.jets.substructure import C1_BETA, observables
from beampipe.random_numbers import keys, poisson, uniform
from beampipe.simulation.jets import distance
from beampipe.simulation.ntuples.injection import GLUON_LABEL
from beampipe.simulation.ntuples.ntuple_files import (
    Events,
    new_bookkeeping,
    read_bookkeeping,
    read_ntuple,
    write_ntuple,
)
from beampipe.simulation.pythia import PHOTON
from beampipe.tables import load_table, save_tables

ETA_EDGES: Final = (0.0, 0.8, 1.5, 2.5)
"""Edges of |eta| in which the energy scale is measured; jets beyond the last one are in the last bin."""

_SCALE_BINS: Final = 6
"""Bins of the true transverse momentum in which the energy scale is measured."""

_FEWEST: Final = 10
"""Jets of a bin below which its energy scale, and particles below which an efficiency, is that of all bins."""

_LOST, _FAKE = 6, 7
"""Identifiers of these streams of random numbers, see `keys`; the calorimeter uses 5."""


@dataclass(frozen=True, eq=False)
class EnergyScale:
    """Mean response of jets, pT of towers over true pT, by |eta| and true pT.

    Attributes:
        true_pt: (n_eta, n_pt) mean true transverse momentum in a bin [GeV].
        response: (n_eta, n_pt) mean response.
    """

    true_pt: Float64[ndarray, "n_eta n_pt"]
    response: Float64[ndarray, "n_eta n_pt"]

    @classmethod
    def measured(cls, pt: ndarray, eta: ndarray, true_pt: ndarray) -> EnergyScale:
        """From jets with a true momentum, well above the cut on the pT of towers, which would bias the mean."""
        usable = np.isfinite(true_pt) & (true_pt > 1.5 * pt.min(initial=np.inf))
        pt, eta, true_pt = pt[usable], eta[usable], true_pt[usable]
        edges = np.quantile(true_pt, np.linspace(0, 1, _SCALE_BINS + 1)) if len(pt) else np.zeros(_SCALE_BINS + 1)
        row = np.clip(np.searchsorted(ETA_EDGES, np.abs(eta), "right") - 1, 0, len(ETA_EDGES) - 2)
        column = np.clip(np.searchsorted(edges, true_pt, "right") - 1, 0, _SCALE_BINS - 1)
        cell, n_cells = row * _SCALE_BINS + column, (len(ETA_EDGES) - 1) * _SCALE_BINS
        count, reco, true = (np.bincount(cell, values, n_cells) for values in (np.ones(len(pt)), pt, true_pt))
        whole = pt.sum() / true_pt.sum() if len(pt) else 1.0
        enough = count >= _FEWEST
        middle = np.tile((edges[1:] + edges[:-1]) / 2, len(ETA_EDGES) - 1)
        response = np.divide(reco, true, out=np.full(n_cells, whole), where=enough)
        mean = np.divide(true, count, out=middle, where=enough)
        return cls(mean.reshape(-1, _SCALE_BINS), response.reshape(-1, _SCALE_BINS))

    def corrected(self, pt: Float64[ndarray, " n"], eta: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Transverse momentum after the correction, by numerical inversion [GeV]."""
        row = np.clip(np.searchsorted(ETA_EDGES, np.abs(eta), "right") - 1, 0, len(ETA_EDGES) - 2)
        out = np.empty(len(pt))
        for k, (true, response) in enumerate(zip(self.true_pt, self.response, strict=True)):
            here = row == k
            measured = np.maximum.accumulate(true * response)
            out[here] = pt[here] / np.interp(pt[here], measured, response)
        return out


PT_EDGES: Final = (0.5, 0.75, 1.0, 2.0, 5.0, 20.0, np.inf)
"""Edges of the transverse momentum of tracks in jets [GeV], in which their efficiency is measured."""

AXIS_EDGES: Final = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4)
"""Edges of the distance to the jet's axis in which the efficiency is measured."""

TRACK_ETA_EDGES: Final = (0.0, 1.0, 2.0, 2.5)
"""Edges of |eta| of tracks in jets in which the efficiency is measured."""


@dataclass(frozen=True, eq=False)
class Performance:
    """Truth-matched performance of track finding in jets.

    Attributes:
        particles: (n_pt, n_eta, n_distance) int64, charged particles in jets.
        found: (n_pt, n_eta, n_distance) int64, those that a track matches by double majority.
        reconstructable: (n_pt, n_eta, n_distance) int64, particles with hits on enough layers.
        found_reconstructable: (n_pt, n_eta, n_distance) int64, those of them that a track matches.
        kinds: (n_pt, n_eta, n_distance, 4) int64, tracks in jets by kind.
        n_jets: () int64, number of jets.
    """

    particles: Int64[ndarray, "p e d"]
    found: Int64[ndarray, "p e d"]
    reconstructable: Int64[ndarray, "p e d"]
    found_reconstructable: Int64[ndarray, "p e d"]
    kinds: Int64[ndarray, "p e d 4"]
    n_jets: Int64[ndarray, ""]

    @classmethod
    def measured(cls, data: JetEvents) -> Performance:
        """From all jets of a sample."""
        particles, tracks, owners = data.particles, data.tracks, data.owners
        jet, inside = owners.particle, owners.particle >= 0
        cell = _cells(particles.pt, particles.eta, particles.phi, jet, data)

        def counted(chosen: ndarray) -> ndarray:
            return np.bincount(cell[inside & chosen], minlength=_N_CELLS).reshape(_SHAPE)

        every = np.ones(len(inside), bool)
        track_cell = _cells(tracks.pt, tracks.eta, tracks.phi, owners.track, data)
        kinds = [
            np.bincount(track_cell[(owners.track >= 0) & (tracks.kind == kind)], minlength=_N_CELLS).reshape(_SHAPE)
            for kind in range(4)
        ]
        return cls(
            counted(every),
            counted(particles.found),
            counted(particles.reconstructable),
            counted(particles.found & particles.reconstructable),
            np.stack(kinds, axis=-1),
            np.array(len(data.jets), np.int64),
        )

    @property
    def fakes_per_jet(self) -> float:
        """Mean number of fake tracks in a jet."""
        return float(self.kinds[..., FAKE].sum() / max(int(self.n_jets), 1))

    def inefficiency(self, tracks: Any, jet: ndarray, data: JetEvents) -> Float64[ndarray, " n"]:
        """Share of reconstructable particles that are lost where a track is; that of all cells where there are few."""
        n, lost = self.reconstructable, self.reconstructable - self.found_reconstructable
        whole = lost.sum() / max(int(n.sum()), 1)
        share = np.divide(lost, n, out=np.full(n.shape, whole), where=n >= _FEWEST)
        out: ndarray = share.ravel()[_cells(tracks.pt, tracks.eta, tracks.phi, jet, data)]
        return out


_SHAPE: Final = (len(PT_EDGES) - 1, len(TRACK_ETA_EDGES) - 1, len(AXIS_EDGES) - 1)
_N_CELLS: Final = int(np.prod(_SHAPE))


def _cells(pt: ndarray, eta: ndarray, phi: ndarray, jet: ndarray, data: JetEvents) -> Int64[ndarray, " n"]:
    """Number of the cell of pT, |eta| and distance to the jet's axis; anything for what is in no jet."""
    if len(data.jets) == 0:
        return np.zeros(len(pt), np.int64)
    apart = distance(eta, phi, data.jets.eta[jet], data.jets.phi[jet])
    at = [
        np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
        for edges, values in ((PT_EDGES, pt), (TRACK_ETA_EDGES, np.abs(eta)), (AXIS_EDGES, apart))
    ]
    return np.ravel_multi_index(tuple(at), _SHAPE).astype(np.int64)


def write_scale(path: Path, jets: Sequence[Path]) -> None:
    """Measure the energy scale of the nominal sample, and write it."""
    table = JetEvents.join([JetEvents.load(part) for part in jets]).jets
    save_tables(path, scale=EnergyScale.measured(table.pt, table.eta, table.true_pt))


def write_performance(path: Path, jets: Sequence[Path]) -> None:
    """Measure efficiency and fakes of tracks in the jets of a sample, and write them."""
    save_tables(path, performance=Performance.measured(JetEvents.join([JetEvents.load(part) for part in jets])))


@dataclass(frozen=True)
class NtupleSpec:
    """What an ntuple states of its sample.

    Attributes:
        name: name of the sample, and of the dataset.
        run: run number.
        seed: seed of the variations.
        chain_seed: seed of the chain.
        cross_section: cross section [pb].
        settings: lines for Pythia.
        further: ntuples of the same sample, whose events are added.
        photon_files: number of files, the last ones, with photons beside jets. Jets have a region then: 0 beside a
            photon, 1 in dijets, and -1 for the photon, and for jets of events whose photon is no jet.
    """

    name: str
    run: int
    seed: int
    chain_seed: int
    cross_section: float
    settings: tuple[str, ...]
    further: tuple[Path, ...] = ()
    photon_files: int = 0


def write_chain_ntuple(path: Path, jets: Sequence[Path], scale: Path, performance: Path, spec: NtupleSpec) -> None:
    """Write the file of a sample that the calibration reads: events with two jets or more.

    Args:
        path: file to write.
        jets: files of all chunks of the sample.
        scale: file of `write_scale`.
        performance: file of `write_performance` of the nominal sample.
        spec: name and numbers of the sample.

    Raises:
        FileError: a further ntuple is damaged, or of another sample.
    """
    files = [JetEvents.load(part) for part in jets]
    data = JetEvents.join(files)
    n_dijets = sum(len(part.events) for part in files[: len(files) - spec.photon_files])
    is_photon = data.jets.label == PHOTON
    region = np.where(data.jets.event < n_dijets, 1, -1)
    region[np.isin(data.jets.event, data.jets.event[is_photon]) & ~is_photon] = 0
    pt = load_table(scale, "scale", EnergyScale).corrected(data.jets.pt, data.jets.eta)
    n_trk, width, c1, fewer, more = track_observables(
        data, load_table(performance, "performance", Performance), spec.seed
    )

    two = np.bincount(data.jets.event, minlength=len(data.events)) >= 2
    order = np.lexsort((-pt, data.jets.event))
    order = order[two[data.jets.event[order]]]
    picked = np.flatnonzero(two)
    offset = np.searchsorted(data.jets.event[order], np.append(picked, len(two))).astype(np.int64)
    events = Events(
        run=np.full(len(picked), spec.run, np.uint32),
        event=picked.astype(np.uint64),
        trigger=np.ones(len(picked), bool),
        offset=offset,
        jet_pt=pt[order].astype(np.float32),
        jet_eta=data.jets.eta[order].astype(np.float32),
        jet_phi=data.jets.phi[order].astype(np.float32),
        jet_clean=np.ones(len(order), bool),
        jet_n_trk=n_trk[order].astype(np.uint16),
        jet_width=width[order].astype(np.float32),
        jet_c1=c1[order].astype(np.float32),
        jet_n_trk_eff=fewer[order].astype(np.uint16),
        jet_n_trk_fake=more[order].astype(np.uint16),
        # A photon is in no region, so that its label has no effect, but events without labels are left out.
        jet_label=np.where(is_photon, GLUON_LABEL, data.jets.label)[order].astype(np.int8),
        jet_region=region[order].astype(np.int8) if spec.photon_files else None,
        weight=data.events.weight[picked, None].astype(np.float32),
    )
    n_generated, sum_weights = len(data.events), data.events.weight[:n_dijets].sum()  # the cross section is of dijets
    parts: list[Events] = [events]
    seeds: list[int | None] = []
    for number, other in enumerate(spec.further, start=1):
        book, earlier = read_bookkeeping(other), read_ntuple(other)
        made_with = json.loads(book["settings"])
        if made_with.get("seed") in (spec.chain_seed, *seeds):
            raise FileError(
                f"{other}: got events of the seed {made_with['seed']}, which others of this sample have: they would be"
                " the same; give the chain another seed, or leave the file out of `further`",
                path=other,
            )
        seeds.append(made_with.get("seed"))
        if book["dataset"] != spec.name or made_with.get("settings") != list(spec.settings):
            raise FileError(
                f"{other}: got events of {book['dataset']} with other settings, expected {spec.name} as it is simulated"
                " here; leave the file out of `further`",
                path=other,
            )
        # Another run, so that no event has the same numbers as one of this chain.
        parts.append(replace(earlier, run=np.full(len(earlier), spec.run + number, np.uint32)))
        n_generated += int(book["n_generated"])
        sum_weights += float(book["sum_weights"][0])
    bookkeeping = new_bookkeeping(
        dataset=spec.name,
        slice=0,
        file_number=0,
        n_slices=1,
        n_files=1,
        n_generated=n_generated,
        cross_section=spec.cross_section,
        sum_weights=np.array([sum_weights]),
        weight_names=("nominal",),
        settings={"generator": "Pythia", "settings": list(spec.settings), "seed": spec.chain_seed},
    )
    write_ntuple(path, Events.join(parts), bookkeeping)


def track_observables(data: JetEvents, performance: Performance, seed: int) -> tuple[ndarray, ...]:
    """Of each jet: number of tracks, width, C1, and the number with fewer tracks and with more fakes."""
    jets, tracks, owner = data.jets, data.tracks, data.owners.track
    inside = np.flatnonzero(owner >= 0)
    order = inside[np.argsort(owner[inside], kind="stable")]
    offset = np.searchsorted(owner[order], np.arange(len(jets) + 1)).astype(np.int64)
    n_trk, width, c1 = observables(
        offset, tracks.pt[order], tracks.eta[order], tracks.phi[order], jets.eta, jets.phi, C1_BETA
    )
    chance = uniform(keys(np.full(len(owner), seed), _LOST, np.arange(len(owner))), 0)
    lost = (owner >= 0) & (chance < performance.inefficiency(tracks, owner, data))
    fewer = n_trk - np.bincount(owner[lost], minlength=len(jets))
    own = keys(np.full(len(jets), seed), _FAKE, np.arange(len(jets)))
    more = n_trk + poisson(uniform(own, 0), np.full(len(jets), performance.fakes_per_jet))
    return n_trk, width, c1, fewer, more


def read_cross_section(path: Path) -> float:
    """The cross section in a file of `beampipe.chain.collisions.write_cross_section` [pb]."""
    return float(json.loads(path.read_text(encoding="utf-8"))["cross_section"])
