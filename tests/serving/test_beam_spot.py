"""The beam line that a served model expects: told by its configuration, and heeded as by the pipeline here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import BeampipeError, ConfigError
from beampipe.events import BeamSpot
from beampipe.serving.ensemble import EmbedModel
from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.models import ServingSettings, ensemble_model, named_models, native_libraries, tracking_model
from beampipe.tracking import Hits, Tracks, load_pipeline, load_track_fitter
from beampipe.tracking.data import shipped_events
from beampipe.tracking.models import load_model
from beampipe.tracking.models.card import write_model
from beampipe.triton.engine import Engine
from beampipe.triton.model.contract import Instance
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.in_process import run
from tests.serving.conftest import served

BACKENDS = ("python", "native") if native_libraries() else ("python",)
SERVED = (
    "module_map_ragged_python",
    *(("module_map_native", "module_map_ragged_native") if native_libraries() else ()),
)
SPOT = BeamSpot(1.2, -0.9, 3e-4, -1e-4)
WRONG = ["", "1", "1,2,3", "x,y", "1,2x", "30,0", "nan,0", "1,inf", "0,0,1,0", "0,0,0.02,nan"]


@cache
def moved() -> Hits:
    """A shipped event with pile-up, had it happened on that beam line."""
    hits = shipped_events(60)[0].hits
    return replace(hits, position=SPOT.opposite.relative_to(hits.position))


@cache
def here() -> Tracks:
    """What the pipeline that expects the line finds, without the outliers of the fit."""
    tracks = load_pipeline("module_map", threads=1, beam_spot=SPOT).find(moved())
    return load_track_fitter(threads=1).add(moved(), tracks)


@pytest.fixture(scope="module")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One pipeline by each backend, and in batches, that expect the line."""
    models = []
    for name in SERVED:
        model, _, backend = name.rpartition("_")
        (one,) = named_models(ServingSettings((model,), threads=1, backend=backend, beam_spot=SPOT))
        models.append(replace(one, name=name))
    with served(engine, tmp_path_factory.mktemp("beam"), models) as running:
        yield running


@pytest.mark.parametrize("model", SERVED)
def test_the_expected_line_is_heeded_as_here(server: TritonServer, model: str) -> None:
    with TritonTrackFinder(server.grpc_url, model, parameters=True, stages=True) as finder:
        tracks = finder.find(moved())  # without a warning: it is where it is expected
    assert tracks.track_id.tobytes() == here().track_id.tobytes()
    assert tracks.beam_spot == here().beam_spot == SPOT
    assert tracks.counts["edges"] == here().counts["edges"]  # found once, not again from elsewhere
    assert tracks.n_tracks > 500
    assert tracks.parameters is not None
    assert np.median(np.abs(tracks.parameters.values[tracks.parameters.fitted, 0])) < 0.1


def test_what_is_no_beam_line_is_not_served(engine: Engine, tmp_path: Path) -> None:
    repository, log, models = tmp_path / "models", tmp_path / "log", {}
    for backend, wrong in (("python", WRONG[-1:]), ("native", WRONG if "native" in BACKENDS else [])):
        for row, text in enumerate(wrong):
            models[name := f"{backend}_{row}"] = text
            exported = tmp_path / backend / "module_map"
            if row == 0:
                export_repository(exported.parent, named_models(ServingSettings(("module_map",), backend=backend)))
            shutil.copytree(exported, repository / name)
            config = (exported / "config.pbtxt").read_text()
            for old, new in (("module_map", name), ("0.0,0.0,0.0,0.0", text)):
                assert f': "{old}"' in config
                config = config.replace(f': "{old}"', f': "{new}"', 1)
            (repository / name / "config.pbtxt").write_text(config)
    with pytest.raises(BeampipeError), TritonServer(ServerSettings(repository, triton=engine.folder, log=log)):
        pass
    output = {
        name: next(line for line in log.read_text().splitlines() if f"load failed for model '{name}'" in line)
        for name in models
    }
    for name, text in models.items():
        with pytest.raises(ConfigError) as expected:
            BeamSpot.parse(text)
        assert str(expected.value) in output[name]


def test_the_line_of_the_tracker_model_is_stated(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(load_model().path, tmp_path / "mine"))
    assert tracking_model("m", "module_map").parameters["BEAM_SPOT"] == "0.0,0.0,0.0,0.0"
    own = replace(load_model(), layout=replace(load_model().layout, beam_spot=SPOT))
    write_model(replace(own, path=folder))
    for settings in (
        tracking_model("m", "module_map", ServingSettings(tracker_model=folder)),
        *ensemble_model("e", "exatrkx", ServingSettings(tracker_model=folder)).steps,
    ):
        assert BeamSpot.parse(settings.parameters["BEAM_SPOT"]) == SPOT
        assert settings.parameters["MAGNETIC_FIELD"] == "2"
    output = tracking_model("m", "module_map", ServingSettings(tracker_model=folder, beam_spot=BeamSpot(1.0, 0.0)))
    assert output.parameters["BEAM_SPOT"] == "1.0,0.0,0.0,0.0"


def test_a_chain_sees_the_hits_from_the_line() -> None:
    step = ensemble_model("e", "exatrkx", ServingSettings(beam_spot=SPOT)).steps[0]
    model = EmbedModel(Instance(weights=step.weights[0].parent, parameters=step.parameters))
    answer = model.step({"FEATURES": moved().position})
    assert answer["POSITION"].tobytes() == SPOT.relative_to(moved().position).tobytes()


def test_commands_take_it(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    export = ("serving", "export", "-o", folder, "--backend", "python", "-m")
    assert run(*export, "module_map", "--beam-spot", "0.5,-0.2").returncode == 0
    assert '"0.5,-0.2,0.0,0.0"' in (folder / "module_map" / "config.pbtxt").read_text()
    assert "beam spot: got '1', expected x,y in mm" in run(*export, "module_map", "--beam-spot", "1").stderr
    assert "--beam-spot: got it for acts" in run(*export, "acts", "--beam-spot", "0,1").stderr
    assert "--beam-spot" in run("serve", "--repository", folder, "--beam-spot", "0,1").stderr
