"""A model is learned from a toy detector without identifiers, in seconds, and finds the toy's tracks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError, FileError, InputError, LayoutError, UnknownNameError
from beampipe.events import Event
from beampipe.tracking import evaluate, load_model, load_pipeline, write_events
from beampipe.tracking.models import BinnedEfficiency, Performance, TrackerModel
from beampipe.tracking.models.card import verdict
from beampipe.tracking.training import task
from beampipe.tracking.training.task import PARTS, Task, TrainingBudget
from beampipe.tracking.training.tracker_model import FEWEST_PARTICLES, learn_model
from beampipe.tracking.training.validation import validate
from beampipe.tracking.training.windows import WINDOW_RECIPES
from tests.in_process import output_of, run
from tests.tracking.training.toy import toy_event

TINY = TrainingBudget("tiny", 0.005, 500, 3, 1, 2, 3, "seconds")


def stranger(seed: int) -> Event:
    """A toy event of somebody who knows no identifiers."""
    event = toy_event(400, seed)
    return replace(event, hits=replace(event.hits, geometry_id=None))


def half_the_field(seed: int) -> Event:
    """The same with half the momenta, as if the field were half as strong."""
    event = stranger(seed)
    assert event.truth is not None
    slow = replace(event.truth.particles, momentum=event.truth.particles.momentum / 2)
    return replace(event, truth=replace(event.truth, particles=slow))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> TrackerModel:
    folder = tmp_path_factory.mktemp("models") / "toy"
    output: list[str] = []
    events, jets = ([stranger(seed) for seed in seeds] for seeds in (range(12), range(100, 103)))
    task = Task("toy", effort=TINY)
    model = learn_model(events, folder, task, jets=jets, say=output.append)
    assert "layers, from positions; no modules are known, so none are switched off in training" in output[0]
    said = [line.split(":")[0] for line in output[1:]]
    assert said == ["training", *(part.stem for part in task.parts), "validation"]
    return model


def test_a_learned_folder_is_a_model(learned: TrackerModel) -> None:
    assert load_model(learned.path) == learned
    learned.check(deep=True)
    assert learned.pipelines == ("exatrkx", "exatrkx_walk", "module_map", "module_map_soft", "all")
    assert {path.name for path in learned.path.iterdir()} == {
        "model.json",
        *(f"{stem}.{ending}" for stem in set(PARTS) - {"exatrkx_soft"} for ending in ("safetensors", "json")),
        "validation.json",
        "validation.html",
    }
    assert learned.layout.field == pytest.approx(2.0, rel=0.01)
    assert learned.weights["module_map"].pt_floor == 0.95
    assert (learned.origin.events, learned.origin.validation_events) == (8, 4)


def test_a_learned_model_finds_tracks_of_its_detector(learned: TrackerModel) -> None:
    result = evaluate(
        {"it": load_pipeline("module_map", threads=1, model=learned.path)}, [toy_event(400, 99)], sample="toy"
    )
    assert result.finders[0].double.efficiency.value > 0.9
    measured = learned.performance["module_map"]
    assert set(measured.curves) == {"pt", "eta", "vertex_z", "origin", "distance", "jets"}
    assert sum(measured.curves["jets"].total) > 0
    assert measured.efficiency is not None
    assert measured.efficiency > 0.9
    assert set(learned.performance) == set(learned.pipelines)


def test_the_report_shows_what_was_measured(learned: TrackerModel) -> None:
    body = json.loads((learned.path / "validation.json").read_text())
    assert {finder["name"] for finder in body["headline"]["finders"]} == set(learned.pipelines)
    page = (learned.path / "validation.html").read_text()
    assert page.count("data:image/png;base64,") >= 4
    assert all(f"<td>{name}</td>" in page for name in learned.pipelines)
    assert "://" not in page  # nothing from elsewhere; base64 has no colon, so no picture can hold this by chance


def test_a_folder_that_holds_something_is_refused(learned: TrackerModel) -> None:
    before = (learned.path / "model.json").read_bytes()
    with pytest.raises(FileError, match="got something there already"):
        learn_model([], learned.path, Task("toy", effort=TINY))
    assert (learned.path / "model.json").read_bytes() == before


def test_what_cannot_be_learned_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 2 events, expected 6"):
        learn_model([stranger(0), stranger(1)], tmp_path / "toy", Task("toy", effort=TINY))
    assert list(tmp_path.iterdir()) == []


def test_windows_that_the_events_do_not_give_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "PARTS", {stem: PARTS[stem] for stem in ("module_map", "module_map_far")})
    outside = replace(WINDOW_RECIPES["module_map_far"], start_min=1e4)  # beyond all layers
    monkeypatch.setitem(WINDOW_RECIPES, "module_map_far", outside)
    output: list[str] = []
    events = [stranger(seed) for seed in range(6)]
    model = learn_model(events, tmp_path / "toy", Task("toy", effort=TINY, force=True), say=output.append)
    assert model.pipelines == ("module_map",)
    assert any(line.startswith("module_map_far: not learned, as got no triple of layers") for line in output)


def test_events_of_another_detector_measure_nothing(learned: TrackerModel) -> None:
    event = stranger(50)
    longer = replace(event.hits, position=event.hits.position * np.array([1.2, 1, 1.2], np.float32))
    with pytest.raises(LayoutError, match=r"got \d+% of the hits on the layers of toy, expected most of them"):
        validate(learned, [replace(event, hits=longer)], "longer")


def test_events_of_another_detector_file_are_refused_before_training(tmp_path: Path) -> None:
    """The toy has 2 T, the Open Data Detector 3 T; this one has the field of the toy, and other modules."""
    weak = tmp_path / "weak.toml"
    text = (Path(__file__).parents[4] / "examples" / "detectors" / "longbar.toml").read_text(encoding="utf-8")
    weak.write_text(text.replace("field_T = 1.5", "field_T = 2"), encoding="utf-8")
    events, said = [toy_event(400, seed) for seed in range(12)], list[str]()
    for detector, message in (
        (Path("odd"), "expected 3 T as odd says"),
        (weak, "one of the .* modules of the detector"),
    ):
        task = Task("toy", effort=TINY, only=("module_map",), detector=detector)
        with pytest.raises((ConfigError, InputError), match=message):
            learn_model(events, tmp_path / "toy", task, say=said.append)
    assert said == []


def test_parts_are_asked_for_by_name() -> None:
    assert [part.stem for part in Task("x").parts] == [stem for stem in PARTS if stem != "exatrkx_soft"]
    assert [part.stem for part in Task("x", soft=True).parts] == list(PARTS)
    assert [part.stem for part in Task("x", only=("module_map_soft",)).parts] == ["module_map_soft"]
    with pytest.raises(ConfigError, match="got exatrkx without module_map"):
        Task("x", only=("exatrkx",))
    with pytest.raises(UnknownNameError, match="did you mean 'module_map'"):
        Task("x", only=("modulemap",))


def test_too_few_particles_are_refused_with_the_number_to_add(tmp_path: Path) -> None:
    events = [toy_event(20, seed) for seed in range(12)]
    with pytest.raises(
        ConfigError, match=r"got (\d+) particles to find in 12 events .*add about (\d+) events"
    ) as error:
        learn_model(events, tmp_path / "toy", Task("toy", effort=TINY, only=("module_map",)))
    particles, missing = map(int, re.findall(r"got (\d+) .*about (\d+)", str(error.value))[0])
    assert 11 / 12 * FEWEST_PARTICLES < particles * (1 + missing / 12) < 13 / 12 * FEWEST_PARTICLES
    assert "--force" in str(error.value)
    assert not (tmp_path / "toy").exists()


def performance(efficiency: float | None, fakes: float, matched: tuple[int, ...], total: int = 100) -> Performance:
    by_pt = BinnedEfficiency((0.3, 1.0, 2.0, 5.0), (total,) * 3, matched)
    by_eta = BinnedEfficiency((-3.0, 3.0), (2 * total,), (sum(matched[1:]),))  # above 1 GeV
    return Performance("events", 5, 1000.0, efficiency, fakes, 0.2, 10.0, {"pt": by_pt, "eta": by_eta})


@pytest.mark.parametrize(
    ("measured", "usable", "text"),
    [
        (performance(0.98, 0.01, (50, 97, 100)), True, "usable: module_map finds 98.0 % of the 200 particles, 1.0 %"),
        (performance(0.91, 0.01, (10, 80, 99)), True, "usable above pT = 2 GeV: module_map finds 91.0 %"),
        (performance(0.91, 0.01, (10, 99, 80)), False, "not usable, because module_map finds 91.0 %"),
        (performance(0.99, 0.2, (10, 99, 99)), False, "20.0 % of its tracks are fakes (expected 97 % or more"),
        (performance(None, 0.2, (0, 0, 0), total=0), False, "not usable, because 0 particles are too few"),
        (performance(1.0, 0.0, (10, 49, 49), total=49), False, "because 98 particles are too few to measure it"),
        (performance(0.8, 0.0, (0, 39, 60), total=60), False, "module_map finds 80.0 % of the 120 particles"),
    ],
)
def test_the_verdict(learned: TrackerModel, measured: Performance, usable: bool, text: str) -> None:
    judged = verdict(replace(learned, performance={"module_map": measured}))
    assert judged.usable == usable
    assert text in judged.text
    assert ("add events" in judged.text) == (not judged.text.startswith("usable:"))


def test_an_unusable_model_has_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_events(tmp_path / "toy.parquet", (toy_event(20, seed) for seed in range(12)))
    words = ["tracking", "train", "toy.parquet", "-o", "mine", "--quick", "--only", "module_map"]
    for more, code, text in (([], 2, "add about"), (["--force"], 1, "not usable")):
        done = run(*words, *more)
        assert (done.returncode, text in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


def test_the_command_learns_windows_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_events(tmp_path / "toy.parquet", (stranger(seed) for seed in range(12)))
    output = output_of(
        "tracking", "train", tmp_path / "toy.parquet", "-o", tmp_path / "mine", "--quick", "--only", "module_map"
    )
    assert "finds less than 90 % of" in output
    model = load_model(tmp_path / "mine")
    assert model.name == "mine"
    assert model.origin.command == "beampipe tracking train toy.parquet -o mine --quick --only module_map"
    assert set(model.origin.inputs) == {"toy.parquet"}
    write_events(tmp_path / "new.parquet", [stranger(50)])
    write_events(tmp_path / "weak.parquet", map(half_the_field, range(12)))
    for name, message in (
        ("toy", "got events that mine was learned from"),
        ("weak", "got tracks that show 1 T, expected 2 T as mine has"),
    ):
        done = run("tracking", "validate", f"{name}.parquet", "--tracker-model", "./mine", "--card")
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert load_model(tmp_path / "mine") == model
    output = output_of(
        "track", tmp_path / "new.parquet", "-o", tmp_path / "out.parquet", "--tracker-model", tmp_path / "mine"
    )
    result = re.search(r"(\d+) tracks", output)
    assert result is not None
    assert int(result[1]) > 50
    assert "  module_map: learned windows" in output_of("tracking", "models", tmp_path / "mine")
