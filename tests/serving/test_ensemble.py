"""The six chained models give the labels of the one, step by step and through Triton."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import NotFiniteError, TooLargeError
from beampipe.serving import contract
from beampipe.serving.contract import FEATURES, LABELS
from beampipe.serving.ensemble import STEPS
from beampipe.serving.models import ServingSettings, ensemble_model, named_models
from beampipe.tracking import Pipeline, load_pipeline
from beampipe.tracking.data import shipped_events
from beampipe.triton.engine import Engine
from beampipe.triton.model.contract import Instance, Model, ModelRequest
from beampipe.triton.server.server import TritonServer
from tests.serving.conftest import served

ODD: list[ndarray] = [np.empty((0, 3), np.float32), np.array([[32.0, 0.1, 5.0]], np.float32)]
"""Events without an edge, which each step must survive."""


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline("exatrkx", threads=1)


@pytest.fixture(scope="module")
def chain() -> list[Model]:
    settings = ensemble_model("e", "exatrkx")
    return [
        STEPS[step.name.removeprefix("e_")](Instance(weights=step.weights[0].parent, parameters=step.parameters))
        for step in settings.steps
    ]


def through(chain: list[Model], position: ndarray) -> dict[str, ndarray]:
    arrays: dict[str, ndarray] = {FEATURES.name: position}
    for model in chain:
        (answer,) = model.run([{spec.name: arrays[spec.name] for spec in model.inputs}])
        assert not isinstance(answer, Exception)
        assert set(answer) == {spec.name for spec in model.outputs}
        for spec in model.outputs:
            array = answer[spec.name]
            assert array.dtype == spec.dtype, spec
            assert [want for want in spec.dims if want >= 0] == [
                got for want, got in zip(spec.dims, array.shape, strict=True) if want >= 0
            ], spec
        arrays |= answer
    return arrays


def test_the_steps_are_chained_by_name() -> None:
    known = {FEATURES.name}
    for step in STEPS.values():
        assert {spec.name for spec in step.inputs} <= known
        known |= {spec.name for spec in step.outputs}
    assert LABELS.name in known


@pytest.mark.parametrize("mu", [0, 60])
def test_labels_are_those_of_one_model(chain: list[Model], pipeline: Pipeline, mu: int) -> None:
    result = 0
    for event in list(shipped_events(mu))[:5]:
        tracks = pipeline.find(event.hits)
        result += tracks.n_tracks
        assert through(chain, event.hits.position)[LABELS.name].tobytes() == tracks.track_id.tobytes()
    assert result


@pytest.mark.parametrize("position", ODD, ids=len)
def test_without_edges_there_are_no_tracks(chain: list[Model], position: ndarray) -> None:
    assert through(chain, position)[LABELS.name].tolist() == [-1] * len(position)


def test_the_first_step_refuses(chain: list[Model]) -> None:
    embed = chain[0]
    with pytest.raises(NotFiniteError):
        embed.run([{FEATURES.name: np.full((3, 3), np.nan, np.float32)}])
    settings = ensemble_model("e", "exatrkx").steps[0]
    small = STEPS["embed"](
        Instance(weights=settings.weights[0].parent, parameters={**settings.parameters, contract.MAX_HITS: "2"})
    )
    with pytest.raises(TooLargeError):
        small.run([{FEATURES.name: np.zeros((3, 3), np.float32)}])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[TritonServer]:
    models = named_models(ServingSettings(("exatrkx_ensemble",), threads=1))
    with served(engine, tmp_path_factory.mktemp("chain"), models, supervise=False) as server:
        yield server


def asked(server: TritonServer, model: str, request: ModelRequest) -> ndarray:
    import tritonclient.http as triton

    with triton.InferenceServerClient(server.http_url) as client:
        features = request[FEATURES.name]
        tensor = triton.InferInput(FEATURES.name, features.shape, "FP32")
        tensor.set_data_from_numpy(features)
        answer: ndarray = client.infer(model, [tensor]).as_numpy(LABELS.name)
        return answer


def test_triton_chains_them(server: TritonServer, pipeline: Pipeline) -> None:
    for event in list(shipped_events(0))[:10]:
        labels = asked(server, "exatrkx_ensemble", {FEATURES.name: event.hits.position})
        assert labels.tobytes() == pipeline.find(event.hits).track_id.tobytes()


@pytest.mark.parametrize("position", ODD, ids=len)
def test_triton_chains_nothing_too(server: TritonServer, position: ndarray) -> None:
    assert asked(server, "exatrkx_ensemble", {FEATURES.name: position}).tolist() == [-1] * len(position)


def test_bad_hits_are_refused_through_the_chain(server: TritonServer) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="expected finite r, phi, z") as raised:
        asked(server, "exatrkx_ensemble", {FEATURES.name: np.full((3, 3), np.inf, np.float32)})
    assert "Traceback" not in str(raised.value)
