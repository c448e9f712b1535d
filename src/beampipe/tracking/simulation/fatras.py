"""One event through ACTS: Pythia's particles, Fatras, hadronic interactions, smeared measurements, arrays.

The chain of algorithms for one event::

    Source -> Fatras -> Interact -> Fatras of the products -> Merge -> Digitization -> Collect

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
from beampipe.tracking.simulation.hadronic import Interactions
from beampipe.tracking.simulation.interact import interact
from beampipe.tracking.simulation.modules import acts_examples, build_detector, modules
from beampipe.tracking.simulation.parameters import PITCH, Detector, Generator
from beampipe.tracking.simulation.pythia import Pool
from beampipe.tracking.simulation.source import PrimaryParticles, primaries
from beampipe.tracking.simulation.tables import Record, collect, columns, identifiers, true_position

__all__ = ["Chain"]

_P_MIN: Final = 0.1  # Fatras stops below this momentum [GeV]
_FATRAS, _INTERACT, _SOURCE = 11, 12, 13  # what a seed is used for


class Chain:
    """Simulates events in this process; the detector is built once.

    Args:
        generator: what collides.
        detector: what it goes through.
        seed: of the sample; an event depends on this and on its number alone.
        soft: pool of soft collisions.
        hard: pool of hard (or, without pile-up, soft) collisions, of which event i takes number i.
        interactions: hadron-nucleus table, or None to leave them out.
    """

    def __init__(
        self,
        generator: Generator,
        detector: Detector,
        seed: int,
        soft: Pool | None,
        hard: Pool | None,
        interactions: Interactions | None,
    ) -> None:
        self.examples = acts_examples()
        self.detector = build_detector()
        self.geometry = self.detector.trackingGeometry()
        self.modules = modules()
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
        import acts

        ae, warn = self.examples, acts.logging.WARNING
        records: dict[int, Record] = {}
        arrow = _arrow()
        table = arrow.arrow.ArrowTable
        random = ae.RandomNumbers(seed=seed_of(self.seed, _FATRAS))
        unit = acts.UnitConstants
        # Particles that start outside the volume and loopers that exceed the steps are reported one by one, and hits
        # that fail to be digitised: both are few and harmless.
        quiet = acts.logging.FATAL
        field_z = self.setup.field * self.setup.field_scale * unit.T
        solenoid = acts.ConstantBField(acts.Vector3(0.0, 0.0, field_z))

        def fatras(particles: str, simulated: str, hits: str) -> Any:
            return ae.FatrasSimulation(
                level=quiet,
                inputParticles=particles,
                outputParticles=simulated,
                outputSimHits=hits,
                randomNumbers=random,
                trackingGeometry=self.geometry,
                magneticField=solenoid,
                pMin=_P_MIN * unit.GeV,
            )

        def tables(simulated: str, hits: str, **more: str) -> Iterator[Any]:
            yield arrow.ArrowSimHitOutputConverter(
                level=warn, inputParticles=simulated, inputSimHits=hits, outputTable=f"{hits}_table", **more
            )
            if not more:
                yield arrow.ArrowParticleOutputConverter(
                    level=warn, inputParticles=simulated, outputTable=f"{simulated}_table"
                )

        def source(event: int) -> tuple[Any, ...]:
            rng = np.random.default_rng([self.seed, _SOURCE, event])
            rows = None if self.hard is None else self.hard.collision(event)
            records[event] = Record()
            return (_particles(primaries(self.generator, self.soft, self.hard, rows, rng)),)

        def stop(event: int, hits: Any, hit_table: Any, particle_table: Any) -> tuple[Any, ...]:
            record = keep(event, hit_table, particle_table)
            rng = np.random.default_rng([self.seed, _INTERACT, event])
            return (_particles(interact(record, hits, self.modules, self.interactions, rng)),)

        def merge(event: int, first: Any, second: Any, hit_table: Any, particle_table: Any) -> tuple[Any, ...]:
            return (_merge(keep(event, hit_table, particle_table), first, second),)

        def keep(event: int, hit_table: Any, particle_table: Any) -> Record:
            records[event].hits.append(columns(hit_table))
            records[event].particles.append(columns(particle_table))
            return records[event]

        def finish(event: int, hit_table: Any) -> tuple[Any, ...]:
            record = records.pop(event)
            out.append((collect(event, record, columns(hit_table), self.modules), record.counts))
            return ()

        particles, hits = ae.SimParticleContainer, ae.SimHitContainer
        yield _step("Source", source, {}, {"particles": particles})
        yield fatras("particles", "simulated", "hits")
        yield from tables("simulated", "hits")
        yield _step(
            "Interact",
            stop,
            {"hits": hits, "hits_table": table, "simulated_table": table},
            {"products": particles},
        )
        yield fatras("products", "simulated_products", "product_hits")
        yield from tables("simulated_products", "product_hits")
        yield _step(
            "Merge",
            merge,
            {"hits": hits, "product_hits": hits, "product_hits_table": table, "simulated_products_table": table},
            {"all_hits": hits},
        )
        yield ae.DigitizationAlgorithm(self._digitization(folder, random), quiet)
        # Particles of the second pass are not in this container: the table then lacks their numbers, not their hits.
        yield from tables(
            "simulated", "all_hits", inputClusters="clusters", inputSimHitMeasurementsMap="simhit_measurements"
        )
        yield _step("Collect", finish, {"all_hits_table": table}, {})

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
    kept = np.flatnonzero(record.hits[0]["kept"])
    identifier = np.concatenate([identifiers(record.hits[0])[kept], identifiers(record.hits[1])])
    particle = np.concatenate([record.hits[0]["particle_id"][kept], record.hits[1]["particle_id"]]).astype(np.int64)
    step = np.repeat([0, 1], [len(kept), len(identifier) - len(kept)])
    # Filling the container in any other order is slow.
    order = np.argsort(identifier, kind="stable")
    record.origin = np.column_stack([step, particle])
    record.spot = np.concatenate([true_position(record.hits[0])[kept], true_position(record.hits[1])])
    objects = list(first)
    objects = [objects[i] for i in kept.tolist()] + list(second)
    out = acts_examples().SimHitContainer()
    for i in order.tolist():
        out.insert(objects[i])
    return out
