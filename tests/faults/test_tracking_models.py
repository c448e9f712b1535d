"""What enters track finding from outside besides files of events: models, detectors, plug-ins, training samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError
from beampipe.events import Event
from beampipe.tracking.training.detector import prepare
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


@pytest.mark.parametrize("fault", faults([TRAINING]))
def test_faults(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)
