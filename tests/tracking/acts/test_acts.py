from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError, InputError, MissingExtraError, UnknownNameError
from beampipe.events import NO_TRACK, Event, Hits, Truth
from beampipe.tracking.acts import (
    ACTS_EFFICIENT,
    ACTS_SOFT,
    ActsSettings,
    ActsTrackFinder,
    ActsTracks,
)
from beampipe.tracking.acts.finder import label_hits
from beampipe.tracking.acts.sequencer import python_algorithm, run_sequence
from tests.tracking.kalman_fit import fit_batch, fit_tracks

acts = pytest.importorskip("acts")
pytestmark = pytest.mark.acts

STAGES = ["spacepoints", "seeding", "parameters", "ckf", "ambiguity"]
MUONS = 50


@pytest.fixture(scope="module")
def events() -> list[Event]:
    from tests.tracking.acts.gun import shoot

    return shoot(3, MUONS)


@pytest.fixture(scope="module")
def found(events: list[Event]) -> list[ActsTracks]:
    return ActsTrackFinder(ACTS_EFFICIENT).find_batch([event.hits for event in events])


def lists_of(tracks: ActsTracks) -> Sequence[ndarray]:
    """The hit lists that ACTS made."""
    assert tracks.candidates is not None
    return tracks.candidates


def truth_of(event: Event) -> Truth:
    assert event.truth is not None
    return event.truth


def owners(event: Event, tracks: ActsTracks) -> list[int]:
    """The particle of each track; fails unless it owns all of its hits."""
    particle = truth_of(event).particle_id
    one = [np.unique(particle[rows]) for rows in lists_of(tracks)]
    assert all(len(who) == 1 for who in one)
    return [int(who[0]) for who in one]


def test_finds_every_muon(events: list[Event], found: list[ActsTracks]) -> None:
    for event, tracks in zip(events, found, strict=True):
        particles = truth_of(event).particles
        assert set(particles.particle_id[particles.primary]) <= set(owners(event, tracks))


def test_momentum_of_the_filter_is_that_of_the_muon(events: list[Event], found: list[ActsTracks]) -> None:
    for event, tracks in zip(events, found, strict=True):
        particles = truth_of(event).particles
        muon = np.array(owners(event, tracks)) - 1
        assert np.median(np.abs(tracks.fits.pt / particles.pt[muon] - 1)) < 0.02
        assert (np.sign(tracks.fits.values[:, 4]) == particles.charge[muon]).mean() > 0.97


def test_threads_do_not_matter(events: list[Event], found: list[ActsTracks]) -> None:
    again = ActsTrackFinder(ACTS_EFFICIENT, threads=2).find_batch([event.hits for event in events])
    for one, two in zip(found, again, strict=True):
        assert [rows.tolist() for rows in lists_of(one)] == [rows.tolist() for rows in lists_of(two)]


def test_soft_settings_find_soft_muons() -> None:
    from tests.tracking.acts.gun import shoot

    event = shoot(1, 20, pt=(0.4, 0.7), eta=1.0)[0]
    soft = ActsTrackFinder(ACTS_SOFT).find_batch([event.hits])[0]
    hard = ActsTrackFinder(ACTS_EFFICIENT).find_batch([event.hits])[0]
    assert len(set(owners(event, soft))) >= 17
    assert len(set(owners(event, hard))) < 10


def test_no_hits_and_no_events() -> None:
    empty = Hits(
        np.empty((0, 3), np.float32),
        np.empty(0, np.uint64),
        np.empty((0, 2), np.float32),
        np.empty((0, 2), np.float32),
    )
    tracks = ActsTrackFinder().find(empty)
    assert tracks.n_tracks == 0
    assert list(tracks.seconds) == STAGES
    assert ActsTrackFinder().find_batch([]) == []
    assert len(fit_tracks(empty, [])) == 0


def test_hits_without_modules_are_refused(events: list[Event]) -> None:
    bare = Hits(events[0].hits.position)
    with pytest.raises(InputError, match="without geometry_id, local, variance"):
        ActsTrackFinder().find(bare)
    with pytest.raises(InputError, match="without geometry_id"):
        fit_tracks(bare, [])
    hits = events[0].hits
    assert hits.geometry_id is not None
    with pytest.raises(InputError, match="no module of the Generic detector"):
        ActsTrackFinder().find(replace(hits, geometry_id=hits.geometry_id + np.uint64(1 << 30)))
    with pytest.raises(InputError, match="expected positive numbers"):
        ActsTrackFinder().find(replace(hits, variance=np.zeros_like(hits.variance)))


def test_settings_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="seeding of ACTS: got 'hough'"):
        ActsSettings(seeding="hough")
    with pytest.raises(ConfigError, match="seed_min_pt"):
        ActsSettings(seed_min_pt=-1.0)
    with pytest.raises(ConfigError, match="delta_r_min"):
        ActsSettings(delta_r_min=200.0)
    with pytest.raises(ConfigError, match="seed_volumes"):
        ActsSettings(seed_volumes=())
    with pytest.raises(ConfigError, match="threads"):
        ActsTrackFinder(threads=0).find_batch([])


def test_missing_pyacts_names_the_extra(hide: Callable[[str], None]) -> None:
    from beampipe.tracking.acts.sequencer import pyacts

    hide("acts")
    with pytest.raises(MissingExtraError, match=r"beampipe\[simulation\]"):
        pyacts()


def test_shared_hits_go_to_the_longest_track() -> None:
    lists = [np.array([0, 1, 2]), np.array([2, 3, 4, 5]), np.array([4, 5, 6]), np.array([8, 9])]
    got = label_hits(11, lists, np.ones(4), min_hits=2)
    # Track 1 is longest and keeps 2, 4, 5; track 0 keeps 0, 1; track 2 is left with one hit and goes.
    assert got.tolist() == [0, 0, 1, 1, 1, 1, NO_TRACK, NO_TRACK, 2, 2, NO_TRACK]
    tied = label_hits(3, [np.array([0, 1]), np.array([1, 2])], np.array([2.0, 1.0]), min_hits=1)
    assert tied.tolist() == [0, 1, 1]


def test_fit_recovers_the_muons_with_honest_errors(events: list[Event]) -> None:
    pulls = []
    fits = fit_batch([event.hits for event in events], [truth_of(event).particle_id for event in events])
    for event, fit in zip(events, fits, strict=True):
        particles = truth_of(event).particles
        muon = fit.candidate - 1
        assert len(fit) >= MUONS - 1
        assert 0.7 < np.median(fit.chi2 / fit.ndf) < 1.3
        assert list(fit.seconds) == ["spacepoints", "parameters", "fit", "extrapolation"]
        momentum = np.linalg.norm(particles.momentum[muon], axis=1)
        azimuth = np.arctan2(particles.momentum[muon, 1], particles.momentum[muon, 0])
        sigma = np.sqrt(np.diagonal(fit.covariance, axis1=1, axis2=2))
        turn = (fit.values[:, 2] - azimuth + np.pi) % (2 * np.pi) - np.pi
        pulls.append(
            np.stack(
                [
                    (fit.values[:, 4] - particles.charge[muon] / momentum) / sigma[:, 4],
                    (fit.values[:, 1] - particles.vertex[muon, 2]) / sigma[:, 1],
                    turn / sigma[:, 2],
                    (fit.values[:, 3] - np.arctan2(particles.pt[muon], particles.momentum[muon, 2])) / sigma[:, 3],
                ]
            )
        )
    width = 1.4826 * np.median(np.abs(np.concatenate(pulls, axis=1)), axis=1)
    assert ((width > 0.75) & (width < 1.25)).all(), width


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_python_algorithm_raises_is_raised_by_the_sequence(threads: int) -> None:
    def setup(algorithm: object) -> Callable[[int, object], None]:
        def run(number: int, context: object) -> None:
            if number == 3:
                raise InputError("event 3 is bad")

        return run

    with pytest.raises(InputError, match="event 3 is bad"):
        run_sequence([python_algorithm("Careful", setup)], 6, threads)
    run_sequence([python_algorithm("Careful", setup)], 3, threads)
