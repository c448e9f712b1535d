"""Dijet collisions by Pythia 8 in batches of arrays, with the weights of the variations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.calibration.simulation.samples import SampleSpec, Slice
from beampipe.errors import ConfigError
from beampipe.pythia import seed_of, start_pythia

__all__ = [
    "PDF_SETS",
    "SHOWER_WEIGHTS",
    "Collisions",
    "PdfWeights",
    "PythiaRun",
    "cross_section",
    "settings_of",
]

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
"""PDG number of what collides: protons."""

UNSEEN: Final = (12, 13, 14, 16)
"""PDG numbers of neutrinos and muons, which leave no energy in a calorimeter jet."""

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
    """

    first: int
    offset: Int64[ndarray, " n_events_1"]
    momentum: Float64[ndarray, "n 4"]
    charged: Bool[ndarray, " n"]
    parton_offset: Int64[ndarray, " n_events_1"]
    parton: Float64[ndarray, "m 4"]
    parton_label: Int64[ndarray, " m"]
    weights: Float64[ndarray, "n_events n_weights"]

    def __len__(self) -> int:
        return len(self.weights)


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
        # The Pythia objects own the PDFs.
        quiet = ("Print:quiet = on", "HardQCD:all = on", "PartonLevel:all = off", "HadronLevel:all = off")
        self._owners = [start_pythia((*quiet, f"PDF:pSet = {number}")) for number in sets.values()]
        self._pdfs = [owner.getPDFPtr(HADRONS) for owner in self._owners]

    def __call__(self, info: Any) -> Float64[ndarray, "n_events n_sets"]:
        """The relative weights of the events of a batch, from the batch's `info`."""
        columns = (np.asarray(info[name]).tolist() for name in ("id1", "x1", "id2", "x2", "Q2Fac"))
        events = list(zip(*columns, strict=True))
        made = np.asarray(info.pdf1) * np.asarray(info.pdf2)
        out = np.empty((len(events), len(self._pdfs)))
        for k, pdf in enumerate(self._pdfs):
            xf = pdf.xf
            out[:, k] = [xf(id1, x1, q2) * xf(id2, x2, q2) for id1, x1, id2, x2, q2 in events]
        out /= made[:, None]
        return out


class PythiaRun:
    """One run of Pythia, which gives collisions batch by batch.

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
        self._charged: dict[int, bool] = {}
        self._done = 0

    def batches(self, n_events: int, batch: int = 500) -> Iterator[Collisions]:
        """The next collisions, in batches; the size of the batches does not change the collisions.

        Args:
            n_events: number of collisions.
            batch: number of collisions per batch.
        """
        while n_events > 0:
            made = self._pythia.nextBatch(min(batch, n_events))
            n_events -= len(made)
            yield self._collisions(made)
            self._done += len(made)

    def _collisions(self, made: Any) -> Collisions:
        import awkward as ak

        counts = ak.num(made.prt.id).to_numpy()
        prt = ak.flatten(made.prt)
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
            self._is_charged(pdg[final]),
            _offsets(event[parton], len(counts)),
            momentum[parton],
            absolute[parton].astype(np.int64),
            self._weights(made.info),
        )

    def _weights(self, info: Any) -> Float64[ndarray, "n_events n_weights"]:
        found = info.weights.to_numpy().astype(np.float64)
        # Pythia lists each variation twice, by its settings and by our name.
        names = list(self._pythia.infoPython().weightNameVector())
        missing = [name for name in self._shower if name not in names]
        if missing:
            raise ConfigError(f"Pythia gives no weight {', '.join(missing)}; it has {', '.join(names)}")
        nominal = found[:, :1]
        return np.concatenate(
            [nominal, found[:, [names.index(name) for name in self._shower]], nominal * self._pdf(info)], 1
        )

    def _is_charged(self, pdg: ndarray) -> Bool[ndarray, " n"]:
        kinds, place = np.unique(pdg, return_inverse=True)
        data = self._pythia.particleData
        for kind in kinds.tolist():
            if kind not in self._charged:
                self._charged[kind] = data.charge(kind) != 0
        return np.array([self._charged[kind] for kind in kinds.tolist()], dtype=bool)[place]


def _listed(setting: str, variations: dict[str, str]) -> str:
    """A list of named variations as a line for Pythia."""
    return f"{setting} = {{{','.join(f'{name} {what}' for name, what in variations.items())}}}"


def _offsets(event: ndarray, n_events: int) -> Int64[ndarray, " n_events_1"]:
    """First entry of each event, for entries that are sorted by event."""
    return np.searchsorted(event, np.arange(n_events + 1)).astype(np.int64)
