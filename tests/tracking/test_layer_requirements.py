"""Fewest hits follow from the layers that particles cross: here, in a model's folder, and where it is served."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.serving import contract
from beampipe.serving.models import ServingSettings, native_settings, tracking_model
from beampipe.tracking import PIPELINES, load_model, load_pipeline, shipped_events
from beampipe.tracking.catalogue import CARD
from beampipe.tracking.models import LayerRequirements, TrackerModel
from beampipe.tracking.models.card import write_model


@pytest.fixture
def short(tmp_path: Path) -> TrackerModel:
    """The shipped weights as those of a detector of which particles usually cross seven layers."""
    model = replace(load_model(), path=Path(shutil.copytree(load_model().path, tmp_path / "short")))
    write_model(replace(model, crossing=LayerRequirements.usual(7.0)))
    return load_model(model.path)


@pytest.mark.parametrize(
    ("layers", "fewest"), [(14.0, 7), (10.0, 7), (9.3, 6), (8.0, 6), (7.0, 5), (6.0, 4), (4.0, 4), (2.0, 4)]
)
def test_a_particle_counts_from_three_quarters_of_the_usual_layers(layers: float, fewest: int) -> None:
    assert LayerRequirements.usual(layers) == LayerRequirements(layers, fewest)
    assert str(LayerRequirements(layers, fewest)) == f"a particle counts from {fewest} layers on; {layers:g} are usual"


def test_the_shipped_model_runs_the_pipelines_as_the_table_has_them() -> None:
    model = load_model()
    assert {name: model.spec(name) for name in model.pipelines} == {name: PIPELINES[name] for name in model.pipelines}
    with pytest.raises(UnknownNameError, match="did you mean 'module_map'"):
        model.spec("module_mop")


def test_short_tracks_are_found_natively_and_by_stages(short: TrackerModel) -> None:
    hits = shipped_events(0)[0].hits
    usual, pipeline = (load_pipeline("module_map", threads=1, model=model) for model in ("generic", short))
    labels = pipeline.find(hits).track_id
    assert np.bincount(labels[labels >= 0]).min() == 5 < PIPELINES["module_map"].segmentation.min_hits
    assert labels.max() > usual.find(hits).track_id.max()
    np.testing.assert_array_equal(pipeline.staged().find(hits).track_id, labels)


def test_the_native_backend_is_told(short: TrackerModel) -> None:
    settings = native_settings(tracking_model("mine", "module_map_soft", ServingSettings(tracker_model=short.path)))
    assert settings.parameters[contract.PIPELINE_SPEC] == short.spec("module_map_soft").to_json()
    assert settings.parameters[contract.PIPELINE_SPEC] != PIPELINES["module_map_soft"].to_json()


def test_tracks_of_two_hits_are_refused(short: TrackerModel) -> None:
    card = json.loads((short.path / CARD).read_text())
    card["crossing"]["min_layers"] = 2
    (short.path / CARD).write_text(json.dumps(card))
    with pytest.raises(ConfigError, match="min_layers: got 2, expected 3 or more"):
        load_model(short.path)
