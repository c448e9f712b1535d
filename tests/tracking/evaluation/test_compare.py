"""The tracks of one event against its truth, and how evaluations show themselves."""

from __future__ import annotations

import numpy as np
import pytest

import beampipe.tracking.evaluation.scoring  # noqa: F401 - a module beside the names of the face
from beampipe.errors import InputError, ShapeError
from beampipe.events import BeamSpot
from beampipe.tracking import Event, Hits, Tracks, load_pipeline, shipped_events
from beampipe.tracking.evaluation import HEADLINE, compare, evaluate, select_particles
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.training.detector import about_beam_spot

from .toy import labels_by_particle, toy_event


class _Nothing(InOneThread):
    """A finder without tracks."""

    def find(self, hits: Hits, /) -> Tracks:
        return Tracks(np.full(len(hits), -1))


def test_perfect_tracks_have_found_everything() -> None:
    event = toy_event(200, seed=1)
    tracks = Tracks(labels_by_particle(event))
    scored = compare(tracks, event)
    (result,) = scored.finders
    assert result.double.efficiency.total == np.count_nonzero(select_particles(event, HEADLINE)) > 50
    assert result.double.efficiency.value == 1.0
    assert result.double.fakes.value == 0.0
    assert not result.failed
    assert compare(event, tracks, name="truth").finders[0].name == "truth"


def test_particles_of_a_beam_line_off_the_axis_count() -> None:
    event, line = shipped_events(60)[0], BeamSpot(4.0, 0.0)
    moved = about_beam_spot(event, line.opposite)
    counted = []
    for finder, seen in ((load_pipeline(), event), (load_pipeline(beam_spot=line), moved)):
        tracks = finder.find(seen)
        for scored in (evaluate(finder, [seen], warm_up=0), compare(tracks, seen)):
            counted.append(scored.finders[0].double.efficiency)
    assert counted[0].passed > 300
    assert counted == counted[:1] * 4
    nothing = Tracks(np.full(len(event.hits), -1))
    with pytest.warns(RuntimeWarning, match="no particle is .* 0 <= r < 2 mm, of .* from the beam line"):
        assert compare(nothing, moved).finders[0].double.efficiency.total < counted[0].total / 10
    by_line = evaluate({"none": _Nothing()}, [moved], beam_spot=line, warm_up=0)
    assert by_line.finders[0].double.efficiency.total == counted[0].total


def test_wrong_and_lost_hits_of_tracks_are_counted() -> None:
    event = toy_event(200, seed=1)
    labels = labels_by_particle(event)
    whole = compare(event, Tracks(labels)).finders[0].double
    assert (whole.wrong_hit.passed, whole.purity.value) == (0, 1.0)
    assert whole.completeness.value > 0.99, "a merged hit is on the track of one of its particles"
    tracks = [track for track in range(labels.max() + 1) if np.count_nonzero(labels == track) >= 8][:3]
    first, _, third = (np.flatnonzero(labels == track)[0] for track in tracks)
    labels[first], labels[third] = tracks[1], -1
    mixed = compare(event, Tracks(labels)).finders[0].double
    assert mixed.wrong_hit.passed == 1
    assert mixed.wrong_hit.total == whole.wrong_hit.total
    assert mixed.purity.total - mixed.purity.passed == 1
    assert mixed.completeness.total == whole.completeness.total
    assert whole.completeness.passed - mixed.completeness.passed == 2
    assert mixed.efficiency == whole.efficiency


def test_what_cannot_be_compared_is_refused() -> None:
    event = toy_event(20)
    tracks = Tracks(np.full(len(event.hits), -1))
    with pytest.raises(InputError, match="got no truth"):
        compare(Event(4, event.hits), tracks)
    with pytest.raises(ShapeError, match=rf"got 3 labels, expected {len(event.hits)}"):
        compare(event, Tracks(np.full(3, -1)))
