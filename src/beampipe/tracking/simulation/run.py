"""Simulate samples: any number of events, over any number of processes, always the same for the same seed."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError
from beampipe.tracking.events import Event
from beampipe.tracking.formats import write_events
from beampipe.tracking.simulation.fatras import Chain
from beampipe.tracking.simulation.hadronic import interaction_table
from beampipe.tracking.simulation.modules import acts_examples
from beampipe.tracking.simulation.parameters import Detector, Generator
from beampipe.tracking.simulation.pythia import pool

__all__ = ["SimulatedEvent", "simulate", "simulate_to"]

SimulatedEvent = tuple[Event, dict[str, int]]

_CHUNK_COLLISIONS: Final = 400  # collisions per task of a worker

_chain: Chain | None = None


def simulate(
    n_events: int,
    generator: Generator | None = None,
    detector: Detector | None = None,
    *,
    seed: int,
    first_event: int = 0,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
    cache: Path | None = None,
) -> Iterator[SimulatedEvent]:
    """Simulate events number `first_event` onwards of the sample `seed`, in order.

    Args:
        n_events: how many.
        generator: what collides, default ttbar with 200 pile-up collisions.
        detector: default the GenericDetector in 2 T with hadronic interactions.
        seed: of the sample; samples of different seeds share no collision.
        first_event: number of the first event. An event depends on the seed and its number, on nothing else.
        workers: processes; with 1 the work is done in this one.
        progress: called with the number of events done after each.
        cache: folder for generated collisions, default the user's cache.

    Yields:
        each event and its counts: ``hadrons`` with hits, ``interactions`` of these, ``merged`` and
        ``unmeasured`` hits.

    Raises:
        MissingExtraError: pyacts or pythia8mc is not installed.
    """
    if n_events < 0 or first_event < 0 or workers < 1 or seed < 0:
        raise ConfigError(
            f"simulate: got n_events={n_events}, first_event={first_event}, workers={workers}, seed={seed},"
            " expected none negative and at least one worker"
        )
    acts_examples()
    generator, detector = generator or Generator(), detector or Detector()
    arguments = (generator, detector, seed, first_event, n_events, cache)
    # Made here once, so that the workers find everything in the cache.
    _prepare(*arguments)
    size = max(1, min(25, int(_CHUNK_COLLISIONS / (generator.pileup + 1)), -(-n_events // workers)))
    chunks = [(at, min(size, n_events - at)) for at in range(0, n_events, size)]
    done = 0
    for chunk in _results(arguments, [(first_event + at, n) for at, n in chunks], workers):
        for event in chunk:
            done += 1
            yield event
            if progress is not None:
                progress(done)


def simulate_to(
    path: str | Path,
    n_events: int,
    generator: Generator | None = None,
    detector: Detector | None = None,
    *,
    seed: int,
    first_event: int = 0,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
    cache: Path | None = None,
) -> dict[str, int]:
    """`simulate` into a Parquet file that appears under `path` when it is complete; returns the summed counts."""
    total: dict[str, int] = {}

    def events() -> Iterator[Event]:
        for event, counts in simulate(
            n_events,
            generator,
            detector,
            seed=seed,
            first_event=first_event,
            workers=workers,
            progress=progress,
            cache=cache,
        ):
            for name, count in counts.items():
                total[name] = total.get(name, 0) + count
            yield event

    write_events(path, events())
    return total


def _prepare(
    generator: Generator, detector: Detector, seed: int, first_event: int, n_events: int, cache: Path | None
) -> Chain:
    """The chain for events of a sample."""
    last = first_event + n_events
    soft = pool("soft", generator.pool_size, seed, cache) if generator.pileup > 0 else None
    hard = None
    if generator.hard == "ttbar":
        hard = pool("ttbar", last, seed, cache)
    elif generator.hard == "none" and generator.pileup == 0:
        hard = pool("soft", last, seed, cache)
    interactions = interaction_table(cache) if detector.hadronic else None
    return Chain(generator, detector, seed, soft, hard, interactions)


def _results(
    arguments: tuple[Generator, Detector, int, int, int, Path | None], chunks: list[tuple[int, int]], workers: int
) -> Iterator[list[SimulatedEvent]]:
    """The chunks in order, made here or by processes that are at most a few chunks ahead."""
    if workers == 1:
        chain = _prepare(*arguments)
        for first, n in chunks:
            yield chain.run(first, n)
        return
    with ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=arguments
    ) as executor:
        waiting: deque[Future[list[SimulatedEvent]]] = deque()
        try:
            for first, n in chunks:
                waiting.append(executor.submit(_work, first, n))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _start(
    generator: Generator, detector: Detector, seed: int, first_event: int, n_events: int, cache: Path | None
) -> None:
    global _chain
    _chain = _prepare(generator, detector, seed, first_event, n_events, cache)


def _work(first: int, n: int) -> list[SimulatedEvent]:
    assert _chain is not None
    return _chain.run(first, n)
