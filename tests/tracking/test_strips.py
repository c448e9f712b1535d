"""Tracks compared with both measurements of the space points on double-sided modules."""

import json
import pickle
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from beampipe.errors import ConfigError, FileError, InputError
from beampipe.events import NO_TRACK, Event, Hits
from beampipe.simulation.detector import FieldMap, Modules, detector_modules, read_layout
from beampipe.tracking import load_pipeline
from beampipe.tracking.kernels import number_by_first_hit
from beampipe.tracking.loading import pipeline_weights
from beampipe.tracking.models import load_model
from beampipe.tracking.models.card import write_model
from beampipe.tracking.strips import STRIPS, save_strips
from beampipe.tracking.training.task import BUDGETS, Task
from beampipe.tracking.training.tracker_model import learn_model
from tests.simulation.layouts import shot
from tests.tracking.strip_reference import checked_points

# The muons leave the discs at the ends empty.
pytestmark = [pytest.mark.acts, pytest.mark.filterwarnings("ignore::beampipe.errors.LayoutWarning")]


@pytest.fixture(scope="module")
def modules() -> Modules:
    return detector_modules(read_layout(Path("odd")))


@pytest.fixture(scope="module")
def muons() -> Event:
    return shot(read_layout(Path("odd")), 3, 400, (1.0, 10.0), 2.5)


def test_wrong_points_are_replaced_by_right_ones(modules: Modules, muons: Event) -> None:
    assert muons.truth is not None
    assert muons.hits.geometry_id is not None
    assert modules.stereo is not None
    true = muons.truth.particle_id - 1
    is_point = np.isfinite(modules.stereo[modules.rows(muons.hits.geometry_id)])
    # No point has a track, or the one of another muon.
    rng = np.random.default_rng(4)
    labels = np.where(is_point, rng.choice([NO_TRACK, 5, 6, 7], len(true)), true)
    checked = checked_points(muons.hits, labels, modules)
    np.testing.assert_array_equal(checked[~is_point], true[~is_point])
    points = np.flatnonzero(is_point)
    n_hits = np.bincount(true[~is_point], minlength=400)
    wanted = points[(true[points] >= 0) & (n_hits[true[points]] >= 7)]
    assert len(wanted) > 600
    assert (checked[wanted] == true[wanted]).mean() > 0.97
    on_track = points[checked[points] != NO_TRACK]
    assert (checked[on_track] == true[on_track]).mean() > 0.99


def test_pipelines_of_a_detector_with_strips_check_points(modules: Modules, muons: Event) -> None:
    pipeline = load_pipeline("module_map", model="odd", threads=1)
    tracks = pipeline.find(muons)
    by_position = pipeline.find(replace(muons.hits, local=None, variance=None))
    assert pipeline.steps[-1] == list(tracks.seconds)[-1] == "strips"
    labels = number_by_first_hit(checked_points(muons.hits, by_position.track_id, modules))
    assert (labels != by_position.track_id).any()
    np.testing.assert_array_equal(tracks.track_id, labels)
    # The same by stages in Python, for several events at once, and in a copy; the step is reported as the others are.
    steps: list[str] = []
    several = pipeline.staged().find_many([muons, muons.hits], hook=lambda step, _: steps.append(step))
    assert tuple(dict.fromkeys(steps)) == pipeline.steps
    for other in (*several, pickle.loads(pickle.dumps(pipeline)).find(muons)):
        np.testing.assert_array_equal(other.track_id, labels)


def test_the_shipped_table_is_that_of_the_detector(modules: Modules, tmp_path: Path) -> None:
    save_strips(modules, tmp_path / STRIPS)
    shipped, made = load_file(load_model("odd").path / "strips.safetensors"), load_file(tmp_path / STRIPS)
    np.testing.assert_array_equal(shipped["layers"], made["layers"])
    np.testing.assert_allclose(shipped["sensors"], made["sensors"], rtol=0, atol=1e-4)


def test_hits_of_another_detector_are_refused(muons: Event) -> None:
    assert muons.hits.geometry_id is not None
    elsewhere = replace(muons.hits, geometry_id=muons.hits.geometry_id + np.uint64(1 << 56))
    with pytest.raises(InputError, match="expected one of the 18824 modules of the detector"):
        load_pipeline("module_map", model="odd", threads=1).find(elsewhere)


def test_the_detector_file_is_kept_with_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    copytree(load_model("odd").path, folder)
    text = (files("beampipe.simulation") / "odd.toml").read_text()
    (folder / "detector.toml").write_text(text)
    write_model(replace(load_model(folder), detector="detector.toml"))
    pipeline = load_pipeline("module_map", model=folder, threads=1)
    assert pipeline.steps[-1] == "strips"
    assert {folder / "detector.toml", folder / "strips.safetensors"} <= set(pipeline_weights("module_map", folder))
    (folder / "strips.safetensors").rename(folder / "elsewhere")
    with pytest.raises(FileError, match="expected the double-sided modules; train the model again"):
        load_pipeline("module_map", model=folder, threads=1).find(Hits(np.zeros((0, 3), np.float32)))
    save_file({"layers": np.array([[16, 2, 3, 1]], np.int32), "sensors": np.zeros((3, 9), np.float32)}, folder / STRIPS)
    (folder / STRIPS).rename(folder / "strips.safetensors")
    with pytest.raises(ConfigError, match="impossible layer 0"):
        load_pipeline("module_map", model=folder, threads=1)
    (folder / "elsewhere").rename(folder / "strips.safetensors")
    (folder / "detector.toml").write_text(text.replace("stereo_mrad", "stereo"))
    with pytest.raises(ConfigError, match="stereo"):
        load_pipeline("module_map", model=folder, threads=1).find(Hits(np.zeros((0, 3), np.float32)))


def test_training_keeps_the_detector_and_measures_with_its_strips(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text((files("beampipe.simulation") / "odd.toml").read_text() + '[field_map]\nfile = "maps/own.txt"\n')
    layout = replace(read_layout(file), field_map=None)
    events = [shot(layout, seed, 400, (1.0, 10.0), 3.0) for seed in range(6)]
    task = Task("mine", effort=BUDGETS["quick"], only=("module_map",), field=3.0, force=True, detector=file)
    with pytest.raises(FileError, match=r"field_map: got no file .*own.txt"):
        learn_model(events, tmp_path / "model", task)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "own.txt").write_text("0 0 0 3")
    model = learn_model(events, tmp_path / "model", task)
    assert model.detector == "detector.toml"
    kept = load_model(tmp_path / "model").detector_layout
    assert kept is not None
    assert kept.field_map == FieldMap(tmp_path / "model" / "own.txt")
    assert replace(kept, field_map=None) == layout
    assert kept.field_map.file.read_text() == "0 0 0 3"
    assert (load_file(model.path / "strips.safetensors")["sensors"] != 0).any()
    efficiency = model.performance["module_map"].efficiency
    assert efficiency is not None
    assert efficiency > 0.7
    (finder,) = json.loads((model.path / "validation.json").read_text())["headline"]["finders"]
    assert "strips" in finder["events"][0]["seconds"]
