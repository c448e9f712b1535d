"""Lose hits, switch modules off and add noise, on arrays: one clean event serves every level of degradation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Int64
from beampipe.errors import ConfigError, InputError, look_up
from beampipe.events import Event
from beampipe.provenance import DEGRADATION, Provenance, require_once
from beampipe.simulation.detector import DetectorLayout, Modules, detector_modules
from beampipe.simulation.stereo import noise_hits


@dataclass(frozen=True)
class Degradation:
    """How the measured hits differ from those of a perfect detector.

    Attributes:
        hit_loss: fraction of hits lost at random.
        dead_modules: fraction of modules that give no hits during a whole run.
        noise: hits made by no particle, as a fraction of the hits that are left.
    """

    hit_loss: float = 0.02
    dead_modules: float = 0.01
    noise: float = 0.05

    def __post_init__(self) -> None:
        for name in ("hit_loss", "dead_modules"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"degradation: got {name}={getattr(self, name)}, expected 0 <= {name} < 1")
        if not 0 <= self.noise <= 10:
            raise ConfigError(f"degradation: got noise={self.noise}, expected 0 <= noise <= 10")


DEFAULT: Final = Degradation()
"""2 % of the hits lost, 1 % of the modules dead, 5 % noise."""

STRESS: Final = Degradation(hit_loss=0.03, dead_modules=0.02, noise=0.20)
"""3 % of the hits lost, 2 % of the modules dead, 20 % noise."""

NONE: Final = Degradation(hit_loss=0.0, dead_modules=0.0, noise=0.0)
"""The events as simulated."""

DEGRADATIONS: Final[Mapping[str, Degradation]] = MappingProxyType({"none": NONE, "default": DEFAULT, "stress": STRESS})
"""Named levels: as simulated, as expected of a working detector, and beyond."""


_DEAD, _EVENT = 21, 22  # mixed into seeds, so that dead modules and events draw independent random numbers


def degrade(
    event: Event,
    degradation: Degradation = DEFAULT,
    seed: int = 0,
    *,
    run_seed: int = 0,
    modules: Modules | None = None,
    again: bool = False,
) -> Event:
    """Lose hits at random and in dead modules, then add noise.

    Noise is uniform over the sensitive area and Poisson distributed in number, with mean `degradation.noise` times
    the hits that are left. Noise hits come last; the order of the other hits stays. Particles that
    lost all their hits stay. A space point of a double-sided module is lost if the first sensor is dead.

    Args:
        event: clean event, with geometry identifiers of these modules unless only `hit_loss` is not 0.
        degradation: fractions of lost hits, dead modules and noise.
        seed: seed of the event's losses and noise, combined with its `event_id`.
        run_seed: seed of the dead modules, which events of one run share.
        modules: modules of the detector that the event is of, default those of the GenericDetector.
        again: accept an event that was degraded before.

    Returns:
        the degraded event; `event` itself is untouched.

    Raises:
        InputError: the event was degraded before, lacks identifiers or other fields, or is of another detector.
    """
    if degradation == NONE:
        return event
    if not again:
        require_once(event.provenance, DEGRADATION, f"event {event.event_id}", "--degrade-again (again=True)")
    made = (event.provenance or Provenance()).after(DEGRADATION, **asdict(degradation), seed=seed, run_seed=run_seed)
    event = replace(event, provenance=made)
    rng = np.random.default_rng([seed, _EVENT, event.event_id])
    kept = rng.random(len(event.hits)) >= degradation.hit_loss
    table = detector_modules() if modules is None else modules
    dead = dead_modules(degradation.dead_modules, run_seed, table)
    if degradation.dead_modules > 0:
        if event.hits.geometry_id is None:
            raise InputError(
                f"event {event.event_id}: got hits without geometry_id, expected them for dead modules;"
                " use a Degradation with dead_modules=0"
            )
        kept &= ~dead[table.rows(event.hits.geometry_id)]
    left = event.take(kept)
    if degradation.noise == 0:
        return left
    n_noise = int(rng.poisson(degradation.noise * len(left.hits)))
    # Noise is uniform over the area of the modules that are not dead.
    share = np.cumsum(np.where(dead, 0.0, table.area))
    row: Int64[ndarray, " n"] = np.searchsorted(share, rng.random(n_noise) * share[-1], side="right")
    return left.with_noise(noise_hits(table, row, table.uniform(row, rng)))


def degrader(
    name: str, seed: int, layout: DetectorLayout | None = None, *, again: bool = False
) -> Callable[[Event], Event]:
    """What degrades the events of one run at a named level: they share their dead modules.

    Args:
        name: name of the level, a key of `DEGRADATIONS`; at ``"none"`` events stay as they are.
        seed: seed of losses, noise and dead modules.
        layout: detector that the events are of, default the GenericDetector.
        again: accept events that were degraded before.

    Raises:
        UnknownNameError: no level of that name.
    """
    level = look_up("degradation", name, DEGRADATIONS)
    modules = None if level == NONE else detector_modules(layout)
    return lambda event: degrade(event, level, seed, run_seed=seed, modules=modules, again=again)


def run_degraded(
    events: Iterable[Event], name: str, seed: int, layout: DetectorLayout | None = None, *, again: bool = False
) -> Iterator[Event]:
    """The events of one run as `degrader` makes them.

    Raises:
        UnknownNameError: no level of that name.
    """
    return map(degrader(name, seed, layout, again=again), events)


def dead_modules(fraction: float, run_seed: int, modules: Modules | None = None) -> Bool[ndarray, " n_modules"]:
    """Which modules are dead in a run; the number is exact, the choice random.

    Args:
        fraction: share of the modules that is dead.
        run_seed: seed of the choice.
        modules: modules of the detector, default those of the GenericDetector.
    """
    n = len(detector_modules() if modules is None else modules)
    dead = np.zeros(n, np.bool_)
    dead[np.random.default_rng([run_seed, _DEAD]).permutation(n)[: round(fraction * n)]] = True
    return dead
