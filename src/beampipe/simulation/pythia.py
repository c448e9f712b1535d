"""Pythia 8: starting it, seeds, pools of collisions for events of hits, and dijet collisions with their weights.

T. Sjostrand et al., An introduction to PYTHIA 8.2, Comput. Phys. Commun. 191 (2015) 159.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import as_file, files
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int32, Int64
from beampipe.errors import ConfigError
from beampipe.files import cache_folder, write_whole
from beampipe.simulation.samples import SampleSpec, Slice

_SEEDS: Final = 899_999_999
"""Number of seeds that Pythia takes, from 1 on; 900 000 000 is the last one, and 0 means the time."""


def pythia8() -> Any:
    """The module pythia8mc.

    Raises:
        MissingExtraError: pythia8mc is not installed.
    """
    import pythia8mc

    return pythia8mc


def start_pythia(settings: Iterable[str]) -> Any:
    """A generator of Pythia after its initialisation.

    Args:
        settings: lines for Pythia, in order, e.g. ``"Beams:eCM = 13000"``.

    Raises:
        ConfigError: Pythia refuses a line, or all of them together.
        MissingExtraError: pythia8mc is not installed.
    """
    settings = tuple(settings)
    pythia = pythia8().Pythia("", False)
    for line in settings:
        if not pythia.readString(line):
            raise ConfigError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise ConfigError(f"Pythia cannot start with {'; '.join(settings)}")
    return pythia


def seed_of(seed: int, *what: int) -> int:
    """A seed for Pythia that depends on all arguments: a number from 1 to 899 999 999.

    Args:
        seed: seed of the whole production.
        what: numbers that identify a part of it, e.g. those of a sample and of a file.
    """
    return int(np.random.SeedSequence([seed, *what]).generate_state(1, np.uint64)[0] % _SEEDS) + 1


PT_MIN: Final = 0.1
"""Particles below this transverse momentum [GeV] are not tracked."""

ETA_MAX: Final = 4.0
"""Particles beyond this absolute pseudorapidity are not tracked."""

TRACKER_R: Final = 1100.0
"""Particles that start beyond this radius [mm] are not tracked; Pythia decays those that decay within it."""

TRACKER_Z: Final = 3000.0
"""Particles that start beyond this |z| [mm] are not tracked."""

DECAYS: Final = (
    "ParticleDecays:limitCylinder = on",
    "ParticleDecays:xyMax = 1100",
    "ParticleDecays:zMax = 3100",
)
"""Pythia decays all particles that decay inside the tracker, K0S and Lambda included: Fatras decays none."""

_PROCESSES: Final = {
    "soft": ("SoftQCD:inelastic = on",),
    "ttbar": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
    "jets": ("HardQCD:all = on", "PhaseSpace:pTHatMin = 1000"),
    "quick_soft": ("SoftQCD:inelastic = on", "MultipartonInteractions:reuseInit = 2"),
}
"""Settings by process. The start of ``"quick_soft"`` reads the integrals that that of ``"soft"`` computes in 4 s."""

_INTEGRALS: Final = "soft_collisions.cmnd"
"""File of these integrals, beside this module. Pythia 8.317 wrote it with the settings of ``"soft"``, `DECAYS`, seed 1
and ``MultipartonInteractions:reuseInit = 1``."""

_BLOCK: Final = {"soft": 1000, "ttbar": 100, "jets": 100, "quick_soft": 200}  # events per Pythia seed

_POOL_VERSION: Final = 1  # of the selection above; part of the name of a cached pool


@dataclass(frozen=True, eq=False)
class CollisionPool:
    """Final particles of many collisions, each collision at the origin.

    Attributes:
        offset: (n_collisions + 1,) int64, first particle of each collision.
        pdg: (n,) int32 PDG code of each particle.
        charge: (n,) float32 charge of each particle [e].
        mass: (n,) float32 mass of each particle [GeV].
        momentum: (n, 3) float32 x, y, z of each momentum [GeV].
        vertex: (n, 4) float32 x, y, z, t of each particle's production [mm].
    """

    offset: Int64[ndarray, " m"]
    pdg: Int32[ndarray, " n"]
    charge: Float32[ndarray, " n"]
    mass: Float32[ndarray, " n"]
    momentum: Float32[ndarray, "n 3"]
    vertex: Float32[ndarray, "n 4"]

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __getitem__(self, index: int) -> CollisionPool:
        """One collision."""
        rows = slice(int(self.offset[index]), int(self.offset[index + 1]))
        offset = np.array([0, rows.stop - rows.start], np.int64)
        return CollisionPool(offset, *(getattr(self, f.name)[rows] for f in fields(self)[1:]))

    def save(self, path: Path) -> None:
        """Write to `path`; the file appears only when it is complete."""
        whole = BytesIO()  # a worker that is ended while it writes leaves a part: so it writes for a moment only
        np.savez(whole, **{f.name: getattr(self, f.name) for f in fields(self)})
        write_whole(path, lambda part: part.write_bytes(whole.getbuffer()))

    @classmethod
    def load(cls, path: Path) -> CollisionPool:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


class CollisionSource:
    """The first collisions of a process; they are generated in blocks when they are first used, and kept in the cache.

    Args:
        process: process that is generated: ``"soft"`` or ``"quick_soft"`` (inelastic), ``"ttbar"`` or ``"jets"`` (above
            1 TeV).
        n_collisions: number of collisions.
        seed: number of the sample; collisions of one seed are always the same, whatever `n_collisions`.
        cache: folder of the blocks, default `beampipe.files.cache_folder`.
    """

    def __init__(self, process: str, n_collisions: int, seed: int, cache: Path | None = None) -> None:
        self._process, self._n, self._seed = process, n_collisions, seed
        self._folder = cache_folder() if cache is None else cache
        self._blocks: dict[int, CollisionPool] = {}

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> CollisionPool:
        if not 0 <= index < self._n:
            raise IndexError(index)
        number, row = divmod(index, _BLOCK[self._process])
        if number not in self._blocks:
            self._blocks[number] = self._block(number)
        return self._blocks[number][row]

    def _block(self, number: int) -> CollisionPool:
        block = _BLOCK[self._process]
        path = self._folder / f"pool-v{_POOL_VERSION}-{self._process}-{self._seed}-{number}.npz"
        # Only the last block may be short, so that a small sample costs little.
        size = min(block, self._n - number * block)
        if path.exists():
            stored = CollisionPool.load(path)
            if len(stored) >= size:
                return stored
        generated = collisions(self._process, size, seed_of(self._seed, list(_PROCESSES).index(self._process), number))
        generated.save(path)
        return generated


def collisions(process: str, n_collisions: int, seed: int, energy: float = 14.0) -> CollisionPool:
    """Generate collisions: all final particles except neutrinos and neutral hadrons, which leave no hits.

    Photons are kept, as they convert. Cuts: `PT_MIN`, `ETA_MAX`, production inside the tracker.

    Args:
        process: process that is generated, as of `CollisionCache`.
        n_collisions: number of collisions.
        seed: seed of Pythia.
        energy: centre-of-mass energy [TeV]; integrals of ``"quick_soft"`` are of 14 TeV.
    """
    import awkward as ak

    random = ("Random:setSeed = on", f"Random:seed = {seed}")
    settings = ("Print:quiet = on", f"Beams:eCM = {1000 * energy:g}", *_PROCESSES[process], *DECAYS, *random)
    with as_file(files("beampipe.simulation") / _INTEGRALS) as path:
        pythia = start_pythia((*settings, f"MultipartonInteractions:initFile = {path}"))
    batches = []
    while n_collisions > 0:
        batches.append(pythia.nextBatch(n_collisions))
        n_collisions -= len(batches[-1])  # fewer than requested, if Pythia fails in some
    return _tracker_particles(pythia, ak.concatenate(batches))


def _tracker_particles(pythia: Any, events: Any) -> CollisionPool:
    """The final particles that can leave hits, of a batch of events of Pythia."""
    import awkward as ak

    counts = ak.num(events.prt.id).to_numpy()
    prt = ak.flatten(events.prt)
    momentum = np.stack([prt.p[axis].to_numpy() for axis in ("px", "py", "pz")], axis=1)
    # Pythia gives no vertex to particles that are made at the origin.
    vertex = np.stack([ak.fill_none(prt.vProd[axis], 0.0).to_numpy() for axis in ("px", "py", "pz", "e")], axis=1)
    pdg = prt.id.to_numpy()
    charge = _charges(pythia, pdg)
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    kept = (prt.status.to_numpy() > 0) & ((charge != 0) | (pdg == PHOTON)) & (pt >= PT_MIN)
    kept &= np.abs(momentum[:, 2]) <= np.sinh(ETA_MAX) * pt
    kept &= (np.hypot(vertex[:, 0], vertex[:, 1]) <= TRACKER_R) & (np.abs(vertex[:, 2]) <= TRACKER_Z)
    return CollisionPool(
        _offsets(np.repeat(np.arange(len(counts)), counts)[kept], len(counts)),
        pdg[kept].astype(np.int32),
        charge[kept].astype(np.float32),
        prt.m.to_numpy()[kept].astype(np.float32),
        momentum[kept].astype(np.float32),
        vertex[kept].astype(np.float32),
    )


def _charges(pythia: Any, pdg: ndarray) -> Float64[ndarray, " n"]:
    """Charge of particles [e]."""
    kinds, row = np.unique(pdg, return_inverse=True)
    return np.array([pythia.particleData.charge(kind) for kind in kinds.tolist()], dtype=np.float64)[row]


COMMON: Final = (
    "Print:quiet = on",
    "Beams:eCM = 13000",
    "HardQCD:all = on",
    # Strange hadrons with c tau > 10 mm stay: their decay products do not point to the collision.
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10",
)
"""Lines for Pythia that all samples share."""

SHOWER_WEIGHTS: Final = {
    "fsr_up": "fsr:muRfac=1.4142",
    "fsr_down": "fsr:muRfac=0.7071",
    "isr_up": "isr:muRfac=2.0",
    "isr_down": "isr:muRfac=0.5",
    "fsr_hard_up": "fsr:cNS=2.0",
    "fsr_hard_down": "fsr:cNS=-2.0",
    "fsr_q2qg_up": "fsr:Q2QG:muRfac=1.4142",
    "fsr_q2qg_down": "fsr:Q2QG:muRfac=0.7071",
    "fsr_g2gg_up": "fsr:G2GG:muRfac=1.4142",
    "fsr_g2gg_down": "fsr:G2GG:muRfac=0.7071",
}
"""Variations of Pythia's shower, by name of the weight. Factors on the final-state scale are milder than the usual two:
jets of a TeV radiate so much that weights for a factor of two leave a tenth of the statistics."""

FRAGMENTATION_WEIGHTS: Final = {"frag_a_up": "frag:aLund=0.70", "frag_a_down": "frag:aLund=0.66"}
"""Variations of the Lund string, by name of the weight. Jets have so many hadrons that the weights of larger steps, or
of other parameters, would spread too much to be of use."""

PDF_SETS: Final = {
    "pdf_cteq6l1": 8,
    "pdf_mstw08lo": 5,
    "pdf_nnpdf23lo_119": 14,
    "pdf_nnpdf31lo": 17,
    "pdf_nnpdf31lo_118": 18,
    "pdf_cteq66": 9,
    "pdf_nnpdf23nlo": 15,
    "pdf_nnpdf31nlo": 19,
}
"""Pythia's numbers of PDF sets, by name of the weight. They are central members: Pythia ships no replicas."""

HADRONS: Final = 2212
"""PDG number of the beam particles: protons."""

UNSEEN: Final = (12, 13, 14, 16)
"""PDG numbers of neutrinos and muons, which leave no energy in a calorimeter jet."""

PHOTON: Final = 22
"""PDG number of the photon."""

PARTON_STATUS: Final = (23, 33, 43, *range(51, 60), *range(71, 80))
"""Pythia's status codes of partons: those of the hard process, of the showers, and before hadronisation."""


@dataclass(frozen=True, eq=False)
class Collisions:
    """Some collisions of one run of Pythia, at particle level.

    Attributes:
        first: number of the first event in its run; the others follow.
        offset: (n_events + 1,) int64, first particle of each event.
        momentum: (n, 4) float64, px, py, pz and E of the visible final particles [GeV].
        charged: (n,) bool, whether a particle is charged.
        parton_offset: (n_events + 1,) int64, first parton of each event.
        parton: (m, 4) float64, px, py, pz and E of all copies of all partons [GeV].
        parton_label: (m,) int64, PDG number of the parton without sign: 1 to 5, or 21.
        weights: (n_events, n_weights) float64, weights of the events, the nominal one first.
        pdg: (n,) int32, PDG number of a particle.
    """

    first: int
    offset: Int64[ndarray, " n_events_1"]
    momentum: Float64[ndarray, "n 4"]
    charged: Bool[ndarray, " n"]
    parton_offset: Int64[ndarray, " n_events_1"]
    parton: Float64[ndarray, "m 4"]
    parton_label: Int64[ndarray, " m"]
    weights: Float64[ndarray, "n_events n_weights"]
    pdg: Int32[ndarray, " n"]

    def __len__(self) -> int:
        return len(self.weights)


def for_tracker(spec: SampleSpec) -> SampleSpec:
    """The same sample for a simulated tracker: without variations, decays inside the tracker done by Pythia."""
    quiet = ("Print:verbosity = 1",) if "PartonShowers:model = 2" in spec.settings else ()
    return replace(spec, settings=(*spec.settings, *quiet, "ParticleDecays:limitTau0 = off", *DECAYS), varied=False)


def settings_of(spec: SampleSpec, part: Slice, seed: int) -> tuple[str, ...]:
    """All lines for one run of Pythia, in order.

    Args:
        spec: the sample.
        part: the slice.
        seed: seed of Pythia, 1 to 899 999 999.
    """
    lines = [*COMMON, *spec.settings, *part.settings]
    if spec.varied:
        lines += [
            "UncertaintyBands:doVariations = on",
            _listed("UncertaintyBands:List", SHOWER_WEIGHTS),
            _listed("VariationFrag:List", FRAGMENTATION_WEIGHTS),
        ]
    return (*lines, "Random:setSeed = on", f"Random:seed = {seed}")


def cross_section(spec: SampleSpec, part: Slice, n_events: int) -> float:
    """Cross section of a slice [pb], estimated from the hard process alone, which is fast.

    All files of a slice need the same number, so it does not come from the run of one of them. Its relative error is
    about ``0.5 / sqrt(n_events)``. It is the cross section without the bias of the slice, which the weights undo: an
    event counts ``luminosity * cross_section * weight / sum_weights``.

    Args:
        spec: the sample.
        part: the slice.
        n_events: number of events of the hard process to generate.
    """
    lines = settings_of(spec, part, seed_of(0, spec.seed, int(part.low)))
    hard_only = ("UncertaintyBands:doVariations = off", "PartonLevel:all = off", "HadronLevel:all = off")
    pythia = start_pythia((*lines, *hard_only))
    done = 0
    while done < n_events:
        done += len(pythia.nextBatch(min(20_000, n_events - done)))
    return float(pythia.infoPython().sigmaGen()) * 1e9


@cache
def _owner_of_pdf(number: int) -> Any:
    """A Pythia that owns the PDF set of that number, started once for all files of a process."""
    quiet = ("Print:quiet = on", "HardQCD:all = on", "PartonLevel:all = off", "HadronLevel:all = off")
    return start_pythia((*quiet, f"PDF:pSet = {number}"))


class PdfWeights:
    """Re-weighting of events to other PDF sets, by the two partons of the hard process.

    The weight of a set f' relative to the set f that the events were made with is
    ``f'(id1, x1, Q2) f'(id2, x2, Q2) / (f(id1, x1, Q2) f(id2, x2, Q2))``.
    The showers keep the PDF set that they were made with.

    Args:
        sets: Pythia's numbers of the sets, by name of the weight.

    Attributes:
        names: names of the weights.
    """

    def __init__(self, sets: dict[str, int]) -> None:
        self.names = tuple(sets)
        self._pdfs = [_owner_of_pdf(number).getPDFPtr(HADRONS) for number in sets.values()]

    def __call__(self, info: Any) -> Float64[ndarray, "n_events n_sets"]:
        """The relative weights of the events of a batch, from the batch's `info`."""
        columns = (np.asarray(info[name]).tolist() for name in ("id1", "x1", "id2", "x2", "Q2Fac"))
        events = list(zip(*columns, strict=True))
        generated_pdf = np.asarray(info.pdf1) * np.asarray(info.pdf2)
        out = np.empty((len(events), len(self._pdfs)))
        for k, pdf in enumerate(self._pdfs):
            xf = pdf.xf
            out[:, k] = [xf(id1, x1, q2) * xf(id2, x2, q2) for id1, x1, id2, x2, q2 in events]
        out /= generated_pdf[:, None]
        return out


class PythiaRun:
    """One run of Pythia, which generates collisions in batches.

    Args:
        spec: the sample.
        part: the slice.
        seed: seed of Pythia, 1 to 899 999 999.

    Attributes:
        version: version of Pythia.
        settings: the lines that Pythia was given.
        weight_names: names of the columns of `Collisions.weights`.
    """

    def __init__(self, spec: SampleSpec, part: Slice, seed: int) -> None:
        self.settings = settings_of(spec, part, seed)
        self._pythia = start_pythia(self.settings)
        self.version = f"{self._pythia.settings.parm('Pythia:versionNumber'):.3f}"
        shower = (*SHOWER_WEIGHTS, *FRAGMENTATION_WEIGHTS) if spec.varied else ()
        self._pdf = PdfWeights(PDF_SETS if spec.varied else {})
        self.weight_names = ("nominal", *shower, *self._pdf.names)
        self._shower = shower
        self._done = 0

    def batches(self, n_events: int, batch: int = 500) -> Iterator[Collisions]:
        """The next collisions, in batches; the size of the batches does not change the collisions.

        Args:
            n_events: number of collisions.
            batch: number of collisions per batch.
        """
        while n_events > 0:
            batch_of_events = self._pythia.nextBatch(min(batch, n_events))
            n_events -= len(batch_of_events)
            yield self._collisions(batch_of_events)
            self._done += len(batch_of_events)

    def with_tracker_particles(self, n_events: int) -> tuple[Collisions, CollisionPool]:
        """The next collisions, and the particles of the same collisions that can leave hits in a tracker.

        The particles are selected as by `collisions`; the sample should be one of `for_tracker`.

        Args:
            n_events: number of collisions.
        """
        batch_of_events = self._pythia.nextBatch(n_events)
        collisions = self._collisions(batch_of_events)
        self._done += len(batch_of_events)
        return collisions, _tracker_particles(self._pythia, batch_of_events)

    def _collisions(self, batch_of_events: Any) -> Collisions:
        import awkward as ak

        counts = ak.num(batch_of_events.prt.id).to_numpy()
        prt = ak.flatten(batch_of_events.prt)
        pdg, status = prt.id.to_numpy(), prt.status.to_numpy()
        absolute = np.abs(pdg)
        event = np.repeat(np.arange(len(counts)), counts)
        final = (status > 0) & ~np.isin(absolute, UNSEEN)
        parton = np.isin(np.abs(status), PARTON_STATUS) & (((absolute >= 1) & (absolute <= 5)) | (absolute == 21))
        momentum = np.stack([prt.p[axis].to_numpy() for axis in ("px", "py", "pz", "e")], axis=1)
        return Collisions(
            self._done,
            _offsets(event[final], len(counts)),
            momentum[final],
            _charges(self._pythia, pdg[final]) != 0,
            _offsets(event[parton], len(counts)),
            momentum[parton],
            absolute[parton].astype(np.int64),
            self._weights(batch_of_events.info),
            pdg[final].astype(np.int32),
        )

    def _weights(self, info: Any) -> Float64[ndarray, "n_events n_weights"]:
        weights = info.weights.to_numpy().astype(np.float64)
        # Pythia lists each variation twice, by its settings and by our name.
        names = list(self._pythia.infoPython().weightNameVector())
        missing = [name for name in self._shower if name not in names]
        if missing:
            raise ConfigError(f"Pythia gives no weight {', '.join(missing)}; it has {', '.join(names)}")
        nominal = weights[:, :1]
        return np.concatenate(
            [nominal, weights[:, [names.index(name) for name in self._shower]], nominal * self._pdf(info)], 1
        )


def _listed(setting: str, variations: dict[str, str]) -> str:
    """A list of named variations as a line for Pythia."""
    return f"{setting} = {{{','.join(f'{name} {what}' for name, what in variations.items())}}}"


def _offsets(event: ndarray, n_events: int) -> Int64[ndarray, " n_events_1"]:
    """First entry of each event, for entries that are sorted by event."""
    return np.searchsorted(event, np.arange(n_events + 1)).astype(np.int64)
