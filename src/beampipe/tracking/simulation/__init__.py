"""Simulated events: Pythia 8, ACTS Fatras with hadronic interactions, and hits lost or added afterwards."""

from beampipe.tracking.simulation.degradation import dead_modules, degrade
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
    "dead_modules",
    "degrade",
    "simulate_events",
    "write_simulated",
]
