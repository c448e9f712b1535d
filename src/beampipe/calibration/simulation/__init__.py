"""Simulated ntuples for the calibration: dijet events by Pythia with a toy detector, or a fast parametric toy.

dijets        files of a simulated dijet sample, made in several processes by `beampipe.simulation`
toy           dijet events drawn from parametric distributions, and their files
injection     pseudo-data with a known scale factor
ntuple_files  events as arrays, and their ROOT files
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
