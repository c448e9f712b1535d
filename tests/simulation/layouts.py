"""The layouts of the examples, a small one for the tests that change it, and muons in any of them."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from beampipe.events import Event
from beampipe.simulation.detector import Detector, DetectorLayout
from beampipe.simulation.primaries import EventGenerator, Gun
from beampipe.simulation.run import simulate_events

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "detectors"
COMPACT: Final = EXAMPLES / "compact.toml"
LONGBAR: Final = EXAMPLES / "longbar.toml"

SMALL: Final = """
name = "small"
field_T = 1.0

[beam_pipe]
radius_mm = 20

[barrel.only]
radii_mm = [50, 100]
half_length_mm = 200
module_mm = [20, 50]
pitch_mm = [0.1, 0.1]
thickness_x0 = 0.01

[discs.only]
z_mm = [300, 400]
inner_radius_mm = 45
outer_radius_mm = 110
module_mm = [30, 40]
pitch_mm = [0.1, 0.2]
thickness_x0 = 0.02
"""


def shot(layout: DetectorLayout, seed: int, n: int, pt: tuple[float, float], eta_max: float) -> Event:
    """One event of muons."""
    gun = EventGenerator(0.0, "gun", Gun(n_particles=n, pt=pt, eta_max=eta_max)).at(layout.vertex)
    event, _ = next(simulate_events(1, gun, replace(Detector.of(layout), hadronic=False), seed=seed))
    return event
