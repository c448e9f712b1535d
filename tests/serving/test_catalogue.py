"""The models by name, and that each is the pipeline it is called after; `beampipe serving export`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError, InputError, NotFiniteError, TooLargeError, UnknownNameError
from beampipe.events import Hits, Tracks, scale_named
from beampipe.serving import contract
from beampipe.serving.contract import FEATURES, LABELS, STAGES
from beampipe.serving.models import HIT_BUDGET, MAX_BATCH_SIZE, MAX_HITS, ServingSettings, named_models, tracking_model
from beampipe.serving.tracking_model import TrackingModel, small_event
from beampipe.serving.variants import DEFAULT_MODELS, MODELS, VARIANTS, pipeline_of
from beampipe.tracking import load_model, load_pipeline
from beampipe.tracking.catalogue import PIPELINES
from beampipe.tracking.data import shipped_events
from beampipe.tracking.pipeline import Hook
from beampipe.triton.model.contract import EnsembleSettings, Instance, ModelRequest, ModelSettings
from beampipe.triton.model.repository import export_repository
from tests.in_process import run
from tests.tracking.digests import renew_digests


def test_the_names_on_the_wire() -> None:
    names = ["exatrkx", "exatrkx_walk", "module_map", "exatrkx_soft", "exatrkx_walk_soft", "module_map_soft"]
    names += ["all"]
    ragged = tuple(f"{name}_ragged" for name in names)
    athena = tuple(f"{name}_athena" for name in names)
    assert (*names, *ragged, *athena, "exatrkx_ensemble", "acts") == MODELS
    page = (Path(__file__).parents[2] / "docs/serving.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in (*names, "..._ragged", "..._athena", "exatrkx_ensemble", "acts"))


def test_every_pipeline_has_its_ways() -> None:
    for name, spec in PIPELINES.items():
        ways = [variant.way for variant in VARIANTS.values() if variant.pipeline == spec]
        assert ways == ["plain", "ragged", "athena", *(["ensemble"] if name == "exatrkx" else [])]
    assert all(pipeline_of(variant.name) in PIPELINES for variant in VARIANTS.values())
    with pytest.raises(UnknownNameError, match="unknown pipeline of a model"):
        pipeline_of("acts")


CHAINS = ("_ensemble", "_athena")
SINGLE = [name for name in MODELS if not name.endswith(CHAINS) and name != "acts"]


def model_of(settings: ModelSettings | EnsembleSettings, **hooks: Any) -> TrackingModel:
    assert isinstance(settings, ModelSettings)
    return TrackingModel(Instance(weights=settings.weights[0].parent, parameters=settings.parameters, **hooks))


def labels(model: TrackingModel, *requests: ModelRequest) -> list[bytes]:
    results = []
    for answer in model.run(requests):
        assert not isinstance(answer, Exception)
        results.append(answer[LABELS.name].tobytes())
    return results


def recorded(model: TrackingModel) -> list[int]:
    """Hits of each call for several events, as they come."""
    calls: list[int] = []
    find_many = model.pipeline.find_many

    def counted(events: list[Hits], *, hook: Hook) -> list[Tracks]:
        if len(events) > 1:
            calls.append(sum(map(len, events)))
        return find_many(events, hook=hook)

    object.__setattr__(model.pipeline, "find_many", counted)  # frozen, for everybody else
    return calls


def test_every_pipeline_can_be_served_alone_and_in_batches() -> None:
    assert set(SINGLE) == {*PIPELINES, *(f"{name}_ragged" for name in PIPELINES)}
    assert set(DEFAULT_MODELS) <= set(MODELS)
    assert [settings.name for settings in named_models()] == list(DEFAULT_MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_settings_arrive(name: str) -> None:
    (settings,) = named_models(ServingSettings((name,), instances=3, device="auto", threads=2, scale="exatrkx"))
    assert settings.name == name
    steps = settings.steps if isinstance(settings, EnsembleSettings) else (settings,)
    for step in steps:
        assert step.instances == 3
        assert step.parameters[contract.FEATURE_SCALE] == "exatrkx"
        assert step.max_batch_size == (MAX_BATCH_SIZE if name.endswith("_ragged") else 0)
        if name != "acts":
            assert (step.device, step.threads) == ("auto", 2)
    assert len(steps) == (6 if name.endswith("_ensemble") else 1)


def test_a_tracker_model_travels_with_what_is_served(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(load_model().path, tmp_path / "mine"))
    (settings,) = named_models(ServingSettings(("exatrkx",), tracker_model=folder))
    assert isinstance(settings, ModelSettings)
    assert {path.parent for path in settings.weights} == {folder}
    assert "model.json" in {path.name for path in settings.weights}
    (chain,) = named_models(ServingSettings(("exatrkx_ensemble",), tracker_model=folder))
    assert isinstance(chain, EnsembleSettings)
    assert all(step.weights == settings.weights for step in chain.steps)
    model = model_of(settings)
    assert model.pipeline.find(small_event()).n_tracks > 0
    for path in folder.glob("exatrkx.*"):
        path.unlink()
    renew_digests(folder)
    with pytest.raises(ConfigError, match="got no exatrkx, expected it for pipeline exatrkx"):
        named_models(ServingSettings(("exatrkx",), tracker_model=folder))


def test_unknown_names() -> None:
    for name in ("", "exatrkx_ragged_ragged", "module_map_ensemble", "EXATRKX"):
        with pytest.raises(UnknownNameError, match="unknown model"):
            named_models(ServingSettings((name,)))
    with pytest.raises(UnknownNameError, match=r"unknown model.*did you mean 'exatrkx'"):
        named_models(ServingSettings(("exatrk",)))
    with pytest.raises(UnknownNameError, match="scale"):
        named_models(ServingSettings(("exatrkx",), scale="inch"))
    with pytest.raises(UnknownNameError, match="device"):
        named_models(ServingSettings(("exatrkx",), device="tpu"))


@pytest.mark.parametrize("name", SINGLE)
def test_labels_and_stages_are_those_of_the_pipeline(name: str) -> None:
    (settings,) = named_models(ServingSettings((name,)))
    model = model_of(settings)
    events = [event.hits for event in list(shipped_events(0))[:4]]
    pipeline = load_pipeline(name.removesuffix("_ragged"), threads=1)
    requests = [{FEATURES.name: hits.position} for hits in events]
    answers = model.run(requests) if name.endswith("_ragged") else [model.run([each])[0] for each in requests]
    stages = [*model.instance.parameters[contract.STAGE_NAMES].split(",")]
    counts = model.instance.parameters[contract.COUNT_NAMES].split(",")
    assert any(pipeline.find(hits).n_tracks for hits in events)
    for hits, answer in zip(events, answers, strict=True):
        assert not isinstance(answer, Exception)
        tracks = pipeline.find(hits)
        assert answer[LABELS.name].tobytes() == tracks.track_id.tobytes()
        values = answer[STAGES.name]
        assert stages == list(tracks.seconds)
        assert (values[: len(stages)] >= 0).all()
        assert values[: len(stages)].sum() > 0
        assert dict(zip(counts, values[len(stages) :], strict=True)) == {"triplets": 0, **tracks.counts}


def test_one_unit_of_features_is_what_the_scale_says() -> None:
    hits = small_event()
    mm, exatrkx = (tracking_model("m", "exatrkx", ServingSettings(scale=scale)) for scale in ("mm", "exatrkx"))
    sent = scale_named("exatrkx").from_mm(hits.position)
    back = scale_named("exatrkx").to_mm(sent)
    assert np.abs(sent).max() < 10
    expected = labels(model_of(mm), {FEATURES.name: back})
    assert labels(model_of(exatrkx), {FEATURES.name: sent}) == expected
    assert np.frombuffer(expected[0], np.int64).max() >= 0


def test_a_batch_is_cut_by_its_budget_and_keeps_its_order() -> None:
    events = [event.hits for event in shipped_events(0)]
    requests = [{FEATURES.name: hits.position} for hits in events]
    whole = labels(model_of(tracking_model("m", "module_map", ragged=True)), *requests)
    sizes = [len(hits) for hits in events]
    for budget in (1, max(sizes), sum(sizes) // 3):
        assert budget < HIT_BUDGET
        model = model_of(tracking_model("m", "module_map", ServingSettings(hit_budget=budget), ragged=True))
        calls = recorded(model)
        assert labels(model, *requests) == whole
        assert all(call <= budget for call in calls)
        assert (sum(calls) > 0) == (budget > 1)


def test_bad_events_of_a_batch_are_refused_alone() -> None:
    hits = small_event()
    broken = hits.position.copy()
    broken[7, 2] = np.nan
    model = model_of(tracking_model("m", "module_map", ServingSettings(max_hits=len(hits)), ragged=True))
    requests = [
        {FEATURES.name: hits.position},
        {FEATURES.name: broken},
        {FEATURES.name: np.zeros((len(hits) + 1, 3), np.float32)},
        {FEATURES.name: np.empty((0, 3), np.float32)},
        {FEATURES.name: hits.position},
    ]
    answers = model.run(requests)
    assert isinstance(answers[1], NotFiniteError)
    assert "row 7" in str(answers[1])
    assert isinstance(answers[2], TooLargeError)
    assert f"got {len(hits) + 1}, which would need" in str(answers[2])
    assert f"expected at most {len(hits)}" in str(answers[2])
    alone = labels(model, requests[0])[0]
    for row, expected in ((0, alone), (3, b""), (4, alone)):
        answer = answers[row]
        assert not isinstance(answer, InputError)
        assert answer[LABELS.name].tobytes() == expected  # type: ignore[index]


def test_work_can_be_ended_between_stages() -> None:
    class EndedError(Exception):
        pass

    def end() -> None:
        raise EndedError

    model = model_of(tracking_model("m", "module_map", ragged=True), checkpoint=end)
    request = {FEATURES.name: small_event().position}
    for requests in ([request], [request, request]):
        with pytest.raises(EndedError):
            model.run(requests)


def test_what_is_found_is_counted() -> None:
    seen: dict[str, float] = {}

    def observe(name: str, amount: float, step: str) -> None:
        seen[name] = seen.get(name, 0) + amount

    model = model_of(tracking_model("m", "module_map"), observe=observe)
    request = {FEATURES.name: small_event().position}
    tracks = load_pipeline("module_map", threads=1).find(small_event())
    model.run([request])
    assert (seen["events"], seen["hits"], seen["tracks"]) == (1, len(small_event()), tracks.n_tracks)
    assert seen["stage_seconds"] > 0


def test_the_default_models_can_be_exported(tmp_path: Path) -> None:
    assert export_repository(tmp_path / "repository", named_models()) == list(DEFAULT_MODELS)
    assert (tmp_path / "repository/exatrkx/weights/exatrkx.safetensors").exists()


@pytest.mark.acts
def test_acts_takes_modules_and_answers_as_here() -> None:
    from beampipe.serving.tracking_model import ActsModel
    from beampipe.tracking.acts import ACTS_SETTINGS, ActsTrackFinder

    (settings,) = named_models(ServingSettings(("acts",)))
    assert isinstance(settings, ModelSettings)
    model = ActsModel(Instance(parameters=settings.parameters))
    request = ActsModel.example()
    assert set(request) == {spec.name for spec in ActsModel.inputs}
    (answer,) = model.run([request])
    assert not isinstance(answer, Exception)
    tracks = ActsTrackFinder(ACTS_SETTINGS["fast"]).find(small_event())
    assert tracks.n_tracks > 0
    assert answer[LABELS.name].tobytes() == tracks.track_id.tobytes()
    assert settings.parameters[contract.STAGE_NAMES].split(",") == list(tracks.seconds)
    with pytest.raises(NotFiniteError):
        model.run([{**request, FEATURES.name: request[FEATURES.name] * np.float32(np.nan)}])
    many = {name: np.repeat(array[:1], MAX_HITS + 1, axis=0) for name, array in request.items()}
    with pytest.raises(TooLargeError):
        model.run([many])


def test_a_model_is_exported_as_asked_under_the_name_that_foreign_clients_ask_for(tmp_path: Path) -> None:
    options = ("-m", "module_map", "--name", "ActsExaTrkX", "--scale", "acts", "--instances", "3")
    done = run("serving", "export", "-o", tmp_path / "models", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/models/ActsExaTrkX\n"
    config = (tmp_path / "models" / "ActsExaTrkX" / "config.pbtxt").read_text()
    assert "count: 3" in config
    assert 'name: "ActsExaTrkX"' in config
    assert 'string_value: "acts"' in config
    assert 'string_value: "module_map"' in config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "-o", "{tmp}/a", "-m", "module_mop"], "unknown model: got 'module_mop'"),
        (["export", "-o", "{tmp}/a", "-m", "module_map", "--device", "gpu"], "unknown device: got 'gpu'"),
        (["export", "-o", "{tmp}/a", "-m", "mine=gone.py:Mine"], "gone.py"),
        (["export", "-o", "{tmp}/a", "--name", "X"], "--name: got 'X' for 4 models, expected one model"),
        (["export", "-o", "{tmp}/a", "-m", "module_map", "--name", "a b"], "got the name 'a b', expected letters"),
        (["demo", "--concurrency", "1,x"], "invalid value for '--concurrency'"),
    ],
)
def test_an_error_is_one_line_and_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run("serving", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a").exists()
