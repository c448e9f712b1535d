"""Take hits away and add noise, on arrays: one clean event serves every level of degradation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Int64
from beampipe.errors import InputError, UnknownNameError
from beampipe.tracking.events import Event, Hits
from beampipe.tracking.events.arrays import cylindrical
from beampipe.tracking.simulation.detectors import Layout, Modules, detector_modules
from beampipe.tracking.simulation.parameters import DEFAULT, DEGRADATIONS, NONE, Degradation

__all__ = ["dead_modules", "degrade", "run_degraded"]

_DEAD, _EVENT = 21, 22  # what a seed is used for


def degrade(
    event: Event,
    degradation: Degradation = DEFAULT,
    seed: int = 0,
    *,
    run_seed: int = 0,
    modules: Modules | None = None,
) -> Event:
    """Lose hits at random and in dead modules, then add noise.

    Noise is uniform over the sensitive area and Poisson distributed in number, with mean `degradation.noise` times
    the hits that are left. Noise hits come last, so a hit keeps its place among those that are left. Particles that
    lost all their hits stay.

    Args:
        event: clean event, with geometry identifiers of these modules unless only `hit_loss` is asked for.
        degradation: how much is lost and added.
        seed: seed of the event's losses and noise, combined with its `event_id`.
        run_seed: seed of the dead modules, which events of one run share.
        modules: modules of the detector that the event is of, default those of the GenericDetector.

    Returns:
        the degraded event; `event` itself is untouched.

    Raises:
        InputError: the event lacks what is needed, or is of another detector.
    """
    rng = np.random.default_rng([seed, _EVENT, event.event_id])
    kept = rng.random(len(event.hits)) >= degradation.hit_loss
    table = detector_modules() if modules is None else modules
    dead = dead_modules(degradation.dead_modules, run_seed, table)
    if degradation.dead_modules > 0:
        kept &= ~_on_dead_modules(event, dead, table)
    left = event.take(kept)
    if degradation.noise == 0:
        return left
    n_noise = int(rng.poisson(degradation.noise * len(left.hits)))
    return left.with_noise(_noise(n_noise, ~dead, table, rng))


def run_degraded(events: Iterable[Event], name: str, seed: int, layout: Layout | None = None) -> Iterator[Event]:
    """The events of one run at a named level: they share their dead modules.

    Args:
        events: clean events; at ``"none"`` they stay as they are.
        name: name of the level, a key of `DEGRADATIONS`.
        seed: seed of losses, noise and dead modules.
        layout: detector that the events are of, default the GenericDetector.

    Raises:
        UnknownNameError: no level of that name.
    """
    if name not in DEGRADATIONS:
        raise UnknownNameError("degradation", name, DEGRADATIONS)
    level = DEGRADATIONS[name]
    if level == NONE:
        return iter(events)
    modules = detector_modules(layout)
    return (degrade(event, level, seed, run_seed=seed, modules=modules) for event in events)


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


def _on_dead_modules(event: Event, dead: Bool[ndarray, " n_modules"], table: Modules) -> Bool[ndarray, " n_hits"]:
    if event.hits.geometry_id is None:
        raise InputError(
            f"event {event.event_id}: got hits without geometry_id, expected them for dead modules;"
            " use a Degradation with dead_modules=0"
        )
    return np.asarray(dead[table.rows(event.hits.geometry_id)])


def _noise(n: int, alive: Bool[ndarray, " n_modules"], table: Modules, rng: np.random.Generator) -> Hits:
    """Hits uniform over the area of the modules that are alive."""
    share = np.cumsum(np.where(alive, table.area, 0.0))
    row: Int64[ndarray, " n"] = np.searchsorted(share, rng.random(n) * share[-1], side="right")
    local = table.uniform(row, rng)
    xyz = table.to_global(row, local.astype(np.float64))
    return Hits(cylindrical(*xyz.T), table.geometry_id[row], local, table.variance[row].astype(np.float32))
