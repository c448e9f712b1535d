"""Simulated collisions and detectors: Pythia 8, ACTS Fatras with hadronic interactions, jets, lost hits and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.simulation.degradation import DEFAULT as DEFAULT
    from beampipe.simulation.degradation import NONE as NONE
    from beampipe.simulation.degradation import STRESS as STRESS
    from beampipe.simulation.degradation import Degradation as Degradation
    from beampipe.simulation.degradation import dead_modules as dead_modules
    from beampipe.simulation.degradation import degrade as degrade
    from beampipe.simulation.detector import Detector as Detector
    from beampipe.simulation.detector import DetectorLayout as DetectorLayout
    from beampipe.simulation.detector import detector_modules as detector_modules
    from beampipe.simulation.detector import read_layout as read_layout
    from beampipe.simulation.primaries import EventGenerator as EventGenerator
    from beampipe.simulation.primaries import Gun as Gun
    from beampipe.simulation.run import simulate_events as simulate_events

__getattr__, __dir__, __all__ = loader(__name__)
