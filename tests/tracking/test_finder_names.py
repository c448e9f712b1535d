from __future__ import annotations

import numpy as np
import pytest

from beampipe.errors import InputError, UnknownNameError
from beampipe.events import Event, Hits, Tracks, Truth
from beampipe.tracking.acts import ActsTrackFinder, acts_names
from beampipe.tracking.acts.settings import ACTS_SOFT
from beampipe.tracking.cli import PIPELINE_HELP
from beampipe.tracking.data import shipped_events
from beampipe.tracking.evaluation.matching import Candidates, match
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.finder_names import named_finder, named_finders
from beampipe.tracking.truth import Selection, contributions, select_particles
from tests.tracking.acts.truth_matching import acts_truth_matching

SOFT = Selection(min_pt=0.3)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown ACTS setting: got 'acts-sift'.*did you mean 'acts-soft'"):
        named_finders(["acts-sift"])
    with pytest.raises(UnknownNameError, match="unknown finder: got 'actz'"):
        named_finders(["actz"])


def test_help_names_every_setting() -> None:
    settings = ("fast", "soft", "graph-fast", "beampipe")
    assert acts_names() == ("acts", *(f"acts-{name}" for name in settings))
    assert all(name in PIPELINE_HELP for name in acts_names())


@pytest.mark.acts
def test_acts_refuses_hits_that_are_on_none_of_its_modules() -> None:
    bare = Hits(largest(0).hits.position)
    with pytest.raises(InputError, match="without geometry_id, local, variance"):
        named_finder("acts").find(bare)


@pytest.mark.acts
def test_acts_finds_most_particles_of_a_shipped_event() -> None:
    result = evaluate(named_finders(["acts-soft"]), shipped_events(0), sample="shipped, mu = 0")
    (acts,) = result.finders
    assert acts.name == "acts-soft"
    assert not acts.failed
    assert acts.double.efficiency.value > 0.8
    assert all(event.cpu_seconds["ckf"] > 0 for event in acts.events)


@pytest.mark.acts
def test_our_scoring_counts_what_acts_counts_on_the_same_tracks() -> None:
    """Tracks of ACTS, and the same spoilt: joined, halved, doubled, and with hits of others."""
    event = largest(0)
    result = ActsTrackFinder(ACTS_SOFT).find(event.hits)
    assert result.candidates is not None
    rng = np.random.default_rng(1)
    good = list(result.candidates)
    n = len(good) // 4
    lists = [
        *good,
        *(np.unique(np.concatenate(pair)) for pair in zip(good[:n], good[n : 2 * n], strict=True)),
        *(track[: len(track) // 2] for track in good[:n]),
        *good[n : 2 * n],
        *(np.unique(np.append(track, rng.integers(0, len(event.hits), 12))) for track in good[2 * n : 3 * n]),
    ]
    truth = truth_of(event)
    known = contributions(truth)
    chosen = select_particles(event, SOFT, known)
    rows = known.row(truth.particles.particle_id[chosen])
    matches = match(Candidates.from_lists(lists, len(event.hits)), known, min_track_hits=1)
    everyone = np.ones(len(chosen), np.bool_)
    for double in (False, True):
        of_asked = acts_truth_matching([event], [lists], [chosen], double)
        of_all = acts_truth_matching([event], [lists], [everyone], double)
        particles = matches.found_double if double else matches.found_single
        assert (of_asked.particles, of_asked.found) == (len(rows), int(np.count_nonzero(particles[rows])))
        assert (of_all.tracks, of_all.fakes) == (len(matches), matches.n_fakes(double))
        assert of_all.duplicates == matches.n_duplicates(double)
        assert of_asked.found > n > 10
        assert 2 * of_all.fakes > n
        assert of_all.duplicates > n


class Own(InOneThread):
    """A finder that says its own processor time."""

    def find(self, hits: Hits, /) -> Tracks:
        return Tracks(np.full(len(hits), -1, np.int64), {"all": 2.0}, cpu_seconds={"all": 1.5})


def test_processor_time_is_the_finders_own_or_that_of_the_call() -> None:
    class Plain(InOneThread):
        def find(self, hits: Hits, /) -> Tracks:
            return Tracks(np.full(len(hits), -1, np.int64))

    result = evaluate({"own": Own(), "call": Plain()}, [largest(0)], sample="shipped")
    own, call = (finder.events[0] for finder in result.finders)
    assert (own.cpu, own.total) == (1.5, 2.0)
    assert list(call.cpu_seconds) == ["call"]
    assert 0 <= call.cpu < 0.5


def largest(mu: int) -> Event:
    return max(shipped_events(mu), key=lambda event: len(event.hits))


def truth_of(event: Event) -> Truth:
    assert event.truth is not None
    return event.truth
