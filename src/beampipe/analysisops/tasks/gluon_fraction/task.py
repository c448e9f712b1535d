"""From the files of `beampipe.chain` to the fraction of gluon jets in a sample: tracks, scale factors, systematics.

Physics: dijets of the toy of `beampipe.simulation.ntuples`, in the trees that the chain writes, with its names and
units. ``nominal`` and ``alternative`` are simulation with labels and weights; the alternative shower has other
fractions of quarks, and slightly other numbers of tracks. In the pseudo-data of the calibration (``data``) and in those
of the measurement (``measured``) numbers of tracks of quark and of gluon jets have hidden factors, and the fractions of
quarks differ from nominal ones by a Gaussian multiple, up to 1.5, of how far those of the alternative shower do. The
measured sample has a fraction of its own, and was taken with a worse tracker: each track is lost with a hidden
probability. Charged particles embedded in both (role ``embedded``) show it; below 0.5 GeV, where no track counts, more
are lost. The truth is that of the labels of the very jets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.dataset import (
    Dialect,
    Events,
    FileLayout,
    Instance,
    Objects,
    RandomParameters,
    Sample,
)
from beampipe.jets import ntuple_format
from beampipe.simulation.jet_detector import LESS_EFFICIENT
from beampipe.simulation.ntuples import ntuple_files
from beampipe.simulation.ntuples.injection import GLUON_LABEL
from beampipe.simulation.ntuples.toy import GLUON_LAWS, QUARK_LAWS, ToyModel, toy_events
from beampipe.simulation.samples import Slice

_LAYOUT: Final = FileLayout(
    Dialect("chain", ntuple_format.EVENTS, columns={"eventNumber": "event"}, counter="n"), ntuple_format.EVENTS
)
"""Names and units of the chain's ntuples."""

_EVENTS: Final = {"data": (50_000, 130_000), "measured": (40_000, 100_000)}
"""Fewest and most events of the data: whoever has not read the files does not know how many there are."""

_SIMULATED_EVENTS: Final = 150_000
_SIMULATED: Final = ("nominal", "alternative")
_PARTICLES: Final = 20_000
_MIN_TRACK_PT: Final = 0.5
"""Smallest transverse momentum of a track that counts [GeV]."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    quark = replace(QUARK_LAWS, n=random.uniform("quark_n", 12.0, 14.0))
    gluon = replace(GLUON_LAWS, n=random.uniform("gluon_n", 19.5, 22.0))
    nominal = ToyModel(quark, gluon, fraction=0.48, fraction_eta=0.45, extra_jets=0.2)
    shift = random.away("shower_fraction", 0.0, 0.015, 0.02)
    alternative = replace(
        nominal,
        fraction=nominal.fraction + shift,
        quark_tracks=random.uniform("shower_quark_tracks", 0.985, 1.015),
        gluon_tracks=random.uniform("shower_gluon_tracks", 0.985, 1.015),
    )
    data = replace(
        nominal,
        fraction=nominal.fraction + shift * float(np.clip(random.generator("nature").normal(), -1.5, 1.5)),
        quark_tracks=random.away("quark_tracks", 1.0, 0.03, 0.06),
        gluon_tracks=random.away("gluon_tracks", 1.0, 0.03, 0.06),
    )
    measured = replace(data, fraction=random.uniform("measured_fraction", 0.25, 0.65))
    kept = {"data": 1.0, "measured": 1 - random.uniform("lost_tracks", 0.055, 0.08)}
    cut = 14 + random.choice("working_point", 3)
    models = {"nominal": nominal, "alternative": alternative, "data": data, "measured": measured}
    drawn = {name: _jets(random, name, model, kept.get(name, 1.0)) for name, model in models.items()}
    samples = [Sample(name, name, _events(events, name in _SIMULATED)) for name, events in drawn.items()]
    probability = random.uniform("embedded_efficiency", 0.88, 0.94)
    for name, share in kept.items():
        # Charged particles whose hits were embedded in recorded events, and whether a track matches each.
        generator = random.generator(f"embedded {name}")
        pt = 0.3 * (50 ** generator.uniform(size=_PARTICLES))
        tracked = probability * share
        found = generator.uniform(size=_PARTICLES) < np.where(pt < _MIN_TRACK_PT, tracked**6, tracked)
        eta = generator.uniform(-2.5, 2.5, _PARTICLES)
        particles = {"particle_pt": pt, "particle_eta": eta, "particle_found": found}
        samples.append(Sample(f"embedded_{name}", "embedded", Events(_PARTICLES, particles)))
    passing = {name: _passing(drawn[name], cut) for name in drawn}
    return Instance(
        tuple(samples),
        {
            "track_efficiency": kept["measured"],
            "sf_quark": passing["data"][0] / passing["nominal"][0],
            "sf_gluon": passing["data"][1] / passing["nominal"][1],
            "gluon_fraction": passing["measured"][2],
        },
        public={"working_point_n_trk": cut, "varied_track_loss": LESS_EFFICIENT},
        layout=_LAYOUT,
    )


def _jets(random: RandomParameters, name: str, model: ToyModel, kept: float) -> ntuple_files.Events:
    """Dijets with labels; simulation is flat in the hard pT, with weights for the spectrum and the same processes."""
    simulated = name in _SIMULATED
    part = Slice(520.0, 1500.0, 4.0 if simulated else 0.0, 1.0)
    number = _SIMULATED_EVENTS if simulated else int(random.generator(f"number of {name}").integers(*_EVENTS[name]))
    events = toy_events(number, random.seed("simulation" if simulated else name), part=part, model=model)
    n_trk = random.generator(f"{name} tracks").binomial(events.jet_n_trk, kept).astype(np.uint16)
    return replace(events, jet_n_trk=n_trk)


def _events(events: ntuple_files.Events, simulated: bool) -> Events:
    """The columns of the chain's files; data have no labels, weights and variations."""
    hidden = () if simulated else (*ntuple_format.VARIED_N_TRK.values(), *ntuple_format.MC_BRANCHES)
    columns: dict[str, Any] = {name: values for name, values in events.columns.items() if name not in hidden}
    del columns["event"]  # numbered when the files are written
    jets = {name[4:]: columns.pop(name) for name in list(columns) if name.startswith("jet_")}
    number = len(events)
    return Events(number, columns, {"jet": Objects(np.repeat(np.arange(number), np.diff(events.offset)), jets)})


def _passing(events: ntuple_files.Events, cut: int) -> tuple[float, float, float]:
    """Of the jets of selected dijets: efficiencies of quark and gluon jets by label, and the share of gluon jets."""
    rows = events.offset[:-1] + np.array([[0], [1]])
    pt, eta, clean = events.jet_pt[rows], events.jet_eta[rows], events.jet_clean[rows]
    good = events.trigger & clean.all(axis=0) & (np.abs(eta).max(axis=0) < 2.1)
    good &= (pt[0] < 2000) & (pt[1] > 500) & (pt[0] < 1.5 * pt[1])
    assert events.jet_label is not None
    assert events.weight is not None
    rows = rows[:, good]
    weight = np.broadcast_to(events.weight[good, 0], rows.shape)
    gluon, passed = events.jet_label[rows] == GLUON_LABEL, events.jet_n_trk[rows] <= cut

    def share(of: ndarray, among: ndarray) -> float:
        return float(weight[of & among].sum() / weight[among].sum())

    return share(passed, ~gluon), share(passed, gluon), share(gluon, np.ones_like(gluon))
