"""One event through ACTS: Pythia's particles, Fatras, hadronic interactions, smeared measurements, arrays.

The algorithms for one event, in the GenericDetector and in a layout::

    Source -> Fatras -> Interact -> Fatras of the products -> Merge -> Digitization -> Collect
    Source -> Fatras -> Interact -> Fatras of the products -> Measure

The digitisation of ACTS looks for hits within half a module's thickness of its plane, and modules made in Python have
none: it would drop nearly all. Hits of a layout are smeared here, on arrays, and are never merged.

Bulk data leave ACTS as Arrow tables; the table of hits refers to the table of particles by row number, so that no
object of ACTS is touched per hit except where a container must be filled.
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
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64, UInt64
from beampipe.errors import MissingExtraError
from beampipe.events import Event, Hits, Particles, Truth, cylindrical
from beampipe.simulation.acts_geometry import acts_examples, build_detector
from beampipe.simulation.clusters import clustered
from beampipe.simulation.detector import PITCH, Detector, Modules
from beampipe.simulation.hadronic import HADRONS, SILICON_DENSITY, Interactions
from beampipe.simulation.magnetic_field import build_field
from beampipe.simulation.primaries import EventGenerator, PrimaryParticles, primaries
from beampipe.simulation.pythia import TRACKER_R, TRACKER_Z, CollisionPool, CollisionSource, seed_of
from beampipe.simulation.stereo import pair_strips

Columns = dict[str, ndarray]

_PLACE: Final = ("volume_id", "layer_id", "surface_id", "true_x", "true_y", "true_z")
"""Columns of a hit's position."""


@dataclass
class Record:
    """Intermediate data of one event: tables of the first and the second pass of Fatras, and counts."""

    hits: list[Columns] = field(default_factory=list)
    particles: list[Columns] = field(default_factory=list)
    origin: Int64[ndarray, "n_merged 2"] | None = None  # (pass, particle row) of each hit given to the digitisation
    spot: Float32[ndarray, "n_merged 3"] | None = None  # true position of each of these hits
    counts: dict[str, int] = field(default_factory=dict)


def columns(table: Any) -> Columns:
    """The list columns of a one-row Arrow table as numpy arrays."""
    import pyarrow

    batch = pyarrow.record_batch(table)
    return {name: batch.column(i)[0].values.to_numpy(zero_copy_only=False) for i, name in enumerate(batch.schema.names)}


def identifiers(hits: Columns) -> UInt64[ndarray, " n"]:
    """ACTS geometry identifiers: volume, layer and sensitive number in bits 56, 36 and 8 upwards."""
    identifier: UInt64[ndarray, " n"] = (
        (hits["volume_id"].astype(np.uint64) << np.uint64(56))
        | (hits["layer_id"].astype(np.uint64) << np.uint64(36))
        | (hits["surface_id"].astype(np.uint64) << np.uint64(8))
    )
    return identifier


def left_hits(record: Record) -> Columns:
    """Hits of both passes, less those of hadrons that had stopped; the record keeps where they come from."""
    first, second = record.hits
    kept = first["kept"]
    particle = np.concatenate([first["particle_id"][kept], second["particle_id"]]).astype(np.int64)
    step = np.repeat([0, 1], [kept.sum(), len(second["particle_id"])])
    record.origin = np.column_stack([step, particle])
    hits = {name: np.concatenate([first[name][kept], second[name]]) for name in _PLACE}
    record.spot = _true_position(hits)
    return hits


def smeared(hits: Columns, table: Modules, rng: np.random.Generator) -> Columns:
    """Hits with measured positions ``x``, ``y``, ``z`` [mm].

    They have Gaussian errors of pitch / sqrt(12) on the modules; on digital ones they lie at the centres of channels.
    """
    row = table.rows(identifiers(hits))
    exact = table.to_local(row, _true_position(hits).astype(np.float64))[:, :2]
    local = exact + rng.normal(size=exact.shape) * np.sqrt(table.variance[row])
    if table.digital is not None:
        edge = np.column_stack([np.maximum(table.half_x_low, table.half_x_high), table.half_y])[row]
        channel = np.floor((exact + edge) / table.pitch[row])
        # A strip that measures one coordinate is one channel long; a hit at its very end is still in it.
        channel = np.minimum(channel, np.round(2 * edge / table.pitch[row]) - 1)
        local = np.where(table.digital[row, None], (channel + 0.5) * table.pitch[row] - edge, local)
    xyz = table.to_global(row, local)
    return hits | dict(zip("xyz", xyz.T, strict=True))


def _true_position(hits: Columns) -> Float32[ndarray, "n 3"]:
    """Where the particles crossed the modules [mm]."""
    return np.column_stack([hits[f"true_{axis}"] for axis in "xyz"]).astype(np.float32)


def collect(event: int, record: Record, hit: Columns, table: Modules) -> Event:
    """Measurements and their truth as an event; hits that ACTS merged appear once."""
    assert record.origin is not None
    assert record.spot is not None
    # ACTS reorders the hits of a module: hits are recognised by their true position, not by their row.
    origin = np.empty_like(record.origin)
    origin[np.lexsort(_true_position(hit).T)] = record.origin[np.lexsort(record.spot.T)]
    xyz = np.column_stack([hit[name] for name in "xyz"])
    identifier = identifiers(hit)
    # ACTS skips a rare hit (one in a million) that it does not find on its module's plane.
    measured = np.isfinite(xyz).all(axis=1)
    record.counts["unmeasured"] = int((~measured).sum())
    hit = {name: values[measured] for name, values in hit.items()}
    xyz, identifier = xyz[measured], identifier[measured]
    step, row = origin[measured].T
    offset = len(record.particles[0]["pdg_id"])
    particle = row + step * offset
    both = {name: np.concatenate([t[name] for t in record.particles]) for name in record.particles[0]}
    # Hits of one measurement have the same position to the last bit. The particle with most charge in the cluster
    # leads; without clusters that of largest momentum.
    momentum = np.linalg.norm(np.column_stack([both[name] for name in ("px", "py", "pz")]), axis=1)
    rank = hit.get("charge", momentum[particle])
    order = np.lexsort((-rank, xyz[:, 2], xyz[:, 1], xyz[:, 0], identifier))
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
    record.counts["merged"] = int((~new).sum())
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
    position, module = xyz[new].astype(np.float64), table.rows(identifier[new])
    local = table.to_local(module, position)[:, :2].astype(np.float32)
    variance = table.variance[module].astype(np.float32)
    if "variance_0" in hit:
        variance = np.column_stack([hit[f"variance_{axis}"][order][new] for axis in (0, 1)]).astype(np.float32)
    return Event(event, Hits(cylindrical(*position.T), identifier[new], local, variance), truth)


_SIGMA_MAX: Final = 750.0  # above every hadron-silicon cross section [mb]

_PATH_MAX: Final = 8.0  # path through a layer is taken to be at most this many times its thickness


def interact(
    record: Record, hits: Any, table: Modules, interactions: Interactions | None, rng: np.random.Generator
) -> PrimaryParticles:
    """Stop hadrons at nuclei.

    Args:
        record: event after the first pass; its hits get a column ``kept``, False for hits that a hadron no
            longer makes, and its counts ``hadrons`` (those with hits) and ``interactions``.
        hits: ACTS container of the same hits, from which a few momenta are read.
        table: modules that the hits lie on.
        interactions: cross sections and final states, or None for none.
        rng: source of all random choices.

    Returns:
        the products that can leave hits.
    """
    hit, particle = record.hits[0], record.particles[0]
    kept = np.ones(len(hit["time"]), np.bool_)
    record.counts |= {"hadrons": 0, "interactions": 0}
    out = PrimaryParticles.empty()
    if interactions is not None and len(kept):
        species = np.full(len(particle["pdg_id"]), -1)  # row in `HADRONS`, or -1
        for number, hadron in enumerate(HADRONS):
            species[particle["pdg_id"] == hadron] = number
        row, momentum = _interaction_points(hit, species, hits, table, interactions, rng)
        # A particle makes no hit after that of its interaction.
        stop = np.full(int(hit["particle_id"].max()) + 1, np.inf)
        stop[hit["particle_id"][row]] = hit["time"][row]
        kept = ~(hit["time"] > stop[hit["particle_id"]])
        products = interactions.draw(species[hit["particle_id"][row]], momentum, rng)
        where = ("true_x", "true_y", "true_z", "time")
        position_time = np.column_stack([hit[name][row].astype(np.float64) for name in where])
        # Products start behind the module, so that they leave no second hit on it.
        position_time[:, :3] += 0.1 * momentum / np.linalg.norm(momentum, axis=1, keepdims=True)
        parent = products.parent
        vertex = position_time[parent] + products.displacement
        inside = (np.hypot(vertex[:, 0], vertex[:, 1]) < TRACKER_R) & (np.abs(vertex[:, 2]) < TRACKER_Z)
        out = PrimaryParticles(
            particle["vertex_primary"][hit["particle_id"][row]].astype(np.int64)[parent],
            parent + 1,
            np.arange(len(parent)) + 1,
            products.pdg,
            products.charge,
            products.mass,
            products.momentum,
            vertex,
        ).take(inside)
        record.counts["hadrons"] = int((species[np.unique(hit["particle_id"])] >= 0).sum())
        record.counts["interactions"] = len(row)
    record.hits[0] = hit | {"kept": kept}
    return out


def _interaction_points(
    hit: Columns,
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
    module = table.rows(identifiers(hit))
    matter = table.silicon[module] * SILICON_DENSITY
    chance = rng.random(len(matter))
    kind = species[hit["particle_id"]]
    at = np.flatnonzero((kind >= 0) & (chance < matter * _SIGMA_MAX * _PATH_MAX))
    objects = list(hits)
    four = [objects[i].momentum4Before for i in at.tolist()]
    momentum = np.array([(each[0], each[1], each[2]) for each in four]).reshape(-1, 3)
    p = np.linalg.norm(momentum, axis=1)
    normal = table.axes[module[at]][:, :, 2]
    cosine = np.abs(np.einsum("ni,ni->n", normal, momentum)) / p
    path = np.minimum(1 / np.maximum(cosine, 1e-6), _PATH_MAX)
    hits_nucleus = chance[at] < matter[at] * path * interactions.cross_section(kind[at], p)
    at, momentum = at[hits_nucleus], momentum[hits_nucleus]
    order = np.lexsort((hit["time"][at], hit["particle_id"][at]))
    at, momentum = at[order], momentum[order]
    first = np.unique(hit["particle_id"][at], return_index=True)[1]
    return at[first], momentum[first]


_P_MIN: Final = 0.1  # Fatras stops below this momentum [GeV]

_FATRAS, _INTERACT, _SOURCE, _MEASURE = 11, 12, 13, 14  # mixed into seeds, one number per step


class EventSimulator:
    """Simulates events in this process; the detector is built once.

    Args:
        generator: collisions that events are made of.
        detector: detector that the particles go through.
        seed: number of the sample; an event depends on this and on its number alone.
        soft: soft collisions, for the pile-up.
        hard: hard (or, without pile-up, soft) collisions, of which event i takes number i: from the cache, or generated
            before.
        interactions: hadron-nucleus table, or None to leave them out.
    """

    def __init__(
        self,
        generator: EventGenerator,
        detector: Detector,
        seed: int,
        soft: CollisionSource | CollisionPool | None,
        hard: CollisionSource | CollisionPool | None,
        interactions: Interactions | None,
    ) -> None:
        self.examples = acts_examples()
        self.detector = build_detector(detector.layout)
        self.geometry, self.modules = self.detector.geometry, self.detector.modules
        self.field = build_field(detector.field * detector.field_scale, detector.layout)
        self.generator, self.setup, self.seed = generator, detector, seed
        self.soft, self.hard, self.interactions = soft, hard, interactions
        self._primaries: dict[int, PrimaryParticles] = {}

    def run(self, first: int, n_events: int) -> list[tuple[Event, dict[str, int]]]:
        """Simulate events number `first` to `first + n_events - 1`; each with its counts."""
        import acts

        # Errors of Pythia or of the cache would be replaced by another one inside the sequencer.
        self._primaries = {event: self._drawn(event) for event in range(first, first + n_events)}
        out: list[tuple[Event, dict[str, int]]] = []
        with tempfile.TemporaryDirectory() as folder:
            sequencer = self.examples.Sequencer(
                events=n_events,
                skip=first,
                numThreads=1,
                logLevel=acts.logging.WARNING,
                # Fatras sometimes divides by zero, which is harmless.
                failOnUnmaskedFpe=False,
                trackFpes=False,
                outputDir=folder,
            )
            algorithms = list(self._algorithms(Path(folder), out))
            for algorithm in algorithms:
                sequencer.addAlgorithm(algorithm)
            sequencer.run()
        return out

    def _drawn(self, event: int) -> PrimaryParticles:
        """The particles that an event starts from."""
        rng = np.random.default_rng([self.seed, _SOURCE, event])
        return primaries(self.generator, self.soft, None if self.hard is None else self.hard[event], event, rng)

    def _algorithms(self, folder: Path, out: list[tuple[Event, dict[str, int]]]) -> Iterator[Any]:
        """The algorithms of the sequencer, in order; finished events are added to `out`."""
        work = _PythonSteps(self, out)
        table = _arrow().arrow.ArrowTable
        particles, hits = self.examples.SimParticleContainer, self.examples.SimHitContainer
        random = self.examples.RandomNumbers(seed=seed_of(self.seed, _FATRAS))
        yield _step("Source", work.source, {}, {"particles": particles})
        yield self._fatras("particles", "simulated", "hits", random)
        yield from self._tables("simulated", "hits")
        first = {"hits": hits, "hits_table": table, "simulated_table": table}
        yield _step("Interact", work.stop, first, {"products": particles})
        yield self._fatras("products", "simulated_products", "product_hits", random)
        yield from self._tables("simulated_products", "product_hits")
        both = {"hits": hits, "product_hits": hits, "product_hits_table": table, "simulated_products_table": table}
        if self.setup.layout is not None:
            yield _step("Measure", work.measure, both, {})
            return
        yield _step("Merge", work.merge, both, {"all_hits": hits})
        yield self.examples.DigitizationAlgorithm(self._digitization(folder, random), _quiet())
        # Particles of the second pass are not in this container: the table lacks their numbers, but has their hits.
        yield from self._tables(
            "simulated", "all_hits", inputClusters="clusters", inputSimHitMeasurementsMap="simhit_measurements"
        )
        yield _step("Collect", work.finish, {"all_hits_table": table}, {})

    def _fatras(self, particles: str, simulated: str, hits: str, random: Any) -> Any:
        """Fatras from one container of particles to two, of particles and hits."""
        import acts

        unit = acts.UnitConstants
        return self.examples.FatrasSimulation(
            level=_quiet(),
            inputParticles=particles,
            outputParticles=simulated,
            outputSimHits=hits,
            randomNumbers=random,
            trackingGeometry=self.geometry,
            magneticField=self.field,
            pMin=_P_MIN * unit.GeV,
        )

    def _tables(self, simulated: str, hits: str, **more: str) -> Iterator[Any]:
        """Arrow tables of the hits and, without `more`, of the particles."""
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

        # Gaussian smearing by pitch / sqrt(12) along both local axes, per volume.
        entries = []
        for volume, pitch in PITCH.items():
            axes = [{"index": k, "mean": 0.0, "stddev": pitch[k] / math.sqrt(12), "type": "Gauss"} for k in (0, 1)]
            entries.append({"volume": volume, "value": {"smearing": axes}})
        head = {"format-version": 0, "value-identifier": "digitization-configuration"}
        path = folder / "digitization.json"
        path.write_text(json.dumps({"acts-geometry-hierarchy-map": head, "entries": entries}))
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


class _PythonSteps:
    """The Python steps between the algorithms of ACTS; each method handles one event."""

    def __init__(self, chain: EventSimulator, out: list[tuple[Event, dict[str, int]]]) -> None:
        self.chain, self.out = chain, out
        self.records: dict[int, Record] = {}

    def source(self, event: int) -> tuple[Any, ...]:
        """The particles that the event starts from."""
        self.records[event] = Record()
        return (_particles(self.chain._primaries.pop(event)),)

    def stop(self, event: int, hits: Any, hit_table: Any, particle_table: Any) -> tuple[Any, ...]:
        """Hadrons stopped at nuclei: the products."""
        record = self._keep(event, hit_table, particle_table)
        rng = np.random.default_rng([self.chain.seed, _INTERACT, event])
        return (_particles(interact(record, hits, self.chain.modules, self.chain.interactions, rng)),)

    def merge(self, event: int, first: Any, second: Any, hit_table: Any, particle_table: Any) -> tuple[Any, ...]:
        """The hits of both passes of Fatras."""
        record = self._keep(event, hit_table, particle_table)
        # Filling the container in any other order is slow.
        order = np.argsort(identifiers(left_hits(record)), kind="stable")
        objects = list(first)
        objects = [objects[i] for i in np.flatnonzero(record.hits[0]["kept"]).tolist()] + list(second)
        out = acts_examples().SimHitContainer()
        for i in order.tolist():
            out.insert(objects[i])
        return (out,)

    def measure(self, event: int, first: Any, second: Any, hit_table: Any, particle_table: Any) -> tuple[()]:
        """The event, measured without ACTS."""
        record, table = self._keep(event, hit_table, particle_table), self.chain.modules
        rng = np.random.default_rng([self.chain.seed, _MEASURE, event])
        hits = left_hits(record)
        if not self.chain.setup.clusters:
            self._finish(event, smeared(hits, table, rng))
            return ()
        objects = list(first)
        objects = [objects[i] for i in np.flatnonzero(record.hits[0]["kept"]).tolist()] + list(second)
        row = table.rows(identifiers(hits))
        momentum = np.array([(p[0], p[1], p[2]) for p in (hit.momentum4Before for hit in objects)]).reshape(-1, 3)
        clusters = clustered(
            row,
            table.to_local(row, _true_position(hits).astype(np.float64))[:, :2],
            np.einsum("nik,ni->nk", table.axes[row], momentum),
            table,
            rng,
        )
        record.counts["fragments"] = clusters.fragments
        more = dict(zip("xyz", table.to_global(row, clusters.local).T, strict=True)) | {"charge": clusters.charge}
        more |= {f"variance_{axis}": clusters.variance[:, axis] for axis in (0, 1)}
        self._finish(event, hits | more)
        return ()

    def finish(self, event: int, hit_table: Any) -> tuple[Any, ...]:
        """The event, measured by ACTS."""
        self._finish(event, columns(hit_table))
        return ()

    def _finish(self, event: int, hit: Columns) -> None:
        record = self.records.pop(event)
        measured = collect(event, record, hit, self.chain.modules)
        self.out.append((pair_strips(measured, self.chain.modules, self.chain.setup.field), record.counts))

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
