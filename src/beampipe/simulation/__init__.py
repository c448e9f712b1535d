"""Simulated collisions and detectors: Pythia 8, ACTS Fatras with hadronic interactions, jets, lost hits and noise."""

from beampipe.simulation.degradation import DEFAULT, NONE, STRESS, Degradation, dead_modules, degrade
from beampipe.simulation.detector import Detector, DetectorLayout, detector_modules, read_layout
from beampipe.simulation.primaries import EventGenerator, Gun
from beampipe.simulation.run import simulate_events, write_simulated

__all__ = [
    "DEFAULT",
    "NONE",
    "STRESS",
    "Degradation",
    "Detector",
    "DetectorLayout",
    "EventGenerator",
    "Gun",
    "dead_modules",
    "degrade",
    "detector_modules",
    "read_layout",
    "simulate_events",
    "write_simulated",
]
