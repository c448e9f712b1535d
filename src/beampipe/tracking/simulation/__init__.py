"""Simulated events: Pythia 8, ACTS Fatras with hadronic interactions, and hits lost or added afterwards."""

from beampipe.tracking.simulation.degradation import dead_modules, degrade
from beampipe.tracking.simulation.parameters import DEFAULT, NONE, STRESS, Degradation, Detector, Generator, Gun
from beampipe.tracking.simulation.run import simulate, simulate_to

__all__ = [
    "DEFAULT",
    "NONE",
    "STRESS",
    "Degradation",
    "Detector",
    "Generator",
    "Gun",
    "dead_modules",
    "degrade",
    "simulate",
    "simulate_to",
]
