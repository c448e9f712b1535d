"""Simulate samples: any number of events, over any number of processes, always the same for the same seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError
from beampipe.events import Event
from beampipe.processes import worker_pool
from beampipe.provenance import SIMULATION, Provenance, installed
from beampipe.simulation.acts_geometry import acts_examples
from beampipe.simulation.clusters import require_sensors
from beampipe.simulation.detector import Detector, detector_modules
from beampipe.simulation.fatras import EventSimulator
from beampipe.simulation.hadronic import interaction_table
from beampipe.simulation.primaries import MOST_COLLISIONS, EventGenerator
from beampipe.simulation.pythia import CollisionSource

SimulatedEvent = tuple[Event, dict[str, int]]
"""An event and its counts: ``hadrons`` with hits, ``interactions`` of these, ``merged`` and ``unmeasured`` hits."""

_CHUNK_COLLISIONS: Final = 400
"""Number of collisions that a worker simulates per task."""

_CHUNK_EVENTS: Final = 25
"""Largest number of events that a worker simulates per task."""

_simulator: EventSimulator | None = None


@dataclass(frozen=True)
class _Sample:
    """The settings of a sample, and the range of its events."""

    generator: EventGenerator
    detector: Detector
    seed: int
    first_event: int
    n_events: int
    cache: Path | None

    def simulator(self) -> EventSimulator:
        """The simulator of these events."""
        generator = self.generator
        soft_process = "quick_soft" if generator.pool_size is None else "soft"

        def source(process: str, n_collisions: int) -> CollisionSource:
            return CollisionSource(process, n_collisions, self.seed, self.cache)

        soft = source(soft_process, generator.pool_size or MOST_COLLISIONS) if generator.pileup > 0 else None
        hard = None
        if generator.hard in ("ttbar", "jets"):
            hard = source(generator.hard, self.first_event + self.n_events)
        elif generator.hard == "none" and generator.pileup == 0:
            hard = source(soft_process, self.first_event + self.n_events)
        interactions = interaction_table() if self.detector.hadronic else None
        return EventSimulator(generator, self.detector, self.seed, soft, hard, interactions)

    @property
    def provenance(self) -> Provenance:
        """How these events are made."""
        detector = {
            "name": "generic" if self.detector.layout is None else self.detector.layout.name,
            **{name: getattr(self.detector, name) for name in ("field_scale", "hadronic", "clusters")},
        }
        return Provenance().after(
            SIMULATION,
            generator=asdict(self.generator),
            detector=detector,
            field_T=self.detector.field * self.detector.field_scale,
            seed=self.seed,
            versions={name: installed(name) for name in ("pyacts", "pythia8mc")},
        )

    def chunks(self, workers: int) -> list[tuple[int, int]]:
        """First event and number of events of each task."""
        by_collisions = int(_CHUNK_COLLISIONS / (self.generator.pileup + 1))
        size = max(1, min(_CHUNK_EVENTS, by_collisions, -(-self.n_events // workers)))
        return [(self.first_event + at, min(size, self.n_events - at)) for at in range(0, self.n_events, size)]


def simulate_events(
    n_events: int,
    generator: EventGenerator | None = None,
    detector: Detector | None = None,
    *,
    seed: int,
    first_event: int = 0,
    workers: int = 1,
    apart: bool = False,
    progress: Callable[[int], object] | None = None,
    cache: Path | None = None,
) -> Iterator[SimulatedEvent]:
    """Simulate events number `first_event` onwards of the sample `seed`, in order.

    Args:
        n_events: number of events to simulate.
        generator: collisions of an event, default ttbar with 200 pile-up collisions.
        detector: detector around them, default the GenericDetector in 2 T with hadronic interactions.
        seed: number of the sample; samples of different seeds share no collision.
        first_event: number of the first event. An event depends only on the seed and its number.
        workers: number of processes; with 1 the work is done in this one.
        apart: use another process with one worker, too: Ctrl-C then does not wait for a call of Pythia or ACTS, which
            may take many seconds.
        progress: called with the number of events done after each.
        cache: folder for generated collisions, default the user's cache.

    Yields:
        Each event and its counts: ``hadrons`` with hits, ``interactions`` of these, ``merged`` and ``unmeasured`` hits;
        with clusters, ``fragments`` of them that are left out.

    Raises:
        ConfigError: a number is negative, there is no worker, or clusters are requested of a detector without the
            thickness of its sensors.
        MissingExtraError: pyacts or pythia8mc is not installed.
    """
    if n_events < 0 or first_event < 0 or workers < 1 or seed < 0:
        raise ConfigError(
            f"simulate: got n_events={n_events}, first_event={first_event}, workers={workers}, seed={seed},"
            " expected none negative and at least one worker"
        )
    acts_examples()
    detector = detector or Detector()
    if detector.clusters:
        require_sensors(detector_modules(detector.layout))
    sample = _Sample(generator or EventGenerator(), detector, seed, first_event, n_events, cache)
    made = sample.provenance
    done = 0
    for chunk in _results(sample, workers, apart=apart):
        for event, counts in chunk:
            done += 1
            yield replace(event, provenance=made), counts
            if progress is not None:
                progress(done)


def _results(sample: _Sample, workers: int, *, apart: bool) -> Iterator[list[SimulatedEvent]]:
    """The chunks in order, made here or by processes that are at most a few chunks ahead."""
    chunks = sample.chunks(workers)
    if not chunks:
        return
    if workers == 1 and not apart:
        simulator = sample.simulator()
        for first, n in chunks:
            yield simulator.run(first, n)
        return
    with worker_pool(workers) as pool:
        # If this ends early, the pool ends its workers. Nothing is cancelled then: the executor of Python 3.11 prints a
        # traceback if a future was cancelled when a worker ends.
        waiting: deque[Future[list[SimulatedEvent]]] = deque()
        for first, n in chunks:
            waiting.append(pool.submit(_work, sample, first, n))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _work(sample: _Sample, first: int, n: int) -> list[SimulatedEvent]:
    """A chunk, in a worker process, which builds its simulator once."""
    global _simulator
    if _simulator is None:
        _simulator = sample.simulator()
    return _simulator.run(first, n)
