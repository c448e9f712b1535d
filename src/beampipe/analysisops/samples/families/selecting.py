"""Selections of the reference analyses, on events as they are made: they tell the expected numbers of events."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.detector import ISOLATION
from beampipe.analysisops.samples.events import Events, Objects
from beampipe.analysisops.samples.kinematics import from_polar, masses
from beampipe.arrays import Bool, Float64

__all__ = ["good_leptons", "lepton_mass"]


def good_leptons(events: Events, pt_min: float) -> Objects:
    """Leptons that are tight, isolated and above a pt [GeV]."""
    leptons = events.collections["lep"]
    fields = leptons.fields
    return leptons.where(
        fields["isTightID"] & (fields["ptcone20"] < ISOLATION * fields["pt"]) & (fields["pt"] > pt_min)
    )


def lepton_mass(leptons: Objects, number: int) -> tuple[Bool[ndarray, " number"], Float64[ndarray, " number"]]:
    """Whether each event has exactly two leptons, of opposite charge and the same kind, and their mass [GeV], or 0."""
    rows = np.flatnonzero(leptons.counts(number) == 2)
    first = np.searchsorted(leptons.event, rows)
    charge, kind = leptons.fields["charge"], leptons.fields["type"]
    fits = (charge[first] != charge[first + 1]) & (kind[first] == kind[first + 1])
    rows, first = rows[fits], first[fits]
    momenta = from_polar(*(leptons.fields[name] for name in ("pt", "eta", "phi", "e")))
    two, mass = np.zeros(number, dtype=bool), np.zeros(number)
    two[rows] = True
    mass[rows] = masses(momenta[first] + momenta[first + 1])
    return two, mass
