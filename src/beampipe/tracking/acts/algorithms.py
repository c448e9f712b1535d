"""The algorithms of ACTS, configured from `ActsSettings`: space points, seeding, parameters, CKF."""

from __future__ import annotations

from typing import Any

from beampipe.tracking.acts.detector import ActsDetector, pyacts
from beampipe.tracking.acts.layers import layer_files
from beampipe.tracking.acts.seeder import SeederSettings, seeding_algorithm
from beampipe.tracking.acts.settings import ActsSettings
from beampipe.tracking.acts.whiteboard import CLUSTERS, SUBSET

__all__ = ["SEEDS", "SPACE_POINTS", "TRACKS", "finding_algorithms", "space_point_maker"]

SPACE_POINTS = "spacepoints"
SEEDS = "seeds"
ESTIMATED_SEEDS = "estimatedseeds"
ESTIMATED_PARAMETERS = "estimatedparameters"
TRACKS = "ckf_tracks"


def finding_algorithms(settings: ActsSettings, where: ActsDetector) -> dict[str, Any]:
    """The four stages of track finding, in order, by the names under which they are timed.

    Args:
        settings: cuts of seeding, filter and selection.
        where: detector that the hits lie in.

    Returns:
        ``spacepoints``, ``seeding``, ``parameters``, ``ckf``.
    """
    return {
        "spacepoints": space_point_maker(settings.seed_volumes, where),
        "seeding": _seeding(settings, where),
        "parameters": _parameter_estimation(where),
        "ckf": _ckf(settings, where),
    }


def space_point_maker(volumes: tuple[int, ...], where: ActsDetector) -> Any:
    """Space points of all hits in `volumes`."""
    acts, examples = pyacts()
    return examples.SpacePointMaker(
        level=acts.logging.ERROR,
        inputMeasurements=SUBSET,
        outputSpacePoints=SPACE_POINTS,
        trackingGeometry=where.geometry,
        geometrySelection=[acts.GeometryIdentifier(volume=volume) for volume in volumes],
    )


def _seeding(settings: ActsSettings, where: ActsDetector) -> Any:
    if settings.seeding == "beampipe":
        return seeding_algorithm(SeederSettings(), SPACE_POINTS, SEEDS)
    return _graph_seeding(settings, where) if settings.seeding == "graph" else _triplet_seeding(settings)


def _triplet_seeding(settings: ActsSettings) -> Any:
    acts, examples = pyacts()
    mm, gev = acts.UnitConstants.mm, acts.UnitConstants.GeV
    near, far = settings.delta_r_min * mm, settings.delta_r_max * mm
    make = {
        "triplet": examples.GridTripletSeedingAlgorithm,
        "orthogonal": examples.OrthogonalTripletSeedingAlgorithm,
    }
    return make[settings.seeding](
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
    acts, examples = pyacts()
    mapping, connections = layer_files(where, settings.seed_volumes, settings.collision_z)
    graph, finder = examples.GbtsGraphBuilderConfig(), examples.GraphBasedSeedingConfig()
    graph.minPt = settings.seed_min_pt * acts.UnitConstants.GeV
    # Edges are made only where one follows outwards: as many tracks in less time.
    graph.matchBeforeCreate = True
    graph.minDeltaRadius = settings.delta_r_min * acts.UnitConstants.mm
    finder.minSeedLevel = settings.seed_edges
    return examples.GraphBasedSeedingAlgorithm(
        level=acts.logging.ERROR,
        inputSpacePoints=SPACE_POINTS,
        # Only cuts on the width of clusters, which are off, would read the clusters and the lookup table.
        inputClusters=CLUSTERS,
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


def _parameter_estimation(where: ActsDetector) -> Any:
    acts, examples = pyacts()
    unit = acts.UnitConstants
    return examples.TrackParamsEstimationAlgorithm(
        level=acts.logging.ERROR,
        inputSeeds=SEEDS,
        outputSeeds=ESTIMATED_SEEDS,
        outputTrackParameters=ESTIMATED_PARAMETERS,
        trackingGeometry=where.geometry,
        magneticField=where.field,
        # Widths with which the filter starts; the measurements of the seed narrow them at once.
        initialSigmas=[1 * unit.mm, 1 * unit.mm, 1 * unit.degree, 1 * unit.degree, 0, 1 * unit.ns],
        initialSigmaQoverPt=0.1,
        initialSigmaPtRel=0.1,
        initialVarInflation=[1.0] * 6,
    )


def _ckf(settings: ActsSettings, where: ActsDetector) -> Any:
    acts, examples = pyacts()
    mm, gev = acts.UnitConstants.mm, acts.UnitConstants.GeV
    everywhere = acts.GeometryIdentifier()
    make = examples.TrackFindingAlgorithm
    return make(
        level=acts.logging.FATAL,
        inputMeasurements=SUBSET,
        inputInitialTrackParameters=ESTIMATED_PARAMETERS,
        inputSeeds=ESTIMATED_SEEDS if settings.seed_deduplication or settings.stay_on_seed else "",
        outputTracks=TRACKS,
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
