"""One event through ACTS: Pythia's particles, Fatras, hadronic interactions, smeared measurements, arrays.

The chain of algorithms for one event, in the GenericDetector and in a layout of one's own::

    Source -> Fatras -> Interact -> Fatras of the products -> Merge -> Digitization -> Collect
    Source -> Fatras -> Interact -> Fatras of the products -> Measure

The digitisation of ACTS looks for hits within half a module's thickness of its plane, and modules made in Python have
none: it would drop nearly all. Hits of a layout are smeared here, on arrays; two hits on one spot stay two.

Bulk data leave ACTS as Arrow tables; the two tables of hits and particles share row numbers, so that no object of
ACTS is touched per hit except where a container must be filled.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from beampipe.errors import MissingExtraError
from beampipe.pythia import seed_of
from beampipe.tracking.events import Event
from beampipe.tracking.simulation.detectors import acts_examples, build_detector
from beampipe.tracking.simulation.detectors.generic import PITCH
from beampipe.tracking.simulation.hadronic import Interactions
from beampipe.tracking.simulation.interact import interact
from beampipe.tracking.simulation.parameters import Detector, EventGenerator
from beampipe.tracking.simulation.pythia import CollisionPool
from beampipe.tracking.simulation.source import PrimaryParticles, primaries
from beampipe.tracking.simulation.tables import Columns, Record, collect, columns, identifiers, left_hits, smeared

__all__ = ["Chain"]

_P_MIN: Final = 0.1  # Fatras stops below this momentum [GeV]
_FATRAS, _INTERACT, _SOURCE, _MEASURE = 11, 12, 13, 14  # what a seed is used for


class Chain:
    """Simulates events in this process; the detector is built once.

    Args:
        generator: collisions that events are made of.
        detector: detector that the particles go through.
        seed: number of the sample; an event depends on this and on its number alone.
        soft: pool of soft collisions, for the pile-up.
        hard: pool of hard (or, without pile-up, soft) collisions, of which event i takes number i.
        interactions: hadron-nucleus table, or None to leave them out.
    """

    def __init__(
        self,
        generator: EventGenerator,
        detector: Detector,
        seed: int,
        soft: CollisionPool | None,
        hard: CollisionPool | None,
        interactions: Interactions | None,
    ) -> None:
        self.examples = acts_examples()
        self.detector = build_detector(detector.layout)
        self.geometry, self.modules = self.detector.geometry, self.detector.modules
        self.generator, self.setup, self.seed = generator, detector, seed
        self.soft, self.hard, self.interactions = soft, hard, interactions

    def run(self, first: int, n_events: int) -> list[tuple[Event, dict[str, int]]]:
        """Simulate events number `first` to `first + n_events - 1`; each with its counts."""
        import acts

        out: list[tuple[Event, dict[str, int]]] = []
        with tempfile.TemporaryDirectory() as folder:
            sequencer = self.examples.Sequencer(
                events=n_events,
                skip=first,
                numThreads=1,
                logLevel=acts.logging.WARNING,
                # Fatras divides by zero at times, without harm.
                failOnUnmaskedFpe=False,
                trackFpes=False,
                outputDir=folder,
            )
            algorithms = list(self._algorithms(Path(folder), out))
            for algorithm in algorithms:
                sequencer.addAlgorithm(algorithm)
            sequencer.run()
        return out

    def _algorithms(self, folder: Path, out: list[tuple[Event, dict[str, int]]]) -> Iterator[Any]:
        """The algorithms of the sequencer, in order; finished events are added to `out`."""
        work = _Work(self, out)
        table = _arrow().arrow.ArrowTable
        particles, hits = self.examples.SimParticleContainer, self.examples.SimHitContainer
        random = self.examples.RandomNumbers(seed=seed_of(self.seed, _FATRAS))
        yield _step("Source", work.source, {}, {"particles": particles})
        yield self._fatras("particles", "simulated", "hits", random)
        yield from self._tables("simulated", "hits")
        yield _step(
            "Interact",
            work.stop,
            {"hits": hits, "hits_table": table, "simulated_table": table},
            {"products": particles},
        )
        yield self._fatras("products", "simulated_products", "product_hits", random)
        yield from self._tables("simulated_products", "product_hits")
        if self.setup.layout is None:
            yield from self._digitisation(folder, work, random)
        else:
            second = {"product_hits_table": table, "simulated_products_table": table}
            yield _step("Measure", work.measure, second, {})

    def _digitisation(self, folder: Path, work: _Work, random: Any) -> Iterator[Any]:
        """From the hits of both passes to the finished event, measured by ACTS."""
        table, hits = _arrow().arrow.ArrowTable, self.examples.SimHitContainer
        yield _step(
            "Merge",
            work.merge,
            {"hits": hits, "product_hits": hits, "product_hits_table": table, "simulated_products_table": table},
            {"all_hits": hits},
        )
        yield self.examples.DigitizationAlgorithm(self._digitization(folder, random), _quiet())
        # Particles of the second pass are not in this container: the table then lacks their numbers, not their hits.
        yield from self._tables(
            "simulated", "all_hits", inputClusters="clusters", inputSimHitMeasurementsMap="simhit_measurements"
        )
        yield _step("Collect", work.finish, {"all_hits_table": table}, {})

    def _fatras(self, particles: str, simulated: str, hits: str, random: Any) -> Any:
        """Fatras from one container of particles to two, of particles and hits."""
        import acts

        unit = acts.UnitConstants
        field_z = self.setup.field * self.setup.field_scale * unit.T
        return self.examples.FatrasSimulation(
            level=_quiet(),
            inputParticles=particles,
            outputParticles=simulated,
            outputSimHits=hits,
            randomNumbers=random,
            trackingGeometry=self.geometry,
            magneticField=acts.ConstantBField(acts.Vector3(0.0, 0.0, field_z)),
            pMin=_P_MIN * unit.GeV,
        )

    def _tables(self, simulated: str, hits: str, **more: str) -> Iterator[Any]:
        """Arrow tables of the hits and, where nothing more is asked for, of the particles."""
        import acts

        arrow, warn = _arrow(), acts.logging.WARNING
        yield arrow.ArrowSimHitOutputConverter(
            level=warn, inputParticles=simulated, inputSimHits=hits, outputTable=f"{hits}_table", **more
        )
        if not more:
            yield arrow.ArrowParticleOutputConverter(
                level=warn, inputParticles=simulated, outputTable=f"{simulated}_table"
            )

    def _digitization(self, folder: Path, random: Any) -> Any:
        import acts.examples.json

        path = folder / "digitization.json"
        path.write_text(json.dumps(_digitization_settings()))
        return self.examples.DigitizationAlgorithm.Config(
            digitizationConfigs=acts.examples.json.readDigiConfigFromJson(str(path)),
            surfaceByIdentifier=self.geometry.geoIdSurfaceMap(),
            randomNumbers=random,
            inputSimHits="all_hits",
            outputMeasurements="measurements",
            outputClusters="clusters",
            outputMeasurementSubset="measurement_subset",
            outputMeasurementParticlesMap="measurement_particles",
            outputMeasurementSimHitsMap="measurement_simhits",
            outputParticleMeasurementsMap="particle_measurements",
            outputSimHitMeasurementsMap="simhit_measurements",
        )


class _Work:
    """What Python does between the algorithms of ACTS, event by event."""

    def __init__(self, chain: Chain, out: list[tuple[Event, dict[str, int]]]) -> None:
        self.chain, self.out = chain, out
        self.records: dict[int, Record] = {}

    def source(self, event: int) -> tuple[Any, ...]:
        """The particles that the event starts from."""
        chain = self.chain
        rng = np.random.default_rng([chain.seed, _SOURCE, event])
        rows = None if chain.hard is None else chain.hard.collision(event)
        self.records[event] = Record()
        return (_particles(primaries(chain.generator, chain.soft, chain.hard, rows, rng)),)

    def stop(self, event: int, hits: Any, hit_table: Any, particle_table: Any) -> tuple[Any, ...]:
        """Hadrons stopped at nuclei: the products."""
        record = self._keep(event, hit_table, particle_table)
        rng = np.random.default_rng([self.chain.seed, _INTERACT, event])
        return (_particles(interact(record, hits, self.chain.modules, self.chain.interactions, rng)),)

    def merge(self, event: int, first: Any, second: Any, hit_table: Any, particle_table: Any) -> tuple[Any, ...]:
        """The hits of both passes of Fatras."""
        return (_merge(self._keep(event, hit_table, particle_table), first, second),)

    def measure(self, event: int, hit_table: Any, particle_table: Any) -> tuple[()]:
        """The event, measured without ACTS."""
        record, table = self._keep(event, hit_table, particle_table), self.chain.modules
        rng = np.random.default_rng([self.chain.seed, _MEASURE, event])
        self._finish(event, smeared(left_hits(record), table, rng))
        return ()

    def finish(self, event: int, hit_table: Any) -> tuple[Any, ...]:
        """The event, measured by ACTS."""
        self._finish(event, columns(hit_table))
        return ()

    def _finish(self, event: int, hit: Columns) -> None:
        record = self.records.pop(event)
        self.out.append((collect(event, record, hit, self.chain.modules), record.counts))

    def _keep(self, event: int, hit_table: Any, particle_table: Any) -> Record:
        self.records[event].hits.append(columns(hit_table))
        self.records[event].particles.append(columns(particle_table))
        return self.records[event]


def _quiet() -> Any:
    """Level of messages of Fatras and of the digitisation.

    Particles that start outside the volume, loopers that exceed the steps and hits that fail to be digitised are
    reported one by one: all are few and harmless.
    """
    import acts

    return acts.logging.FATAL


def _digitization_settings() -> dict[str, object]:
    """Gaussian smearing by pitch / sqrt(12) along both local axes, per volume."""
    return {
        "acts-geometry-hierarchy-map": {
            "format-version": 0,
            "value-identifier": "digitization-configuration",
        },
        "entries": [
            {
                "volume": volume,
                "value": {
                    "smearing": [
                        {"index": axis, "mean": 0.0, "stddev": pitch[axis] / math.sqrt(12), "type": "Gauss"}
                        for axis in (0, 1)
                    ]
                },
            }
            for volume, pitch in PITCH.items()
        ],
    }


def _arrow() -> Any:
    try:
        import acts.examples.arrow
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError("pyacts with its Arrow plugin", "simulation", "simulating a detector") from None
    return acts.examples.arrow


def _step(name: str, work: Callable[..., tuple[Any, ...]], reads: dict[str, Any], writes: dict[str, Any]) -> Any:
    """An ACTS algorithm around a function: event number and what it reads in, what it writes out."""
    import acts

    ae = acts_examples()

    class Step(ae.IAlgorithm):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name, acts.logging.WARNING)
            self.reads = [ae.ReadDataHandle(self, kind, f"in_{key}") for key, kind in reads.items()]
            self.writes = [ae.WriteDataHandle(self, kind, f"out_{key}") for key, kind in writes.items()]
            for handle, key in zip(self.reads + self.writes, [*reads, *writes], strict=True):
                handle.initialize(key)

        def execute(self, context: Any) -> Any:
            done = work(context.eventNumber, *(handle(context.eventStore) for handle in self.reads))
            for handle, value in zip(self.writes, done, strict=True):
                handle(context, value)
            return ae.ProcessCode.SUCCESS

    return Step()


def _particles(primary: PrimaryParticles) -> Any:
    """An ACTS container of particles."""
    import acts
    from acts.fatras import Barcode

    ae = acts_examples()
    out = ae.SimParticleContainer()
    p = np.linalg.norm(primary.momentum, axis=1)
    code = {pdg: acts.PdgParticle(int(pdg)) for pdg in np.unique(primary.pdg).tolist()}
    rows = zip(
        primary.collision.tolist(),
        primary.group.tolist(),
        primary.number.tolist(),
        primary.pdg.tolist(),
        primary.charge.tolist(),
        primary.mass.tolist(),
        (primary.momentum / p[:, None]).tolist(),
        p.tolist(),
        primary.vertex.tolist(),
        strict=True,
    )
    for collision, group, number, pdg, charge, mass, direction, momentum, vertex in rows:
        barcode = Barcode()
        barcode.vertexPrimary, barcode.vertexSecondary, barcode.particle = collision, group, number
        particle = ae.SimParticle(barcode, code[pdg], charge, mass)
        particle.direction = acts.Vector3(*direction)
        particle.absoluteMomentum = momentum
        particle.fourPosition = acts.Vector4(*vertex)
        out.insert(particle)
    return out


def _merge(record: Record, first: Any, second: Any) -> Any:
    """The hits of both passes in one container, less those of hadrons that had stopped."""
    # Filling the container in any other order is slow.
    order = np.argsort(identifiers(left_hits(record)), kind="stable")
    objects = list(first)
    objects = [objects[i] for i in np.flatnonzero(record.hits[0]["kept"]).tolist()] + list(second)
    out = acts_examples().SimHitContainer()
    for i in order.tolist():
        out.insert(objects[i])
    return out
