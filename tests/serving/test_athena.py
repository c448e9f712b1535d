"""Models for Athena's client: its bytes in, its bytes out, by each backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import grpc
import numpy as np
import pytest
from numpy import ndarray
from tritonclient.grpc import service_pb2_grpc

from beampipe.errors import ServiceError
from beampipe.serving.contract import track_lists
from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.models import ServingSettings, named_models, native_libraries
from beampipe.tracking import Hits
from beampipe.tracking.data import shipped_events
from beampipe.tracking.loading import load_pipeline
from beampipe.triton import ModelClient, TensorSpec
from beampipe.triton.engine import Engine
from beampipe.triton.model.contract import EnsembleSettings, ModelSettings
from beampipe.triton.server import management
from beampipe.triton.server.server import TritonServer
from tests.fleet.clients.athena import ask_as_athena, athena_lists, request_of_athena, wide
from tests.serving.conftest import served

BACKENDS = ("python", "native") if native_libraries() else ("python",)
PIPELINES = ("module_map",)
SIX = np.array([0, 1, 0, 1, -1, 0])
"""Labels of the worked example, in which hit 4 is on no track."""
SIX_BYTES = np.array([0, 2, 5, -1, 1, 3, -1], "<i8").tobytes()
FEATURES, LABELS = TensorSpec("FEATURES", "FP32", np.float32, (-1, -1)), TensorSpec("LABELS", "INT64", np.int64, (-1,))

STATED = '''
import numpy as np
from beampipe.serving.contract import LABELS, TRACKS, WIDE_FEATURES, track_lists

class Stated:
    """Finds the labels that stand in the first column."""
    inputs, outputs = (WIDE_FEATURES,), (LABELS, TRACKS)
    def __init__(self, instance): pass
    def run(self, requests):
        labels = [request["FEATURES"][:, 0].astype(np.int64) for request in requests]
        return [{"LABELS": each, "TRACKS": track_lists(each)} for each in labels]
    @classmethod
    def example(cls):
        return {"FEATURES": np.zeros((2, 44), np.float32)}
'''


@cache
def events() -> list[Hits]:
    """No hit, one, two, some events without pile-up, and one with."""
    small = [event.hits for event in list(shipped_events(0))[:3]]
    few = [small[0].take(np.arange(n, dtype=np.int64)) for n in (0, 1, 2)]
    return [*few, *small, shipped_events(60)[0].hits]


@cache
def labels(pipeline: str) -> list[ndarray]:
    """What the pipeline finds here."""
    here = load_pipeline(pipeline, threads=1)
    results = [here.find(hits).track_id for hits in events()]
    assert max(each.max(initial=-1) for each in results) > 100
    assert any((each == -1).any() for each in results)
    return results


def lists_by_hand(track_id: ndarray) -> list[int]:
    """TRACKS as its definition says, one hit after the other."""
    rows: list[int] = []
    for track in range(track_id.max(initial=-1) + 1):
        rows += [*np.flatnonzero(track_id == track).tolist(), -1]
    return rows


@pytest.fixture(scope="module")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Two pipelines for Athena by each backend, and one whose labels the hits say."""
    folder = tmp_path_factory.mktemp("athena")
    (folder / "stated.py").write_text(STATED)
    stated = ModelSettings("stated_finder", f"{folder}/stated.py:Stated")
    models = [EnsembleSettings("stated", (stated,), (FEATURES,), (LABELS,), {"LABELS": "TRACKS"})]
    for backend in BACKENDS:
        for chain in named_models(
            ServingSettings(tuple(f"{name}_athena" for name in PIPELINES), threads=1, backend=backend)
        ):
            assert isinstance(chain, EnsembleSettings)
            steps = tuple(replace(step, name=f"{step.name}_{backend}") for step in chain.steps)
            models.append(replace(chain, name=f"{chain.name}_{backend}", steps=steps))
    with served(engine, folder, models) as running:
        yield running


def test_lists_are_what_their_definition_says() -> None:
    random = np.random.default_rng(5)
    many = [SIX, SIX[:0], np.full(4, -1), np.zeros(3, np.int64), *(random.integers(-1, 5, n) for n in range(40))]
    for track_id in many:
        assert track_lists(track_id).dtype == np.int64
        compact = np.unique(track_id[track_id >= 0], return_inverse=True)[1]
        track_id[track_id >= 0] = compact
        assert track_lists(track_id).tolist() == lists_by_hand(track_id)
    assert track_lists(SIX).astype("<i8").tobytes() == SIX_BYTES


@pytest.mark.parametrize("width", [3, 44])
def test_the_example_of_six_hits(server: TritonServer, width: int) -> None:
    features = np.zeros((6, width), np.float32)
    features[:, 0] = SIX
    answer = ask_as_athena(server.grpc_url, "stated", features)
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("LABELS", "INT64", [7])
    assert not output.contents.ByteSize()
    assert list(answer.raw_output_contents) == [SIX_BYTES]
    assert athena_lists(answer) == [[0, 2, 5], [1, 3]]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_lists_are_those_of_the_labels_found_here(server: TritonServer, pipeline: str, backend: str) -> None:
    for hits, result in zip(events(), labels(pipeline), strict=True):
        for width in (3, 15, 44):
            answer = ask_as_athena(server.grpc_url, f"{pipeline}_athena_{backend}", wide(hits.position, width))
            (data,) = answer.raw_output_contents
            assert data == track_lists(result).astype("<i8").tobytes()
            assert not any(output.contents.ByteSize() for output in answer.outputs)
            rows = np.frombuffer(data, "<i8")
            assert rows.max(initial=-1) < max(len(hits), 1)
            assert len(data) == 0 or rows[-1] == -1
            assert athena_lists(answer) == [
                np.flatnonzero(result == track).tolist() for track in range(result.max(initial=-1) + 1)
            ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_event_without_hits(server: TritonServer, backend: str) -> None:
    for width in (3, 44):
        answer = ask_as_athena(server.grpc_url, f"module_map_athena_{backend}", np.empty((0, width), np.float32))
        assert list(answer.outputs[0].shape) == [0]
        assert list(answer.raw_output_contents) == [b""]
        assert athena_lists(answer) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_event_is_refused(server: TritonServer, backend: str) -> None:
    model = f"module_map_athena_{backend}"
    for shape in ([6, 2], [6, 0], [18], [1, 6, 3]):
        with pytest.raises(grpc.RpcError) as refused:
            ask_as_athena(server.grpc_url, model, np.zeros(shape, np.float32))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, shape
    broken = wide(events()[3].position, 44)
    broken[7, 2] = np.nan
    with pytest.raises(grpc.RpcError, match=r"row 7"):
        ask_as_athena(server.grpc_url, model, broken)


@pytest.mark.skipif("native" not in BACKENDS, reason="the package was installed without a compiler")
@pytest.mark.parametrize("shape", [[2, 1 << 62], [1 << 40, 0], [400_001, 3], [1 << 31, 1 << 31]])
def test_a_shape_without_its_bytes_is_refused(server: TritonServer, shape: list[int]) -> None:
    request = request_of_athena("module_map_athena_native", np.empty((0, 3), np.float32))
    request.inputs[0].shape[:] = shape
    pid = server.pid
    with grpc.insecure_channel(server.grpc_url) as channel, pytest.raises(grpc.RpcError) as refused:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert server.pid == pid


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_finder_behind_it_gives_both(server: TritonServer, backend: str, protocol: str) -> None:
    url = server.grpc_url if protocol == "grpc" else f"http://{server.http_url}"
    features = {"FEATURES": wide(events()[-1].position, 15)}
    with ModelClient(url, f"module_map_athena_finder_{backend}", protocol=protocol) as client:  # type: ignore[arg-type]
        both = client.infer(features, {"LABELS": None, "TRACKS": None, "LAYOUT": None})
    assert both["LABELS"].tobytes() == labels("module_map")[-1].tobytes()
    assert both["TRACKS"].tobytes() == track_lists(both["LABELS"]).tobytes()


def test_what_is_declared(server: TritonServer) -> None:
    for backend in BACKENDS:
        chain = management.model_config(server.http_url, f"module_map_athena_{backend}")
        assert (chain["platform"], chain["max_batch_size"]) == ("ensemble", 0)
        assert [(each["name"], each["dims"]) for each in chain["output"]] == [("LABELS", [-1])]
        (step,) = chain["ensemble_scheduling"]["step"]
        assert step["output_map"] == {"TRACKS": "LABELS"}
        finder = management.model_config(server.http_url, step["model_name"])
        assert [each["dims"] for each in (*chain["input"], *finder["input"])] == [[-1, -1]] * 2
        assert [each["name"] for each in finder["output"]] == [
            "LABELS",
            "STAGES",
            "LAYOUT",
            "BEAM_SPOT",
            "DIGEST",
            "TRACKS",
        ]
    assert len(server.stubs()) == 1 + len(PIPELINES)  # none for the chains, none for the native backend


def test_our_own_finder_does_not_take_lists_for_labels(server: TritonServer) -> None:
    model = f"module_map_athena_{BACKENDS[-1]}"
    with (
        TritonTrackFinder(server.grpc_url, model) as finder,
        pytest.raises(ServiceError, match="LABELS as lists of rows, for clients of athena"),
    ):
        finder.find(events()[3])
