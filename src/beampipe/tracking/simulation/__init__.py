"""Simulated events: Pythia 8, ACTS Fatras with hadronic interactions, detectors, and hits lost or added."""

from beampipe.tracking.simulation.degradation import dead_modules, degrade
from beampipe.tracking.simulation.detectors import Layout, detector_modules, read_layout
from beampipe.tracking.simulation.parameters import DEFAULT, NONE, STRESS, Degradation, Detector, EventGenerator, Gun
from beampipe.tracking.simulation.run import simulate_events, write_simulated

__all__ = [
    "DEFAULT",
    "NONE",
    "STRESS",
    "Degradation",
    "Detector",
    "EventGenerator",
    "Gun",
    "Layout",
    "dead_modules",
    "degrade",
    "detector_modules",
    "read_layout",
    "simulate_events",
    "write_simulated",
]
