"""Fitted tracks and the beam line from served models: what the pipeline here gives, bit for bit, if it is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from beampipe.errors import ServiceError
from beampipe.events import BeamSpot, fit_results
from beampipe.serving.contract import BEAM_SPOT, PARAMETERS, packed_parameters, unpacked_parameters
from beampipe.serving.finders import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder
from beampipe.serving.models import ServingSettings, named_models, native_libraries, tracking_model
from beampipe.serving.tracking_model import FittingModel, TrackingModel
from beampipe.tracking import Hits, Tracks
from beampipe.tracking.data import shipped_events
from beampipe.tracking.models import digest_of, load_model
from beampipe.triton.client.fake import FakeTransport
from beampipe.triton.client.model_client import ModelClient
from beampipe.triton.engine import Engine
from beampipe.triton.metrics import read_metrics
from beampipe.triton.model.contract import Instance
from beampipe.triton.server import management
from beampipe.triton.server.server import TritonServer
from tests.serving.conftest import served

BACKENDS = ("python", "native") if native_libraries() else ("python",)
SERVED = {
    "module_map_ragged_python": "shm",
    **({"module_map_native": "grpc", "module_map_ragged_native": "http"} if "native" in BACKENDS else {}),
}
"""Names of models, with their backend, and by which protocol they are asked."""
ELSEWHERE = BeamSpot(1.2, -0.9)


@cache
def events() -> list[Hits]:
    """No hit, one hit, some events without pile-up, one with, and one whose beam line lies elsewhere."""
    small = [event.hits for event in list(shipped_events(0))[:4]]
    crowd = shipped_events(60)[0].hits
    moved = replace(crowd, position=ELSEWHERE.opposite.relative_to(crowd.position))
    return [*(small[0].take(np.arange(n, dtype=np.int64)) for n in (0, 1)), *small, crowd, moved]


@cache
def expected() -> list[bytes]:
    """What is found and fitted here."""
    with DirectTrackFinder("module_map", threads=1, parameters=True) as finder, pytest.warns(match="from there"):
        results = [finder.find(hits) for hits in events()]
    assert max(tracks.n_tracks for tracks in results) > 500
    assert results[-1].beam_spot != results[-2].beam_spot
    return [written(tracks) for tracks in results]


def written(tracks: Tracks) -> bytes:
    """All bytes of labels, beam line and fit."""
    fitted = tracks.parameters
    assert fitted is not None
    arrays = (fitted.values, fitted.covariance, fitted.chi2, fitted.n_hits, fitted.status)
    assert len(fitted) == tracks.n_tracks
    return b"".join([tracks.track_id.tobytes(), tracks.beam_spot.text.encode(), *(array.tobytes() for array in arrays)])


def unfitted(folder: Path) -> Path:
    """A tracker model in that folder without tables of the fit."""
    shutil.copytree(load_model().path, folder)
    card = json.loads((folder / "model.json").read_text())
    del card["weights"]["fit"]
    (folder / "model.json").write_text(json.dumps(card))
    return folder


def in_uneven_field(folder: Path) -> Path:
    """A tracker model in that folder whose fit follows a field that changes with r and z."""
    shutil.copytree(load_model().path, folder)
    tables = load_file(folder / "fit.safetensors")
    shape = np.array([0.004, 0.001, -0.012, 0.0005, -0.0006, 0.003, 0.002, 0.004, 0.001], np.float32)
    save_file({**tables, "field_shape": shape}, folder / "fit.safetensors")
    card = json.loads((folder / "model.json").read_text())
    card["weights"]["fit"]["files"]["fit.safetensors"] = asdict(digest_of(folder / "fit.safetensors"))
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_uneven_field(tmp_path_factory.mktemp("uneven") / "model")


@pytest.fixture(scope="module")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory, uneven: Path) -> Iterator[TritonServer]:
    """Pipelines of `SERVED`, one in an uneven field, and one of a model that fits no tracks."""
    folder = tmp_path_factory.mktemp("parameters")
    models = []
    for name in SERVED:
        model, _, backend = name.rpartition("_")
        (one,) = named_models(ServingSettings((model,), threads=1, backend=backend))
        models.append(replace(one, name=name))
    (other,) = named_models(ServingSettings(("module_map",), threads=1, tracker_model=uneven))
    models.append(replace(other, name="uneven"))
    (plain,) = named_models(ServingSettings(("module_map",), threads=1, tracker_model=unfitted(folder / "unfitted")))
    with served(engine, folder, [*models, replace(plain, name="unfitted")]) as running:
        yield running


@pytest.mark.parametrize(("model", "protocol"), list(SERVED.items()))
def test_the_fit_is_that_of_the_pipeline_here(server: TritonServer, model: str, protocol: str) -> None:
    url = server.grpc_url if protocol == "grpc" else f"http://{server.http_url}"
    finder = TritonTrackFinder(url, model, protocol=protocol, parameters=True, in_flight=32)  # type: ignore[arg-type]
    with finder, pytest.warns(match="tracks come from x = "):  # it comes as soon as an answer does
        results = [answer.result() for answer in [finder.submit(hits) for hits in events() * 2]]
    assert list(map(written, results)) == expected() * 2


def test_the_fit_follows_the_shape_of_the_field(server: TritonServer, uneven: Path) -> None:
    hits = events()[-2]
    with DirectTrackFinder("module_map", model=uneven, threads=1, parameters=True) as here:
        fitted = written(here.find(hits))
    assert fitted != expected()[-2]
    with TritonTrackFinder(server.grpc_url, "uneven", parameters=True) as finder:
        assert written(finder.find(hits)) == fitted


def fit_seconds(server: TritonServer, model: str) -> float:
    return read_metrics(server.metrics_url)[model].stages.get("fit", 0.0)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "native"])
def test_nothing_is_fitted_unless_asked_for(server: TritonServer, backend: str) -> None:
    model, features = f"module_map_{backend}", {"FEATURES": events()[-2].position}
    with ModelClient(server.grpc_url, model) as client:
        before = fit_seconds(server, model)
        assert client.infer(features, {"LABELS": None}).keys() == {"LABELS"}
        assert fit_seconds(server, model) == before
        assert client.infer(features, {"PARAMETERS": None}).keys() == {"PARAMETERS"}
        assert fit_seconds(server, model) > before


def test_the_python_model_fits_what_is_looked_up() -> None:
    settings, fitted = tracking_model("m", "module_map"), []

    def observe(name: str, amount: float, stage: str) -> None:
        fitted.extend([amount] * (stage == "fit"))

    model = FittingModel(Instance(weights=settings.weights[0].parent, parameters=settings.parameters, observe=observe))
    (answer,) = model.run([{"FEATURES": events()[2].position}])
    assert not isinstance(answer, Exception)
    assert set(answer) == {spec.name for spec in FittingModel.outputs}
    assert answer["LABELS"].max() > 5
    assert not fitted
    assert answer["PARAMETERS"].shape == (answer["LABELS"].max() + 1, 36)
    assert len(fitted) == 1


def test_a_model_without_tables_does_not_offer_it(server: TritonServer) -> None:
    def outputs(model: str) -> set[str]:
        return {output["name"] for output in management.model_config(server.http_url, model)["output"]}

    assert outputs("unfitted") == {"LABELS", "STAGES", "LAYOUT", "BEAM_SPOT", "DIGEST"}
    assert outputs(f"module_map_ragged_{BACKENDS[-1]}") == outputs("unfitted") | {"PARAMETERS"}
    hits = events()[2]
    with TritonTrackFinder(server.grpc_url, "unfitted") as finder:
        assert finder.find(hits).parameters is None
    served = TritonTrackFinder(server.grpc_url, "unfitted", parameters=True)
    with pytest.raises(
        ServiceError, match="unfitted gives LABELS, STAGES, LAYOUT, BEAM_SPOT, DIGEST, expected PARAMETERS"
    ):
        served.find(hits)
    here = DirectTrackFinder("module_map", threads=1, parameters=True)
    with FallbackTrackFinder(served, here) as either:
        assert written(either.find(hits)) == expected()[2]
        assert either.answered == (0, 1)


def test_an_answer_with_another_number_of_tracks_is_refused() -> None:
    def answer(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        n = len(arrays["FEATURES"])
        return {"LABELS": np.zeros(n, np.int64), "BEAM_SPOT": np.zeros(4), "PARAMETERS": np.zeros((2, 36))}

    transport = FakeTransport(answer, TrackingModel.inputs, FittingModel.outputs)
    with (
        TritonTrackFinder("http://fake:1", transport=transport, parameters=True, retries=0) as finder,
        pytest.raises(ServiceError, match=r"PARAMETERS of 2 tracks, expected 1, as its LABELS say"),
    ):
        finder.find(events()[2])


def test_a_row_has_all_that_a_fit_has() -> None:
    with DirectTrackFinder("module_map", threads=1, parameters=True) as finder:
        fitted = finder.find(events()[2]).parameters
    assert fitted is not None
    rows = packed_parameters(fitted)
    assert rows.shape[1:] == PARAMETERS.dims[1:]
    assert BEAM_SPOT.dims == (4,)
    again = unpacked_parameters(rows)
    for name in (result.name for result in fit_results()):
        array = getattr(again, name)
        assert array.tobytes() == getattr(fitted, name).tobytes()
        assert array.dtype == getattr(fitted, name).dtype
    assert rows[:, 5] == pytest.approx(fitted.covariance[:, 0, 0], nan_ok=True)
