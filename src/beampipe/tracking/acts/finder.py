"""Track finding by ACTS: seeding (by ACTS, or by a pipeline of ours), its combinatorial Kalman filter, and its greedy
ambiguity resolution, without which it finds many particles twice."""

from __future__ import annotations

import atexit
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.errors import ConfigError
from beampipe.events import NO_TRACK, Event, Hits, cylindrical, hit_lists, split_hit_lists
from beampipe.identity import code_digest, digest_of, installed_version
from beampipe.settings import build
from beampipe.tracking.acts import sequencer
from beampipe.tracking.acts.sequencer import ActsDetector, ActsTracks, HitLists
from beampipe.tracking.acts.settings import ACTS_EFFICIENT, ActsSettings
from beampipe.tracking.catalogue import DEFAULT_PIPELINE
from beampipe.tracking.finder import InOneThread, TrackFinder, hits_of
from beampipe.tracking.kernels import number_by_first_hit
from beampipe.tracking.loading import load_pipeline
from beampipe.tracking.models import DEFAULT_MODEL

# Layers and their connections, which the graph-based seeding of ACTS reads from files. ACTS has no such files for the
# Generic detector or for a layout, so both are derived from the geometry: the layers are those of the modules, and two
# are connected where a straight line from the luminous region crosses one after the other, or with one layer between
# them that may have lost its hit.


_N_LINES: Final = 4000

_MAX_ETA: Final = 4.0


@dataclass(frozen=True)
class ActsLayer:
    """One layer of the detector: a cylinder or a disc.

    Attributes:
        id: number of the layer among all layers, from 1.
        volume: number of its volume.
        number: number of the layer in its volume.
        barrel: whether it is a cylinder.
        at: mean radius of a cylinder, or mean z of a disc [mm].
        low: smallest z of a cylinder, or smallest radius of a disc [mm].
        high: largest z of a cylinder, or largest radius of a disc [mm].
    """

    id: int
    volume: int
    number: int
    barrel: bool
    at: float
    low: float
    high: float

    @property
    def z_ends(self) -> tuple[float, float]:
        """Smallest and largest z [mm]."""
        return (self.low, self.high) if self.barrel else (self.at, self.at)


def acts_layers(where: ActsDetector, volumes: tuple[int, ...]) -> tuple[ActsLayer, ...]:
    """The layers of some volumes, from the centres and the lengths of their modules."""
    acts, _ = sequencer.pyacts()
    world = acts.GeometryContext.dangerouslyDefaultConstruct()
    modules: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
    for identifier, surface in where.geometry.geoIdSurfaceMap().items():
        if identifier.sensitive and identifier.volume in volumes:
            centre = surface.center(world)
            # Modules are longest along z in a barrel, and along r on a disc.
            length = max(abs(value) for value in surface.bounds.values())
            r = float(np.hypot(centre[0], centre[1]))
            modules.setdefault((identifier.volume, identifier.layer), []).append((r, float(centre[2]), length))
    layers: list[ActsLayer] = []
    for (volume, number), modules_of_layer in sorted(modules.items()):
        r, z, length = np.array(modules_of_layer).T
        barrel = bool(np.ptp(r) < np.ptp(z))
        at, along = (r, z) if barrel else (z, r)
        layers.append(
            ActsLayer(
                len(layers) + 1,
                volume,
                number,
                barrel,
                float(at.mean()),
                float((along - length).min()),
                float((along + length).max()),
            )
        )
    return tuple(layers)


def connected_layers(layers: tuple[ActsLayer, ...], z_max: float) -> list[tuple[int, int]]:
    """Pairs (inner, outer) of layers that a straight line crosses one after the other, or with one between.

    Args:
        layers: layers of the detector.
        z_max: lines begin on the beam line at |z| up to this [mm].
    """
    pairs: set[tuple[int, int]] = set()
    for z0 in np.linspace(-z_max, z_max, 9):
        for slope in np.sinh(np.linspace(-_MAX_ETA, _MAX_ETA, _N_LINES // 9)):
            crossed = []
            for layer in layers:
                if layer.barrel:
                    r, along = layer.at, z0 + slope * layer.at
                else:
                    r = along = (layer.at - z0) / slope if slope else -1.0
                if r > 0 and layer.low <= along <= layer.high:
                    crossed.append((r, layer.id))
            order = [identifier for _, identifier in sorted(crossed)]
            pairs.update(pairwise(order))
            pairs.update(zip(order, order[2:], strict=False))
    return sorted(pairs)


@cache
def layer_files(where: ActsDetector, volumes: tuple[int, ...], z_max: float) -> tuple[Path, Path]:
    """Files of the layers and of their connections, written once per process into a temporary folder.

    Args:
        where: detector that the layers are of.
        volumes: volumes whose layers make seeds.
        z_max: largest |z| of a vertex [mm].
    """
    layers = acts_layers(where, volumes)
    folder = Path(tempfile.mkdtemp(dir=_layer_file_folder().name))
    mapping, connections = folder / "layers.json", folder / "connections.json"
    described = [
        {
            "id": layer.id,
            "type": "barrel" if layer.barrel else "endcap",
            "technology": "pixel",
            "surfaces": [{"volume": layer.volume, "layer": layer.number}],
        }
        for layer in layers
    ]
    joined = [{"inner": inner, "outer": outer} for inner, outer in connected_layers(layers, z_max)]
    mapping.write_text(json.dumps({"layers": described}), encoding="utf-8")
    connections.write_text(json.dumps({"connections": joined}), encoding="utf-8")
    return mapping, connections


@cache
def _layer_file_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="beampipe-acts-")


@dataclass(frozen=True)
class FinderSettings:
    """A pipeline that runs in a sequencer of ACTS: the keys of the `config` of `beampipe_track_finder`.

    Attributes:
        pipeline: name of the pipeline, one of `beampipe.tracking.PIPELINES`.
        model: tracker model of the detector: the name of a shipped one, or a folder that
            ``beampipe tracking train`` wrote.
        threads: number of threads of the pipeline.
    """

    pipeline: str = DEFAULT_PIPELINE
    model: str = DEFAULT_MODEL
    threads: int = 1


@dataclass(frozen=True)
class SeederSettings(FinderSettings):
    """The keys of ``customSeederConfig``: those of `FinderSettings`, and the seeds of a track.

    Attributes:
        seeds_per_track: number of seeds of each track: the first spans the whole of it, each further one half of the
            one before. With ``seedDeduplication`` ACTS tries a further one only where it missed hits of it before.

    Raises:
        ConfigError: `seeds_per_track` is not positive.
    """

    seeds_per_track: int = 3

    def __post_init__(self) -> None:
        if self.seeds_per_track < 1:
            raise ConfigError(f"seeds_per_track: got {self.seeds_per_track}, expected 1 or more")


def beampipe_track_finder(
    s: Any, spacePoints: str, outputProtoTracks: str = "prototracks", config: Mapping[str, Any] | None = None
) -> str:
    """Track finding in a sequencer of ACTS by a pipeline of ours, in place of seeding and Kalman filter.

    The tracks become proto tracks, which ``acts.examples.ProtoTracksToParameters`` and ``addKalmanTracks`` fit. See
    ``examples/acts_track_finder.py``.

    Args:
        s: sequencer that the track finding is added to.
        spacePoints: name of the space points of all layers, strips too.
        outputProtoTracks: name that the tracks get, each with its measurements from the inside out.
        config: the fields of `FinderSettings` by name.

    Returns:
        `outputProtoTracks`.

    Raises:
        ConfigError: a key of `config` is unknown, a value is of another type, or the model was not trained for the
            pipeline.
        UnknownNameError: no pipeline or shipped model of that name.
        FileError: there is no model in the folder, or its weights are not those that it was made with.
    """
    acts, examples = sequencer.pyacts()
    settings = build(FinderSettings, dict(config or {}), "config")
    _pipeline(settings)  # so that its errors are raised here
    index_of = examples.IndexSourceLink.fromSourceLink

    def setup(algorithm: Any) -> Callable[[int, Any], None]:
        read = sequencer.reader(algorithm, acts.SpacePointContainer, spacePoints)
        write = sequencer.writer(algorithm, examples.ProtoTrackContainer, outputProtoTracks)

        def measurements(points: Any, rows: Int64[ndarray, " _"]) -> list[int]:
            """The measurements of some space points, each once: those of one track may share a strip."""
            links = (link for row in rows.tolist() for link in points[row].sourceLinks)
            return list(dict.fromkeys(index_of(link).index() for link in links))

        def run(number: int, context: Any) -> None:
            points = read(context)
            hits = Hits(cylindrical(*_positions(points).T))
            rows_of_tracks = split_hit_lists(*hit_lists(hits, _pipeline(settings).find(hits), outwards=True))
            tracks = [examples.ProtoTrack(measurements(points, rows)) for rows in rows_of_tracks]
            write(context, examples.ProtoTrackContainer(tracks))

        return run

    s.addAlgorithm(sequencer.python_algorithm("BeampipeTrackFinding", setup))
    return outputProtoTracks


def beampipe_seeder(
    s: Any, spacePoints: str, outputSeeds: str, config: Mapping[str, Any] | None = None, **of_no_use: Any
) -> str:
    """The ``customSeeder`` of ``acts.examples.reconstruction.addSeeding``: seeds from the tracks of a pipeline of ours.

    Usage::

        addSeeding(..., seedingAlgorithm=SeedingAlgorithm.PythonCallable, customSeeder=beampipe_seeder)

    The space points must be those of all layers, strips too: a pipeline finds whole tracks, and the four hits of the
    pixels alone are too few.

    Args:
        s: sequencer that the seeding is added to.
        spacePoints: name of the space points of all layers.
        outputSeeds: name that the seeds get.
        config: ``customSeederConfig``: the fields of `SeederSettings` by name.
        of_no_use: tracking geometry and log level.

    Returns:
        `outputSeeds`.

    Raises:
        ConfigError: a key of `config` is unknown, a value is of another type, or the model was not trained for the
            pipeline.
        UnknownNameError: no pipeline or shipped model of that name.
        FileError: there is no model in the folder, or its weights are not those that it was made with.
    """
    settings = build(SeederSettings, dict(config or {}), "customSeederConfig")
    s.addAlgorithm(seeding_algorithm(settings, spacePoints, outputSeeds))
    return outputSeeds


def seeding_algorithm(settings: SeederSettings, space_points: str, seeds: str) -> Any:
    """An algorithm that runs a pipeline on space points and writes a seed for each track.

    Args:
        settings: pipeline and choice of hits.
        space_points: name of the ``SpacePointContainer`` that is read.
        seeds: name of the ``SeedContainer`` that is written.
    """
    acts, _ = sequencer.pyacts()
    _pipeline(settings)  # so that its errors are raised here

    def setup(algorithm: Any) -> Callable[[int, Any], None]:
        read = sequencer.reader(algorithm, acts.SpacePointContainer, space_points)
        write = sequencer.writer(algorithm, acts.SeedContainer, seeds)

        def run(number: int, context: Any) -> None:
            points = read(context)
            xyz = _positions(points)
            container = acts.SeedContainer()
            container.assignSpacePointContainer(points)
            tracks = _pipeline(settings).find(Hits(cylindrical(*xyz.T)))
            for halvings in range(settings.seeds_per_track):
                _fill_seeds(container, three_of_each(xyz, tracks.track_id, 0.5**halvings))
            write(context, container)

        return run

    return sequencer.python_algorithm("BeampipeSeeding", setup)


def three_of_each(
    xyz: Float64[ndarray, "n_hits 3"], track_id: Int64[ndarray, " n_hits"], share: float = 1.0
) -> list[tuple[int, int, int]]:
    """Three hits of each track that lie far apart: the innermost, the last of that share, and one halfway.

    Args:
        xyz: positions of the hits [mm].
        track_id: track of each hit, -1 for none.
        share: share of the track's length, from its innermost hit on, in which the three lie if it holds as many.

    Returns:
        Rows of the three hits, inside out; tracks with fewer than three hits give none.
    """
    on_track = np.flatnonzero(track_id >= 0)
    order = on_track[np.lexsort((np.linalg.norm(xyz[on_track], axis=1), track_id[on_track]))]
    starts = np.flatnonzero(np.diff(track_id[order], prepend=-1))
    triplets = []
    for rows in np.split(order, starts[1:]):
        if len(rows) < 3:
            continue
        away = np.linalg.norm(xyz[rows] - xyz[rows[0]], axis=1)
        last = max(2, int(np.flatnonzero(away <= share * away[-1])[-1]))
        middle = 1 + int(np.argmin(np.abs(away[1:last] - away[last] / 2)))
        triplets.append((int(rows[0]), int(rows[middle]), int(rows[last])))
    return triplets


def _positions(points: Any) -> Float64[ndarray, "n_hits 3"]:
    """x, y, z [mm] of the space points of a container."""
    return np.stack([points.x, points.y, points.z], axis=1).astype(np.float64)


def _pipeline(settings: FinderSettings) -> TrackFinder:
    """The pipeline, for algorithms to look up in each event: the sequencer never frees what they hold."""
    return _loaded(settings.pipeline, settings.model, settings.threads)


@cache
def _loaded(name: str, model: str, threads: int) -> TrackFinder:
    return load_pipeline(name, threads=threads, model=model)


atexit.register(_loaded.cache_clear)  # frees native pipelines before their library is unloaded


def _fill_seeds(container: Any, triplets: Sequence[tuple[int, int, int]]) -> None:
    """Add the seeds. No proxy may outlive this function, as a container in use cannot be moved to the whiteboard."""
    for rows in triplets:
        seed = container.createSeed()
        seed.quality = 1.0
        seed.vertexZ = 0.0
        seed.assignSpacePointIndices(list(rows))


# Algorithms of ACTS, configured from `ActsSettings`: space points, seeding, parameters, CKF


SPACE_POINTS = "spacepoints"

SEEDS = "seeds"

ESTIMATED_SEEDS = "estimatedseeds"

ESTIMATED_PARAMETERS = "estimatedparameters"

CKF_TRACKS = "ckf_tracks"

TRACKS = "tracks"


def finding_algorithms(settings: ActsSettings, where: ActsDetector) -> dict[str, Any]:
    """The stages of track finding, in order, by the names under which they are timed.

    Args:
        settings: cuts of seeding, filter and selection.
        where: detector that the hits lie in.

    Returns:
        ``spacepoints``, ``seeding``, ``parameters``, ``ckf``, ``ambiguity``.
    """
    acts, examples = sequencer.pyacts()
    unit = acts.UnitConstants
    if settings.seeding == "beampipe":
        seeding = seeding_algorithm(SeederSettings(), SPACE_POINTS, SEEDS)
    elif settings.seeding == "graph":
        seeding = _graph_seeding(settings, where)
    else:
        seeding = _triplet_seeding(settings)
    parameters = examples.TrackParamsEstimationAlgorithm(
        level=acts.logging.ERROR,
        inputSeeds=SEEDS,
        outputSeeds=ESTIMATED_SEEDS,
        outputTrackParameters=ESTIMATED_PARAMETERS,
        trackingGeometry=where.geometry,
        magneticField=where.field,
        # Start errors of the filter; the measurements of the seed reduce them at once.
        initialSigmas=[1 * unit.mm, 1 * unit.mm, 1 * unit.degree, 1 * unit.degree, 0, 1 * unit.ns],
        initialSigmaQoverPt=0.1,
        initialSigmaPtRel=0.1,
        initialVarInflation=[1.0] * 6,
    )
    return {
        "spacepoints": space_point_maker(settings.seed_volumes, where),
        "seeding": seeding,
        "parameters": parameters,
        "ckf": _ckf(settings, where),
        "ambiguity": examples.GreedyAmbiguityResolutionAlgorithm(
            level=acts.logging.ERROR,
            inputTracks=CKF_TRACKS,
            outputTracks=TRACKS,
            maximumSharedHits=settings.max_shared_hits,
            maximumIterations=1_000_000,  # each removes a track
            nMeasurementsMin=settings.measurements_min,
        ),
    }


_TUNED_FOR: Final = (32.0, 72.0, 116.0, 172.0)
"""Radii of the pixel cylinders of the Generic detector [mm], for which the named settings are tuned."""


def adapted_settings(settings: ActsSettings, where: ActsDetector, min_hits: int = 7) -> ActsSettings:
    """Named settings for another detector than the Generic one: its field, and seeds from its innermost cylinders.

    Radii of middle space points lie between the same cylinders, and the longest distance in a seed skips as many.

    Args:
        settings: the settings.
        where: the detector.
        min_hits: most hits that a track may need: from as many on, the tracker model of the detector counts tracks.

    Raises:
        ConfigError: the detector has too few cylinders for seeds.
    """
    if where.seed_volumes is None:
        return settings
    layers = acts_layers(where, where.seed_volumes)
    radii = sorted(layer.at for layer in layers if layer.barrel)
    if len(radii) < 3:
        raise ConfigError(f"ACTS: got {len(radii)} inner cylinders in {where.name}, expected 3 or more to make seeds")

    def moved(radius: float) -> float:
        """The radius between the same cylinders."""
        at = np.interp(radius, _TUNED_FOR, np.linspace(0, 1, len(_TUNED_FOR)))
        return float(np.interp(at, np.linspace(0, 1, len(radii)), radii))

    skipping_one = max(outer - inner for inner, outer in zip(radii, radii[2:], strict=False))
    tuned_skip = max(outer - inner for inner, outer in zip(_TUNED_FOR, _TUNED_FOR[2:], strict=False))
    return replace(
        settings,
        field_z=where.field_z,
        measurements_min=min(settings.measurements_min, min_hits),
        seed_volumes=where.seed_volumes,
        seed_r_max=radii[-1] * settings.seed_r_max / _TUNED_FOR[-1],
        seed_z_max=max(abs(edge) for layer in layers for edge in layer.z_ends) + 1.0,
        middle_r_min=moved(settings.middle_r_min),
        middle_r_max=moved(settings.middle_r_max),
        delta_r_max=settings.delta_r_max * skipping_one / tuned_skip,
    )


def space_point_maker(volumes: tuple[int, ...], where: ActsDetector) -> Any:
    """Space points of all hits in `volumes`."""
    acts, examples = sequencer.pyacts()
    return examples.SpacePointMaker(
        level=acts.logging.ERROR,
        inputMeasurements=sequencer.SUBSET,
        outputSpacePoints=SPACE_POINTS,
        trackingGeometry=where.geometry,
        geometrySelection=[acts.GeometryIdentifier(volume=volume) for volume in volumes],
    )


def _triplet_seeding(settings: ActsSettings) -> Any:
    acts, examples = sequencer.pyacts()
    mm, gev = acts.UnitConstants.mm, acts.UnitConstants.GeV
    near, far = settings.delta_r_min * mm, settings.delta_r_max * mm
    return examples.GridTripletSeedingAlgorithm(
        level=acts.logging.ERROR,
        inputSpacePoints=SPACE_POINTS,
        outputSeeds=SEEDS,
        bFieldInZ=settings.field_z * acts.UnitConstants.T,
        minPt=settings.seed_min_pt * gev,
        impactMax=settings.impact_max * mm,
        deltaRMin=near,
        deltaRMinTop=near,
        deltaRMinBottom=near,
        deltaRMax=far,
        deltaRMaxTop=far,
        deltaRMaxBottom=far,
        rMax=settings.seed_r_max * mm,
        rMinMiddle=settings.middle_r_min * mm,
        rMaxMiddle=settings.middle_r_max * mm,
        zMin=-settings.seed_z_max * mm,
        zMax=settings.seed_z_max * mm,
        collisionRegionMin=-settings.collision_z * mm,
        collisionRegionMax=settings.collision_z * mm,
        sigmaScattering=settings.sigma_scattering,
        radLengthPerSeed=settings.rad_length_per_seed,
        maxSeedsPerSpM=settings.seeds_per_middle,
    )


def _graph_seeding(settings: ActsSettings, where: ActsDetector) -> Any:
    acts, examples = sequencer.pyacts()
    mapping, connections = layer_files(where, settings.seed_volumes, settings.collision_z)
    graph, finder = examples.GbtsGraphBuilderConfig(), examples.GraphBasedSeedingConfig()
    graph.minPt = settings.seed_min_pt * acts.UnitConstants.GeV
    # Edges are made only where another one follows outwards: as many tracks in less time.
    graph.matchBeforeCreate = True
    graph.minDeltaRadius = settings.delta_r_min * acts.UnitConstants.mm
    finder.minSeedLevel = settings.seed_edges
    return examples.GraphBasedSeedingAlgorithm(
        level=acts.logging.ERROR,
        inputSpacePoints=SPACE_POINTS,
        # Only cuts on the width of clusters, which are off, would read the clusters and the lookup table.
        inputClusters=sequencer.CLUSTERS,
        lutInputFile="",
        outputSeeds=SEEDS,
        trackingGeometry=where.geometry,
        layerMappingFile=str(mapping),
        connectorInputFile=str(connections),
        bFieldInZ=settings.field_z * acts.UnitConstants.T,
        collisionRegionMin=-settings.collision_z * acts.UnitConstants.mm,
        collisionRegionMax=settings.collision_z * acts.UnitConstants.mm,
        graphConfig=graph,
        seedFinderConfig=finder,
    )


def _ckf(settings: ActsSettings, where: ActsDetector) -> Any:
    acts, examples = sequencer.pyacts()
    mm, gev = acts.UnitConstants.mm, acts.UnitConstants.GeV
    everywhere = acts.GeometryIdentifier()
    make = examples.TrackFindingAlgorithm
    return make(
        level=acts.logging.FATAL,
        inputMeasurements=sequencer.SUBSET,
        inputInitialTrackParameters=ESTIMATED_PARAMETERS,
        inputSeeds=ESTIMATED_SEEDS if settings.seed_deduplication or settings.stay_on_seed else "",
        outputTracks=CKF_TRACKS,
        trackingGeometry=where.geometry,
        magneticField=where.field,
        findTracks=make.makeTrackFinderFunction(where.geometry, where.field, acts.logging.FATAL),
        findTracksBrem=make.makeBremTrackFinderFunction(where.geometry, where.field, acts.logging.FATAL),
        measurementSelectorCfg=acts.MeasurementSelector.Config(
            [(everywhere, ([], [settings.chi2_measurement], [settings.chi2_outlier], [settings.branches]))]
        ),
        trackSelectorCfg=acts.TrackSelector.Config(
            ptMin=settings.track_min_pt * gev,
            loc0Min=-settings.track_d0_max * mm,
            loc0Max=settings.track_d0_max * mm,
            minMeasurements=settings.measurements_min,
            maxHoles=settings.holes_max,
            maxOutliers=settings.outliers_max,
        ),
        twoWay=settings.two_way,
        seedDeduplication=settings.seed_deduplication,
        stayOnSeed=settings.stay_on_seed,
        recordMaterialStates=settings.record_material,
    )


class ActsTrackFinder(InOneThread):
    """Finds tracks with ACTS; needs the module, local position and variance of each hit.

    The hits are passed as arrays in memory; this transfer, which a program inside ACTS does not need, is in none of
    the times.

    Args:
        settings: cuts of seeding, filter and selection.
        threads: events in flight in `find_batch`; ACTS does not split one event.
        where: detector of the hits, or None for the Generic detector. The settings have to fit it: the
            volumes whose hits make seeds, and their radii; see `adapted_settings`.
    """

    def __init__(
        self, settings: ActsSettings = ACTS_EFFICIENT, threads: int = 1, where: ActsDetector | None = None
    ) -> None:
        self.settings = settings
        self.threads = threads
        self._detector = sequencer.detector(settings.field_z) if where is None else where
        self._where = "" if where is None else where.name

    @property
    def digest(self) -> str:
        """Digest of all that the tracks depend on: code, version of ACTS, settings, and the name of the detector."""
        return digest_of([code_digest(__name__), installed_version("pyacts"), self.settings, self._where])

    def facts(self) -> Mapping[str, object]:
        """Field that the settings are for, and threads."""
        return {"field": f"{self.settings.field_z:.3g} T", "threads": self.threads}

    def find(self, event: Event | Hits, /) -> ActsTracks:
        """The tracks of one event: hit lists as ACTS made them, and one label per hit.

        Raises:
            InputError: a hit lacks its module, local position or variance.
        """
        return self.find_batch([hits_of(event)])[0].found_in(event)

    def find_batch(self, hits: Sequence[Hits]) -> list[ActsTracks]:
        """The tracks of many events.

        Args:
            hits: hits of each event.

        Raises:
            InputError: a hit lacks its module, local position or variance.
        """
        for event in hits:
            sequencer.require_measurements(event, self._detector, "ActsTrackFinder")
        clock, collected = sequencer.Clock(), dict[int, ActsTracks]()
        algorithms, measured = sequencer.feed(hits, self._detector)
        algorithms.append(clock.tick("start"))
        for stage, algorithm in finding_algorithms(self.settings, self._detector).items():
            algorithms += [algorithm, clock.tick(stage)]
        algorithms.append(_track_collector(collected, measured, clock, self.settings.measurements_min))
        sequencer.run_sequence(algorithms, len(hits), self.threads)
        field, fewest = self._detector.field_z, self.settings.measurements_min
        return [replace(collected[number], magnetic_field=field, min_hits=fewest) for number in range(len(hits))]


def _track_collector(
    collected: dict[int, ActsTracks],
    measured: Sequence[sequencer.Measurements],
    clock: sequencer.Clock,
    min_hits: int,
) -> Any:
    """Adds the tracks of each event by its number: with several threads they come in any order."""
    acts, examples = sequencer.pyacts()

    def setup(algorithm: Any) -> Callable[[int, Any], None]:
        space_points = sequencer.reader(algorithm, acts.SpacePointContainer, SPACE_POINTS)
        seeds = sequencer.reader(algorithm, acts.SeedContainer, SEEDS)
        tracks = sequencer.reader(algorithm, examples.ConstTrackContainer, TRACKS)

        def run(number: int, context: Any) -> None:
            container = tracks(context)
            laps: sequencer.Laps = clock.laps(number)
            every = np.arange(len(container), dtype=np.int64)
            candidates = sequencer.read_hit_lists(container, measured[number])
            fitted = sequencer.read_fitted(container, every, every, laps.wall, laps.cpu)
            counts = {
                "hits": len(measured[number].of_hit),
                "spacepoints": len(space_points(context)),
                "seeds": len(seeds(context)),
                "tracks": len(container),
            }
            chi2_per_ndf = fitted.chi2 / np.maximum(fitted.ndf, 1)
            track_id = label_hits(counts["hits"], candidates, chi2_per_ndf, min_hits)
            collected[number] = ActsTracks(track_id, laps.wall, counts, candidates, laps.cpu, fits=fitted)

        return run

    return sequencer.python_algorithm("Collect", setup)


def label_hits(n_hits: int, hit_lists: HitLists, chi2_per_ndf: ndarray, min_hits: int) -> Int64[ndarray, " n_hits"]:
    """One label per hit from tracks that share hits.

    Tracks claim their hits in turn: the longest first, among equals the one with the smaller chi2 per degree of
    freedom, then the lower number. A hit goes to the first track that claims it. A track left with fewer than
    `min_hits` hits of its own is a duplicate: it is dropped, and claims none.

    Args:
        n_hits: number of hits of the event.
        hit_lists: rows of the hits of each track.
        chi2_per_ndf: (n_tracks,) chi2 per degree of freedom.
        min_hits: fewest hits of its own for a track to stay.

    Returns:
        (n_hits,) labels 0 .. n - 1 numbered by first hit, `NO_TRACK` elsewhere.
    """
    labels = np.full(n_hits, NO_TRACK, np.int64)
    order = np.lexsort((chi2_per_ndf, np.array([-len(rows) for rows in hit_lists]))) if len(hit_lists) else ()
    for track in order:
        free = hit_lists[track][labels[hit_lists[track]] == NO_TRACK]
        if len(free) >= min_hits:
            labels[free] = track
    return number_by_first_hit(labels)
