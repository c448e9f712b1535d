"""What is looked at before a training: field, units, beam line, and which event is used for what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from beampipe.errors import BeampipeError, ConfigError, InputError
from beampipe.events import BeamSpot, Event
from beampipe.tracking.training.detector import about_beam_spot, measured_field, prepare
from tests.tracking.training.toy import FIELD, toy_event


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return [toy_event(300, seed) for seed in range(12)]


def moved(event: Event, x: float, y: float) -> Event:
    """The event in a frame whose beam line is at (x, y)."""
    return about_beam_spot(event, BeamSpot(-x, -y))


def test_every_event_has_one_use(events: list[Event]) -> None:
    sample = prepare(events)
    used = [[event.event_id for event in part] for part in (sample.taught, sample.chooses, sample.scored)]
    assert used == [[0, 2, 3, 5, 6, 8, 9, 11], [1, 7], [4, 10]]
    assert (sample.layers.source, sample.crossing.min_layers) == ("volume and layer", 7)
    assert sample.z_reach == pytest.approx(3.3 * 50, rel=0.2)  # a Gaussian of 50 mm


def test_the_field_is_measured(events: list[Event]) -> None:
    """The toy's helices have radius pT / (0.0003 B): the rule that ACTS and every textbook have, for 2 T."""
    assert measured_field(events) == pytest.approx(FIELD, rel=0.01)
    assert prepare(events, field=2.0).field == 2.0
    with pytest.raises(ConfigError, match=r"got tracks that show (2|1\.99|2\.0\d*) T, expected 3\.8 T as --field says"):
        prepare(events, field=3.8)


def with_momenta(event: Event, factor: float) -> Event:
    assert event.truth is not None
    particles = event.truth.particles
    momentum = (particles.momentum * np.float32(factor)).astype(np.float32)
    return replace(event, truth=replace(event.truth, particles=replace(particles, momentum=momentum)))


def with_positions(event: Event, factor: float) -> Event:
    position = event.hits.position * np.array([factor, 1, factor], np.float32)
    return replace(event, hits=replace(event.hits, position=position))


STRANGE: dict[str, tuple[Callable[[Event], Event], type[BeampipeError], str]] = {
    "momenta in MeV": (
        lambda event: with_momenta(event, 1000),
        InputError,
        "field of .*e.03 T.* are the momenta in MeV",
    ),
    "lengths in m": (
        lambda event: with_positions(event, 1e-3),
        ConfigError,
        "expected 3 or more thin layers in mm",
    ),
    "lengths in cm": (
        lambda event: with_positions(event, 0.1),
        ConfigError,
        "vertices whose z is off .* in mm and GeV",
    ),
    "beam line far off": (lambda event: moved(event, 1.5, -0.5), ConfigError, "give --beam-spot 1.5,-0.5"),
    "no truth": (lambda event: replace(event, truth=None), InputError, "got no truth"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_strange_events_are_refused(what: str, events: list[Event]) -> None:
    change, error, message = STRANGE[what]
    with pytest.raises(error, match=message):
        prepare([change(event) for event in events])


def test_too_few_events_are_refused(events: list[Event]) -> None:
    with pytest.raises(ConfigError, match="got 5 events, expected 6 or more"):
        prepare(events[:5])


def test_a_beam_spot_is_taken_away(events: list[Event]) -> None:
    there = moved(events[0], 1.5, -0.5)
    x, y = (
        there.hits.position[:, 0] * np.cos(there.hits.position[:, 1]),
        there.hits.position[:, 0] * np.sin(there.hits.position[:, 1]),
    )
    before = events[0].hits.position
    np.testing.assert_allclose(x, before[:, 0] * np.cos(before[:, 1]) + 1.5, atol=1e-3)
    np.testing.assert_allclose(y, before[:, 0] * np.sin(before[:, 1]) - 0.5, atol=1e-3)
    assert there.truth is not None
    assert there.truth.particles.vertex[:, 0] == pytest.approx(1.5)
    back = about_beam_spot(there, BeamSpot(1.5, -0.5))
    np.testing.assert_allclose(back.hits.position[:, [0, 2]], before[:, [0, 2]], atol=1e-3)
    assert back.hits.geometry_id is events[0].hits.geometry_id
