"""What enters track finding from outside besides files of events: models, detectors, plug-ins, training samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError, InputError
from beampipe.events import Event, Hits, TrackIds, Tracks
from beampipe.tracking.display import estimate_pt
from beampipe.tracking.evaluation.results import Evaluation
from beampipe.tracking.evaluation.scoring import compare, evaluate
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.kernels.reference import number_by_first_hit
from beampipe.tracking.training.detector import prepare
from beampipe.tracking.truth import Selection
from tests.faults.fault import Fault, cases, check
from tests.tracking.training.toy import toy_event


@cache
def clean_events() -> tuple[Event, ...]:
    """Six events in 2 T, as a training takes them."""
    return tuple(toy_event(150, seed) for seed in range(6))


def with_momenta(event: Event, factor: float) -> Event:
    """The event as in a field larger by a factor: the same curvatures are those of larger momenta."""
    assert event.truth is not None
    particles = event.truth.particles
    momentum = (particles.momentum * np.float32(factor)).astype(np.float32)
    return replace(event, truth=replace(event.truth, particles=replace(particles, momentum=momentum)))


def two_files(folder: Path) -> object:
    events = clean_events()
    return prepare({"a.parquet": events[:4], "b.parquet": [with_momenta(event, 1.5) for event in events[4:]]})


def two_fields_in_a_file(folder: Path) -> object:
    return prepare([with_momenta(event, 1.9) if k == 3 else event for k, event in enumerate(clean_events())])


def two_fields_in_small_events(folder: Path) -> object:
    """Events of a few tracks each."""
    events = [toy_event(3, seed) for seed in range(40)]
    return prepare([with_momenta(event, 1.5 if k > 25 else 1.0) for k, event in enumerate(events)])


class InThreeTesla(InOneThread):
    """A third-party finder that finds every particle, and states neither field nor fewest hits."""

    def __init__(self, labels: TrackIds | None = None, **stated: float) -> None:
        self.labels, self.stated = labels, stated

    def find(self, hits: Hits, /) -> Tracks:
        labels = np.zeros(len(hits), np.int64) if self.labels is None else self.labels
        return Tracks(labels, **self.stated)  # type: ignore[arg-type]


def short_event() -> tuple[Event, Tracks]:
    """Particles of five hits, and their right tracks by a finder whose model counts from five on."""
    event = clean_events()[0]
    assert event.truth is not None
    order = np.argsort(event.truth.particle_id, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(event.truth.particle_id[order], event.truth.particle_id[order])
    event = event.take(np.sort(order[rank < 5]))
    assert event.truth is not None
    labels = number_by_first_hit(event.truth.particle_id)
    return event, Tracks(labels, magnetic_field=2.0, min_hits=5).found_in(event)


def judged(result: Evaluation) -> str:
    """The number of particles that count, and the definition."""
    return f"{result.finders[0].double.efficiency.total} {result.definition}"


def two_minima(folder: Path) -> object:
    event, tracks = short_event()
    finders = {"five": InThreeTesla(tracks.track_id, min_hits=5), "six": InThreeTesla(tracks.track_id, min_hits=6)}
    return evaluate(finders, [event])


FINDERS = (
    Fault(
        "pT of a finder that states no field",
        lambda folder: InThreeTesla().find(clean_events()[0].hits).found_in(clean_events()[0]).pt(),
        r"got no magnetic field.*tracks\.pt\(field=",
        ConfigError,
    ),
    Fault(
        "drawing of tracks in an unknown detector without a field",
        lambda folder: InThreeTesla().find(clean_events()[0].hits).found_in(clean_events()[0]).plot(),
        "got no magnetic field",
        ConfigError,
    ),
    Fault(
        "labels alone without a field",
        lambda folder: estimate_pt(clean_events()[0].hits, np.zeros(len(clean_events()[0].hits), np.int64)),
        "got no magnetic field",
        ConfigError,
    ),
    Fault(
        "a field that is no number",
        lambda folder: InThreeTesla(magnetic_field=float("nan")).find(clean_events()[0].hits),
        "got magnetic_field = nan",
        InputError,
    ),
    Fault(
        "pT in a field of 0 T",
        lambda folder: InThreeTesla(magnetic_field=0.0).find(clean_events()[0].hits).pt(clean_events()[0].hits),
        "got a magnetic field of 0.0 T",
        ConfigError,
    ),
    Fault(
        "evaluate on a detector of few layers",
        lambda folder: judged(evaluate(InThreeTesla(short_event()[1].track_id, min_hits=5), [short_event()[0]])),
        r"^[1-9]\d+ particles: .* >= 5 layers.*; tracks: >= 5 hits",
        str,
    ),
    Fault(
        "compare on a detector of few layers",
        lambda folder: judged(compare(short_event()[1], short_event()[0])),
        r"^[1-9]\d+ particles: .* >= 5 layers.*; tracks: >= 5 hits",
        str,
    ),
    Fault(
        "finders that count from different numbers",
        two_minima,
        r"five 5, six 6.*Selection\(min_layers=5\)",
        ConfigError,
    ),
    Fault(
        "a selection that counts from more than the model",
        lambda folder: compare(short_event()[1], short_event()[0], selection=Selection(min_pt=0.5)),
        r"counts from 7 layers and hits on, where the model counts from 5 on",
        RuntimeWarning,
    ),
)

TRAINING = (
    Fault(
        "training on files of two fields",
        two_files,
        r"tracks that show (2|1\.99|2\.0\d) T in event 0 of a\.parquet and (3|2\.99|3\.0\d) T in event 4 of b\.parquet",
        ConfigError,
    ),
    Fault(
        "training on events of two fields",
        two_fields_in_a_file,
        r"T in event 0 \(number 0\) and 3\.\d+ T in event 3 \(number 3\), expected one field",
        ConfigError,
    ),
    Fault("training on small events of two fields", two_fields_in_small_events, "expected one field", ConfigError),
)


def faults(tables: Sequence[Sequence[Fault]]) -> list[object]:
    """The cases of all tables."""
    return cases([fault for table in tables for fault in table])


@pytest.mark.parametrize("fault", faults([FINDERS, TRAINING]))
def test_faults(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)
