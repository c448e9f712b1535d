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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt64
from numpy import ndarray

from beampipe.errors import MissingExtraError
from beampipe.tracking.events import Event, Hits, Particles, Truth
from beampipe.tracking.simulation.hadronic import HADRONS, SILICON_DENSITY, Interactions, Products
from beampipe.tracking.simulation.modules import Modules, acts_examples, build_detector, modules, volume_of
from beampipe.tracking.simulation.parameters import PITCH, THICKNESS, Detector, Generator
from beampipe.tracking.simulation.pythia import TRACKER_R, TRACKER_Z, Pool, seed_of
from beampipe.tracking.simulation.source import PrimaryParticles, primaries

__all__ = ["Chain"]

Table = dict[str, ndarray]

_SIGMA_MAX: Final = 750.0  # above every hadron-silicon cross section [mb]
_PATH_MAX: Final = 8.0  # path through a layer is taken to be at most this many times its thickness
_P_MIN: Final = 0.1  # Fatras stops below this momentum [GeV]
_FATRAS, _INTERACT, _SOURCE = 11, 12, 13  # what a seed is used for


@dataclass
class _Record:
    """What the algorithms of one event hand on beside the white board of ACTS."""

    primaries: PrimaryParticles | None = None
    hits: list[Table] = field(default_factory=list)
    particles: list[Table] = field(default_factory=list)
    origin: Int64[ndarray, "n_merged 2"] | None = None  # (pass, particle row) of each merged hit
    n_interactions: int = 0
    n_hadrons: int = 0
    n_merged: int = 0


class Chain:
    """Simulates events in this process; the detector is built once.

    Args:
        generator: what collides.
        detector: what it goes through.
        seed: of the sample; an event depends on this and on its number alone.
        soft: pool of soft collisions.
        hard: pool of hard (or, without pile-up, soft) collisions of which event i takes number i - `hard_first`.
        hard_first: event number of the first collision in `hard`.
        interactions: hadron-nucleus table, or None to leave them out.
    """

    def __init__(
        self,
        generator: Generator,
        detector: Detector,
        seed: int,
        soft: Pool | None,
        hard: Pool | None,
        hard_first: int,
        interactions: Interactions | None,
    ) -> None:
        self.examples = acts_examples()
        self.detector = build_detector()
        self.geometry = self.detector.trackingGeometry()
        self.modules = modules()
        self.generator, self.setup, self.seed = generator, detector, seed
        self.soft, self.hard, self.hard_first = soft, hard, hard_first
        self.interactions = interactions

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

        ae, warn, record = self.examples, acts.logging.WARNING, _Record()
        arrow = _arrow()
        table = arrow.arrow.ArrowTable
        random = ae.RandomNumbers(seed=seed_of(self.seed, _FATRAS))
        unit = acts.UnitConstants
        field_z = self.setup.field * self.setup.field_scale * unit.T
        solenoid = acts.ConstantBField(acts.Vector3(0.0, 0.0, field_z))

        def fatras(particles: str, simulated: str, hits: str) -> Any:
            return ae.FatrasSimulation(
                level=acts.logging.ERROR,
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
            hard = None if self.hard is None else self.hard.collision(event - self.hard_first)
            record.__init__()  # type: ignore[misc]  # a new event starts
            record.primaries = primaries(self.generator, self.soft, self.hard, hard, rng)
            return (_particles(record.primaries),)

        def interact(event: int, hits: Any, hit_table: Any, particle_table: Any) -> tuple[Any, ...]:
            record.hits.append(_columns(hit_table))
            record.particles.append(_columns(particle_table))
            rng = np.random.default_rng([self.seed, _INTERACT, event])
            return (_interact(record, hits, self.modules, self.interactions, rng),)

        def merge(event: int, first: Any, second: Any, hit_table: Any, particle_table: Any) -> tuple[Any, ...]:
            record.hits.append(_columns(hit_table))
            record.particles.append(_columns(particle_table))
            return (_merge(record, first, second),)

        def collect(event: int, hit_table: Any) -> tuple[Any, ...]:
            made = _collect(event, record, _columns(hit_table), self.modules)
            counts = {
                "hadrons": record.n_hadrons,
                "interactions": record.n_interactions,
                "merged": record.n_merged,
            }
            out.append((made, counts))
            return ()

        particles, hits = ae.SimParticleContainer, ae.SimHitContainer
        yield _step("Source", source, {}, {"particles": particles})
        yield fatras("particles", "simulated", "hits")
        yield from tables("simulated", "hits")
        yield _step(
            "Interact",
            interact,
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
        yield ae.DigitizationAlgorithm(self._digitization(folder, random), warn)
        # Particles of the second pass are not in this container: the table then lacks their numbers, not their hits.
        yield from tables(
            "simulated", "all_hits", inputClusters="clusters", inputSimHitMeasurementsMap="simhit_measurements"
        )
        yield _step("Collect", collect, {"all_hits_table": table}, {})

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


def _step(
    name: str, work: Callable[..., tuple[Any, ...]], reads: dict[str, Any], writes: dict[str, Any]
) -> Any:
    """An ACTS algorithm around a function: event number and what it reads in, what it writes out."""
    import acts

    ae = acts_examples()

    class Step(ae.IAlgorithm):  # type: ignore[misc, name-defined]
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


def _columns(table: Any) -> Table:
    """The list columns of a one-row Arrow table as numpy arrays."""
    import pyarrow

    batch = pyarrow.record_batch(table)
    return {name: batch.column(i)[0].values.to_numpy(zero_copy_only=False) for i, name in enumerate(batch.schema.names)}


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


def _identifiers(hits: Table) -> UInt64[ndarray, " n"]:
    """ACTS geometry identifiers: volume, layer and sensitive number in bits 56, 36 and 8 upwards."""
    return (
        (hits["volume_id"].astype(np.uint64) << np.uint64(56))
        | (hits["layer_id"].astype(np.uint64) << np.uint64(36))
        | (hits["surface_id"].astype(np.uint64) << np.uint64(8))
    )


def _interact(
    record: _Record, hits: Any, table: Modules, interactions: Interactions | None, rng: np.random.Generator
) -> Any:
    """Stop hadrons at nuclei: mark their later hits as lost, return what comes out as an ACTS container."""
    hit, particle = record.hits[0], record.particles[0]
    record.hits[0] = hit | {"kept": np.ones(len(hit["time"]), np.bool_)}
    none = np.empty(0, np.int64)
    row, products, momentum = none, None, np.empty((0, 3))
    if interactions is not None and len(hit["time"]):
        species = _species(particle["pdg_id"])
        record.n_hadrons = int((species[np.unique(hit["particle_id"])] >= 0).sum())
        row, momentum = _where(hit, species, hits, table, interactions, rng)
        later = _later(hit, row)
        record.hits[0]["kept"] = ~later
        record.n_interactions = len(row)
        products = interactions.draw(species[hit["particle_id"][row]], momentum, rng)
    return _particles(_products(hit, particle, row, momentum, products))


def _species(pdg: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
    """Row in `HADRONS`, or -1."""
    out = np.full(len(pdg), -1)
    for row, hadron in enumerate(HADRONS):
        out[pdg == hadron] = row
    return out


def _where(
    hit: Table,
    species: Int64[ndarray, " n"],
    hits: Any,
    table: Modules,
    interactions: Interactions,
    rng: np.random.Generator,
) -> tuple[Int64[ndarray, " k"], Float64[ndarray, "k 3"]]:
    """The hits at which hadrons interact, at most one per hadron, and their momenta there [GeV].

    Every hit gets one random number. Only where it is below an upper bound of the probability are momentum and
    cross section looked up: a few per cent of the hits.
    """
    thickness = np.zeros(max(THICKNESS) + 1)
    thickness[list(THICKNESS)] = list(THICKNESS.values())
    matter = thickness[hit["volume_id"]] * SILICON_DENSITY
    chance = rng.random(len(matter))
    kind = species[hit["particle_id"]]
    at = np.flatnonzero((kind >= 0) & (chance < matter * _SIGMA_MAX * _PATH_MAX))
    objects = list(hits)
    momentum = np.array([_vector(objects[i].momentum4Before) for i in at.tolist()]).reshape(-1, 3)
    p = np.linalg.norm(momentum, axis=1)
    normal = table.axes[table.rows(_identifiers(hit)[at])][:, :, 2]
    cosine = np.abs(np.einsum("ni,ni->n", normal, momentum)) / p
    path = np.minimum(1 / np.maximum(cosine, 1e-6), _PATH_MAX)
    hits_nucleus = chance[at] < matter[at] * path * interactions.cross_section(kind[at], p)
    at, momentum = at[hits_nucleus], momentum[hits_nucleus]
    order = np.lexsort((hit["time"][at], hit["particle_id"][at]))
    at, momentum = at[order], momentum[order]
    first = np.unique(hit["particle_id"][at], return_index=True)[1]
    return at[first], momentum[first]


def _vector(four: Any) -> tuple[float, float, float]:
    return four[0], four[1], four[2]


def _later(hit: Table, row: Int64[ndarray, " k"]) -> Bool[ndarray, " n_hits"]:
    """Hits that a particle would have made after the hit in `row`."""
    stop = np.full(int(hit["particle_id"].max()) + 1, np.inf)
    stop[hit["particle_id"][row]] = hit["time"][row]
    return np.asarray(hit["time"] > stop[hit["particle_id"]])


def _products(
    hit: Table,
    particle: Table,
    row: Int64[ndarray, " k"],
    momentum: Float64[ndarray, "k 3"],
    products: Products | None,
) -> PrimaryParticles:
    """Products of interactions, as particles for a second pass of Fatras."""
    if products is None:
        return PrimaryParticles.empty()
    place = np.column_stack([hit[name][row].astype(np.float64) for name in ("true_x", "true_y", "true_z", "time")])
    # Behind the module, lest a product leaves a second hit on it.
    place[:, :3] += 0.1 * momentum / np.linalg.norm(momentum, axis=1, keepdims=True)
    parent = products.parent
    vertex = place[parent] + products.displacement
    inside = (np.hypot(vertex[:, 0], vertex[:, 1]) < TRACKER_R) & (np.abs(vertex[:, 2]) < TRACKER_Z)
    return PrimaryParticles(
        particle["vertex_primary"][hit["particle_id"][row]].astype(np.int64)[parent],
        parent + 1,
        np.arange(len(parent)) + 1,
        products.pdg,
        products.charge,
        products.mass,
        products.momentum,
        vertex,
    ).take(inside)


def _merge(record: _Record, first: Any, second: Any) -> Any:
    """The hits of both passes in one container, less those of hadrons that had stopped."""
    kept = np.flatnonzero(record.hits[0]["kept"])
    identifier = np.concatenate([_identifiers(record.hits[0])[kept], _identifiers(record.hits[1])])
    particle = np.concatenate([record.hits[0]["particle_id"][kept], record.hits[1]["particle_id"]]).astype(np.int64)
    step = np.repeat([0, 1], [len(kept), len(identifier) - len(kept)])
    # The container keeps this order, and filling it in any other one is slow.
    order = np.argsort(identifier, kind="stable")
    record.origin = np.column_stack([step, particle])[order]
    objects = list(first)
    objects = [objects[i] for i in kept.tolist()] + list(second)
    out = acts_examples().SimHitContainer()
    for i in order.tolist():
        out.insert(objects[i])
    return out


def _collect(event: int, record: _Record, hit: Table, table: Modules) -> Event:
    """Measurements and their truth as an event; hits that ACTS merged appear once."""
    assert record.origin is not None
    xyz = np.column_stack([hit[name] for name in "xyz"])
    identifier = _identifiers(hit)
    step, row = record.origin.T
    offset = len(record.particles[0]["pdg_id"])
    particle = row + step * offset
    both = {name: np.concatenate([t[name] for t in record.particles]) for name in record.particles[0]}
    # Hits of one measurement have the same position to the last bit; the particle of largest momentum leads.
    momentum = np.linalg.norm(np.column_stack([both[name] for name in ("px", "py", "pz")]), axis=1)
    order = np.lexsort((-momentum[particle], xyz[:, 2], xyz[:, 1], xyz[:, 0], identifier))
    xyz, identifier, particle = xyz[order], identifier[order], particle[order]
    new = np.ones(len(xyz), np.bool_)
    new[1:] = (identifier[1:] != identifier[:-1]) | (xyz[1:] != xyz[:-1]).any(axis=1)
    measurement = np.cumsum(new) - 1
    lead = particle[new]
    further = ~new & (particle != lead[measurement])
    shared = np.unique(np.column_stack([measurement[further], particle[further]]), axis=0)
    used = np.unique(particle)  # rows of particles with a hit
    number = np.zeros(len(both["pdg_id"]), np.int64)
    number[used] = np.arange(1, len(used) + 1)
    record.n_merged = int((~new).sum())
    primary = both["primary"].astype(np.bool_)
    primary[offset:] = False
    particles = Particles(
        number[used],
        both["pdg_id"][used].astype(np.int32),
        both["charge"][used].astype(np.float32),
        np.column_stack([both[name][used] for name in ("px", "py", "pz")]).astype(np.float32),
        np.column_stack([both[name][used] for name in ("vx", "vy", "vz")]).astype(np.float32),
        primary[used],
    )
    truth = Truth(number[lead], particles, shared[:, 0].astype(np.int64), number[shared[:, 1]])
    return Event(event, hits_of(xyz[new].astype(np.float64), identifier[new], table), truth)


def hits_of(xyz: Float64[ndarray, "n 3"], identifier: UInt64[ndarray, " n"], table: Modules) -> Hits:
    """Hits at global positions [mm] on modules."""
    row = table.rows(identifier)
    position = np.column_stack([np.hypot(xyz[:, 0], xyz[:, 1]), np.arctan2(xyz[:, 1], xyz[:, 0]), xyz[:, 2]])
    local = table.to_local(row, xyz)[:, :2]
    return Hits(
        position.astype(np.float32), identifier, local.astype(np.float32), table.variance[row].astype(np.float32)
    )
