"""Simulated collisions and detectors: Pythia 8, ACTS Fatras with hadronic interactions, jets, lost hits and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.simulation.degradation import DEFAULT, NONE, STRESS, Degradation, dead_modules, degrade
    from beampipe.simulation.detector import Detector, DetectorLayout, detector_modules, read_layout
    from beampipe.simulation.primaries import EventGenerator, Gun
    from beampipe.simulation.run import simulate_events

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
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "degradation": ["DEFAULT", "NONE", "STRESS", "Degradation", "dead_modules", "degrade"],
        "detector": ["Detector", "DetectorLayout", "detector_modules", "read_layout"],
        "primaries": ["EventGenerator", "Gun"],
        "run": ["simulate_events"],
    },
)
