"""A detector of seven layers: the definition follows from them, is stated everywhere, and can be chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError
from beampipe.events import Event, Hits
from beampipe.tracking import load_model, write_events
from beampipe.tracking.models import LayerRequirements, TrackerModel
from beampipe.tracking.models.card import model_overview
from beampipe.tracking.training.detector import prepare
from beampipe.tracking.training.task import BUDGETS, Task
from beampipe.tracking.training.tracker_model import learn_model
from tests.in_process import output_of
from tests.tracking.training.toy import toy_event

OUTERMOST = 520.0
"""Radius [mm] that seven barrel layers of the toy lie within."""

COUNTED = "particles: charged, primary, pT > 1 GeV, |eta| < 3, >= 5 layers, origin 0 <= r < 2 mm; tracks: >= 5 hits"


def barrel(seed: int) -> Event:
    """A toy event in seven barrel layers: what runs out through their ends is not in it."""
    event = toy_event(300, seed)
    assert event.truth is not None
    steep = np.abs(event.truth.particles.eta) > 1.3
    r, z = event.hits.position[:, 0], event.hits.position[:, 2]
    keep = (r < OUTERMOST) & (np.abs(z) < 1100) & ~steep[event.truth.particle_id - 1]
    assert event.hits.geometry_id is not None
    hits = Hits(event.hits.position[keep], event.hits.geometry_id[keep])
    return Event(seed, hits, replace(event.truth, particle_id=event.truth.particle_id[keep]))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> TrackerModel:
    folder = tmp_path_factory.mktemp("models") / "barrel"
    output: list[str] = []
    task = Task("barrel", effort=BUDGETS["quick"], only=("module_map",), force=True)
    model = learn_model([barrel(seed) for seed in range(12)], folder, task, say=output.append)
    assert "a particle counts from 5 layers on; 7 are usual" in output[0]
    return model


def test_the_definition_follows_from_the_layers(learned: TrackerModel) -> None:
    assert load_model(learned.path).crossing == LayerRequirements(7.0, 5)
    assert learned.spec("module_map").segmentation.min_hits == 5
    measured = learned.performance["module_map"]
    assert measured.counted == COUNTED
    assert measured.efficiency is not None
    assert measured.efficiency > 0.97


def test_the_definition_stands_wherever_the_numbers_do(learned: TrackerModel) -> None:
    body = json.loads((learned.path / "validation.json").read_text())
    assert body["headline"]["definition"].startswith(COUNTED)
    page = (learned.path / "validation.html").read_text().replace("&gt;", ">").replace("&lt;", "<")
    assert COUNTED in page
    assert "a particle counts from 5 layers on; 7 are usual" in page
    assert f"  counted: {COUNTED}" in model_overview(learned)


def test_a_definition_can_be_stated() -> None:
    events = [barrel(seed) for seed in range(6)]
    assert prepare(events, min_layers=6).crossing == LayerRequirements(7.0, 6)
    with pytest.raises(ConfigError, match="min_layers: got 2, expected 3 or more"):
        prepare(events, min_layers=2)


@pytest.mark.parametrize(
    ("words", "layers", "hits"),
    [((), 5, 5), (("--min-layers", 6), 6, 6), (("--min-layers", 6, "--min-hits", 4), 6, 4)],
)
def test_the_commands_state_a_definition(
    words: tuple[object, ...], layers: int, hits: int, learned: TrackerModel, tmp_path: Path
) -> None:
    write_events(tmp_path / "new.parquet", [barrel(50)])
    files = (tmp_path / "new.parquet", "--tracker-model", learned.path)
    expected = f">= {layers} layers, origin 0 <= r < 2 mm; tracks: >= {hits} hits"
    output_of("tracking", "evaluate", *files, *words, "-o", tmp_path / "scores.json")
    assert expected in json.loads((tmp_path / "scores.json").read_text())["definition"]
    assert expected in " ".join(output_of("tracking", "validate", *files, *words).split())
