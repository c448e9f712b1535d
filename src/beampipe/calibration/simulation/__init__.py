"""Simulated ntuples for the calibration: dijet events by Pythia with a toy detector, or a fast parametric toy.

samples     the samples, their settings of Pythia and their slices
pythia      collisions and weights, by Pythia 8
jets        jets of particles, their labels, and what tells quarks from gluons
detector    a toy detector: tracks that are lost or fake, jet energy scale and resolution
produce     the files of a sample, made in several processes
toy         dijet events from simple laws
toy_files   their files
injection   pseudo-data with a known answer
randoms     random numbers that belong to a thing and not to a sequence
write       events as arrays, and their ROOT files
"""

from beampipe.calibration.simulation.dijets import simulate_dijets
from beampipe.calibration.simulation.injection import INJECTIONS, Injection, inject
from beampipe.calibration.simulation.ntuple_files import Events, file_name, read_bookkeeping, read_ntuple, write_ntuple
from beampipe.calibration.simulation.toy import TOY_SLICES, ToyModel, simulate_toy, toy_events
from beampipe.simulation.samples import SAMPLES, SLICES, SampleSpec, Slice, sample_spec

__all__ = [
    "INJECTIONS",
    "SAMPLES",
    "SLICES",
    "TOY_SLICES",
    "Events",
    "Injection",
    "SampleSpec",
    "Slice",
    "ToyModel",
    "file_name",
    "inject",
    "read_bookkeeping",
    "read_ntuple",
    "sample_spec",
    "simulate_dijets",
    "simulate_toy",
    "toy_events",
    "write_ntuple",
]
