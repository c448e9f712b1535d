"""The options of reading: one definition, and every command that reads events has them."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from beampipe.events import Event
from beampipe.serving.track_command import track
from beampipe.tracking import cli as tracker
from beampipe.tracking import cli as tracking
from beampipe.tracking import shipped_events
from beampipe.tracking.formats import ReadOptions
from tests.in_process import output_of


@pytest.mark.parametrize(
    "command",
    [track, tracking.evaluate, tracking.display, tracker.train, tracker.validate],
    ids=lambda item: item.__name__,
)
def test_every_command_that_reads_events_has_them(command: object) -> None:
    assert callable(command)
    parameters = inspect.signature(command).parameters
    assert "options" not in parameters
    for option in fields(ReadOptions):
        default = option.default or None  # an option that may be given several times has no value without
        assert (parameters[option.name].kind, parameters[option.name].default) == (
            inspect.Parameter.KEYWORD_ONLY,
            default,
        )
        assert parameters[option.name].annotation.__metadata__[0].help


def as_table(events: list[Event], path: Path) -> None:
    """Write events as a table of somebody who counts in metres."""
    tables = []
    for event in events:
        assert event.truth is not None
        particles, owner = event.truth.particles, event.truth.particle_id
        row = np.minimum(np.searchsorted(particles.particle_id, owner), len(particles.particle_id) - 1)
        r, phi, z = event.hits.position.T
        columns = {"event_id": np.full(len(r), event.event_id), "r": r / 1000, "phi": phi / np.pi, "z": z / 1000}
        columns |= {"particle_id": owner, "q": particles.charge[row]}
        columns |= {name: particles.momentum[row, k] for k, name in enumerate(("px", "py", "pz"))}
        columns |= {name: particles.vertex[row, k] for k, name in enumerate(("vx", "vy", "vz"))}
        tables.append(pa.table(columns))
    csv.write_csv(pa.concat_tables(tables), path)


def test_events_of_others_are_scored_and_drawn(tmp_path: Path) -> None:
    events = [event for event, _ in zip(shipped_events(0), range(12), strict=False)]
    as_table(events, tmp_path / "theirs.csv")
    output = ("--format", "table", "--scale", "acts")
    for words in (
        ("evaluate", tmp_path / "theirs.csv", "-o", tmp_path / "scores.json"),
        ("display", tmp_path / "theirs.csv", "-o", tmp_path / "event.json", "--event", "3"),
    ):
        output_of("tracking", *words, *output)
    scores = json.loads((tmp_path / "scores.json").read_text())
    efficiency = scores["finders"][0]["double"]["efficiency"]
    assert efficiency["total"] > 30
    assert efficiency["value"] > 0.95
    assert len(json.loads((tmp_path / "event.json").read_text())) > 0
