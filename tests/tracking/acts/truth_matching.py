"""Truth matching of any hit lists by ACTS itself, as an independent check of our scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool
from beampipe.errors import InputError, ShapeError
from beampipe.events import Event, Particles, Truth
from beampipe.tracking.acts.sequencer import (
    SUBSET,
    HitLists,
    Measurements,
    detector,
    feed,
    pyacts,
    python_algorithm,
    require_measurements,
    run_sequence,
    writer,
)
from tests.tracking.kalman_fit import proto_tracks

PION_MASS: Final = 0.1396
"""Mass of every particle for ACTS [GeV]; species and mass play no part in matching."""

MORE_THAN_HALF: Final = 0.5 + 1e-6
"""ACTS requires at least its ratio; at 0.5 a track with half of its hits from each of two particles would match."""


@dataclass(frozen=True)
class ActsMatching:
    """Counts of ``TrackTruthMatcher`` and the pattern recognition performance writer of ACTS, over all events.

    Attributes:
        tracks: number of tracks given.
        matched: number of tracks matched to particles in `selected`; so it may be less than tracks minus fakes.
        fakes: number of tracks that match no particle.
        duplicates: number of further tracks of particles that have a better one.
        particles: number of particles to be found (`selected`).
        found: number of these that have at least one matching track.
    """

    tracks: int
    matched: int
    fakes: int
    duplicates: int
    particles: int
    found: int


def acts_truth_matching(
    events: Sequence[Event],
    hit_lists: Sequence[HitLists],
    selected: Sequence[Bool[ndarray, " _"]],
    double: bool = True,
    field_z: float = 2.0,
) -> ActsMatching:
    """Compare hit lists with the truth by ACTS.

    A track belongs to the particle with most of its hits, if these are more than half of its hits; with `double`,
    also more than half of the hits of the particle.

    Args:
        events: events with truth, and hits with geometry_id, local and variance.
        hit_lists: rows of the hits of each track, per event; apply a cut on the number of hits before.
        selected: mask of the particles that are to be found, per event.
        double: whether double or single majority is required.
        field_z: magnetic field along z [T]; it has no influence.

    Raises:
        InputError: an event without truth or without measurements on modules.
        ShapeError: not one set of hit lists and one mask per event.
    """
    if not len(events) == len(hit_lists) == len(selected):
        raise ShapeError(
            f"acts_truth_matching: got {len(events)} events, {len(hit_lists)} sets of hit lists and {len(selected)}"
            " masks, expected one of each per event"
        )
    truths = []
    for event, mask in zip(events, selected, strict=True):
        require_measurements(event.hits, detector(field_z), "acts_truth_matching")
        if event.truth is None:
            raise InputError(f"event {event.event_id}: got no truth, expected simulated events")
        if mask.shape != (len(event.truth.particles),):
            raise ShapeError(
                f"event {event.event_id}: got a mask of shape {mask.shape}, expected ({len(event.truth.particles)},)"
            )
        truths.append(event.truth)
    algorithms, measured = feed([event.hits for event in events], detector(field_z))
    algorithms += [
        _feed_truth(truths, selected, measured),
        proto_tracks(hit_lists, measured, "prototracks"),
        *_match(double),
    ]
    acts, examples = pyacts()
    config = examples.PythonPatternRecognitionPerformanceWriter.Config()
    config.inputTracks = "given_tracks"
    config.inputParticles = "particles_to_find"
    config.inputTrackParticleMatching = "track_particle_matching"
    config.inputParticleTrackMatching = "particle_track_matching"
    config.inputParticleMeasurementsMap = "particle_measurements_map"
    performance = examples.PythonPatternRecognitionPerformanceWriter(config, acts.logging.ERROR)
    run_sequence(algorithms, len(events), 1, [performance])
    counts = performance.stats()
    return ActsMatching(
        tracks=counts["nTotalTracks"],
        matched=counts["nTotalMatchedTracks"],
        fakes=counts["nTotalFakeTracks"] + counts["nTotalUnmatchedTracks"],
        duplicates=counts["nTotalDuplicateTracks"],
        particles=counts["nTotalParticles"],
        found=counts["nTotalMatchedParticles"],
    )


def _feed_truth(
    truths: Sequence[Truth],
    selected: Sequence[Bool[ndarray, " _"]],
    measured: Sequence[Measurements],
) -> Any:
    """Put on the whiteboard: particles, the ones to be found, and the particles of each measurement."""
    _, examples = pyacts()

    def setup(algorithm: Any) -> Callable[[int, Any], None]:
        write_all = writer(algorithm, examples.SimParticleContainer, "particles")
        write_selected = writer(algorithm, examples.SimParticleContainer, "particles_to_find")
        write_map = writer(algorithm, examples.MeasurementParticlesMap, "measurement_particles_map")
        write_inverse = writer(algorithm, examples.ParticleMeasurementsMap, "particle_measurements_map")

        def run(number: int, context: Any) -> None:
            truth, mask = truths[number], selected[number]
            codes = {}
            for i, particle in enumerate(truth.particles.particle_id.tolist(), 1):
                codes[particle] = code = examples.SimBarcode()
                code.vertexPrimary, code.particle = 1, i
            table = _measurement_particles(examples, truth, measured[number], codes)
            # Writing an object moves it away, so the inverse is made before.
            write_inverse(context, table.invert())
            write_map(context, table)
            write_all(context, _container(examples, truth.particles, codes, np.ones(len(mask), np.bool_)))
            write_selected(context, _container(examples, truth.particles, codes, mask))

        return run

    return python_algorithm("FeedTruth", setup)


def _measurement_particles(examples: Any, truth: Truth, measured: Measurements, codes: dict[int, Any]) -> Any:
    measurement = measured.of_hit[:, 0]
    leading = [(i, int(particle)) for i, particle in zip(measurement, truth.particle_id, strict=True)]
    further = list(zip(measurement[truth.shared_hit].tolist(), truth.shared_particle.tolist(), strict=True))
    table = examples.MeasurementParticlesMap()
    for index, particle in sorted(leading + further):
        if particle in codes:  # noise belongs to no particle
            table.insert(index, codes[particle])
    return table


def _container(examples: Any, particles: Particles, codes: dict[int, Any], mask: Bool[ndarray, " n_particles"]) -> Any:
    acts, _ = pyacts()
    container = examples.SimParticleContainer()
    chosen = np.flatnonzero(mask)
    for number, charge, momentum in zip(
        particles.particle_id[chosen].tolist(),
        particles.charge[chosen].tolist(),
        particles.momentum[chosen].tolist(),
        strict=True,
    ):
        particle = examples.SimParticle(codes[number], acts.PdgParticle.ePionPlus, charge, PION_MASS)
        size = float(np.linalg.norm(momentum))
        if size > 0:
            particle.direction = acts.Vector3(*(component / size for component in momentum))
            particle.absoluteMomentum = size
        container.insert(particle)
    return container


def _match(double: bool) -> list[Any]:
    acts, examples = pyacts()
    return [
        examples.ProtoTracksToTracks(
            level=acts.logging.ERROR,
            inputMeasurements=SUBSET,
            inputProtoTracks="prototracks",
            inputTrackParameters="",
            outputTracks="given_tracks",
        ),
        examples.TrackTruthMatcher(
            level=acts.logging.ERROR,
            inputTracks="given_tracks",
            inputParticles="particles",
            inputMeasurementParticlesMap="measurement_particles_map",
            outputTrackParticleMatching="track_particle_matching",
            outputParticleTrackMatching="particle_track_matching",
            matchingRatio=MORE_THAN_HALF,
            doubleMatching=double,
        ),
    ]
