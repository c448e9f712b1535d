"""The native backend behind a real Triton: labels, errors, times and counts as from the pipeline itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import BeampipeError, ConfigError, DeadlineError, InputError, TooLargeError
from beampipe.events import Event, Hits
from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.models import (
    BACKEND,
    MAX_BATCH_SIZE,
    ServingSettings,
    named_models,
    native_libraries,
    native_settings,
    tracking_model,
    uses_native,
)
from beampipe.serving.tracking_model import TrackingModel
from beampipe.tracking.catalogue import PIPELINES
from beampipe.tracking.data import shipped_events
from beampipe.tracking.kernels import native
from beampipe.tracking.loading import load_pipeline
from beampipe.triton.client import ModelClient
from beampipe.triton.client.codec import HEADER_LENGTH, HttpCall
from beampipe.triton.client.endpoint import Security, parse_endpoint
from beampipe.triton.client.transports import HttpTransport
from beampipe.triton.engine import Engine
from beampipe.triton.metrics import read_metrics
from beampipe.triton.model.contract import Instance
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server import management
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.serving.conftest import served
from tests.triton.waiting import wait_until

pytestmark = pytest.mark.skipif(native() is None, reason="the package was installed without a compiler")

RAGGED = ("exatrkx_ragged", "module_map_ragged")
MAX_HITS = 5000


@cache
def shipped(mu: int) -> list[Event]:
    """The shipped events at a pile-up."""
    return list(shipped_events(mu))


@pytest.fixture(scope="module")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """All pipelines plain and two ragged, each twice, and one that takes few hits in the units of Exa.TrkX."""
    models = named_models(ServingSettings((*PIPELINES, *RAGGED), instances=2, threads=1, backend="native"))
    small = tracking_model("small", "module_map", ServingSettings(scale="exatrkx", max_hits=MAX_HITS))
    models = (*models, native_settings(small))
    # A supervisor would ask for canaries in between, which are counted as well.
    with served(engine, tmp_path_factory.mktemp("native"), models, supervise=False) as running:
        yield running


def events() -> list[Hits]:
    """Events of every size that is special, and shipped ones."""
    real = [event.hits for event in shipped(0)[:12]] + [shipped(60)[0].hits]
    position = real[0].position
    turned = position + np.array([0, 100 * np.pi, 0], np.float32)
    crowd = np.repeat(position[:1], 19, axis=0)  # one more would be refused as no event
    return [*real, *(Hits(array) for array in (position[:0], position[:1], position[:2], turned, crowd))]


def test_its_models_have_no_process_of_their_own(server: TritonServer) -> None:
    assert server.stubs() == ()
    config = management.model_config(server.http_url, "exatrkx")
    assert config["backend"] == BACKEND
    assert sorted(path.name for path in (server.settings.repository / "exatrkx").glob("*.so")) == sorted(
        path.name for path in native_libraries()
    )


@pytest.mark.parametrize("model", [*PIPELINES, *RAGGED])
def test_labels_are_those_of_the_pipeline(server: TritonServer, model: str) -> None:
    pipeline = load_pipeline(model.removesuffix("_ragged"), threads=1)
    many = events()
    expected = [pipeline.find(hits).track_id.tobytes() for hits in many]
    assert len(set(expected)) > 10
    protocol = ("grpc", "http", "shm")[(*PIPELINES, *RAGGED).index(model) % 3]
    url = server.grpc_url if protocol == "grpc" else f"http://{server.http_url}"
    with TritonTrackFinder(url, model, protocol=protocol, in_flight=32) as finder:  # type: ignore[arg-type]
        answers = [finder.submit(hits) for hits in many * 4]
        assert [answer.result().track_id.tobytes() for answer in answers] == expected * 4


@pytest.mark.parametrize("model", ["exatrkx", "exatrkx_ragged"])
def test_times_and_counts_come_when_they_are_asked_for(server: TritonServer, model: str) -> None:
    hits = shipped(0)[0].hits
    direct = load_pipeline("exatrkx", threads=1).find(hits)
    with TritonTrackFinder(server.grpc_url, model, stages=True) as finder:
        tracks = finder.find(hits)
    assert tracks.counts == direct.counts
    assert tracks.seconds.keys() == direct.seconds.keys()
    assert all(seconds > 0 for seconds in tracks.seconds.values())


def bad_requests() -> dict[str, ndarray]:
    """Name -> features that no pipeline can use."""
    position = shipped(0)[0].hits.position[:50] / np.float32(1000)
    return {
        "nan": np.where(np.arange(50)[:, None] == 7, np.float32(np.nan), position),
        "infinite": np.where(np.arange(150).reshape(50, 3) == 100, np.float32(-np.inf), position),
        "overflow": np.where(np.arange(150).reshape(50, 3) == 100, np.float32(3e38), position),
        "large": np.zeros((MAX_HITS + 1, 3), np.float32),
    }


@pytest.mark.parametrize(("name", "scheme"), list(zip(bad_requests(), ("grpc", "http", "grpc", "http"), strict=True)))
def test_errors_are_those_of_the_python_model(server: TritonServer, name: str, scheme: str) -> None:
    settings = tracking_model("small", "module_map", ServingSettings(scale="exatrkx", max_hits=MAX_HITS))
    model = TrackingModel(Instance(weights=settings.weights[0].parent, parameters=settings.parameters))
    features = bad_requests()[name]
    with np.errstate(over="ignore"):
        (expected,) = model.run([{"FEATURES": features}])
    assert isinstance(expected, InputError)
    url = server.grpc_url if scheme == "grpc" else f"http://{server.http_url}"
    with ModelClient(url, "small") as client, pytest.raises(InputError) as refused:
        client.infer({"FEATURES": features}, {"LABELS": None})
    assert str(expected) in str(refused.value)


def test_a_bad_event_in_a_batch_costs_no_other(server: TritonServer) -> None:
    good = [event.hits for event in shipped(0)[:8]]
    expected = [load_pipeline("module_map", threads=1).find(hits).track_id.tobytes() for hits in good]
    bad = bad_requests()["nan"]
    with ModelClient(server.grpc_url, "module_map_ragged", in_flight=64) as client:
        answers = []
        for _ in range(10):
            answers += [client.submit({"FEATURES": hits.position}, {"LABELS": None}) for hits in good]
            answers += [client.submit({"FEATURES": bad}, {"LABELS": None})]
        for row, answer in enumerate(answers):
            if row % 9 == 8:
                with pytest.raises(InputError, match=r"got .nan.*row 7"):
                    answer.result()
            else:
                assert answer.result()["LABELS"].tobytes() == expected[row % 9]


def ask_without_data(server: TritonServer, model: str, shape: list[int]) -> tuple[int, str]:
    """Status and body of the answer to features of that shape, of which no byte is sent."""
    tensor = {"name": "FEATURES", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": 0}}
    head = json.dumps({"inputs": [tensor]}).encode()
    call = HttpCall("POST", f"/v2/models/{model}/infer", (head,), {HEADER_LENGTH: str(len(head))})
    with closing(HttpTransport(parse_endpoint(server.http_url, "http"), Security())) as transport:
        reply = transport.exchange(call, 10.0)
    return reply.status, reply.data.decode()


@pytest.mark.parametrize("model", ["module_map", "module_map_ragged"])
@pytest.mark.parametrize("rows", [4611686018427387904, 6148914691236517206, 2**62, 400_001, 2**31])
def test_a_shape_without_its_bytes_is_refused(server: TritonServer, model: str, rows: int) -> None:
    pid = server.pid
    shape = [1, rows, 3] if model.endswith("ragged") else [rows, 3]
    status, text = ask_without_data(server, model, shape)
    assert status == 400, text
    assert server.pid == pid
    assert management.is_ready(server.http_url)


def test_an_event_that_nobody_waits_for_is_left(server: TritonServer) -> None:
    small, large = shipped(0)[0].hits, shipped(200)[0].hits
    with TritonTrackFinder(server.grpc_url, "module_map_soft") as finder:
        finder.find(large)
        begin = monotonic()
        finder.find(large)
        whole = monotonic() - begin  # on this machine and under its load of now
    before = failures(server)
    with TritonTrackFinder(server.grpc_url, "module_map_soft", timeout=whole / 3, retries=0) as finder:
        finder.find(small)  # the connection stands: all the time is that of the next event
        with pytest.raises(DeadlineError):
            finder.find(large)
    wait_until(lambda: failures(server) > before)  # it is left between two steps, which may be long
    with TritonTrackFinder(server.grpc_url, "module_map_soft") as finder:
        finder.find(small)
        finder.find(shipped(0)[1].hits)
    assert failures(server) == before + 1


def test_an_event_too_dense_for_a_model_is_refused_as_here(server: TritonServer) -> None:
    hits = shipped(200)[0].hits
    with pytest.raises(TooLargeError) as here:
        load_pipeline("exatrkx_soft", threads=1).find(hits)
    python = tracking_model("m", "exatrkx_soft")
    instance = Instance(weights=python.weights[0].parent, parameters=python.parameters, observe=lambda *_: None)
    (answer,) = TrackingModel(instance).run([{"FEATURES": hits.position}])
    assert isinstance(answer, TooLargeError)
    assert str(answer) == str(here.value)
    with TritonTrackFinder(server.grpc_url, "exatrkx_soft") as finder, pytest.raises(TooLargeError) as there:
        finder.find(hits)
    assert str(here.value) in str(there.value)


def failures(server: TritonServer) -> float:
    return read_metrics(server.metrics_url)["module_map_soft"].values["failed"]


def test_what_it_counts_stands_among_the_metrics(server: TritonServer) -> None:
    def counted() -> dict[str, float]:
        observed = read_metrics(server.metrics_url)["all"].observed
        return {name: observed.get(name, 0.0) for name in ("events", "hits", "tracks")}

    hits, before = shipped(0)[0].hits, counted()
    with TritonTrackFinder(server.grpc_url, "all") as finder:
        tracks = finder.find(hits)
    after = counted()
    assert {name: after[name] - before[name] for name in after} == {
        "events": 1,
        "hits": len(hits),
        "tracks": tracks.n_tracks,
    }


def test_what_makes_no_model_is_not_served(engine: Engine, tmp_path: Path) -> None:
    """Other labels than at the export, wrong parameters, damaged weights."""
    exported, repository, log = tmp_path / "module_map", tmp_path / "models", tmp_path / "log"
    export_repository(exported.parent / "one", named_models(ServingSettings(("module_map",), backend="native")))
    edits = {
        "labels": ('\\"min_hits\\": 6', '\\"min_hits\\": 30', "the canary got another LABELS"),
        "threads": ('string_value: "auto"', 'string_value: "many"', "THREADS: got 'many'"),
        "hits": ('string_value: "1250000"', 'string_value: "4e5"', "MAX_HITS: got '4e5'"),
        "scale": ('string_value: "mm"', 'string_value: "inch"', "inch"),
        "weights": ("module_map.safetensors", "", "module_map.safetensors"),
        "fit": ("fit.safetensors", "", "fit.safetensors"),
    }
    for name, (old, new, _) in edits.items():
        copy = shutil.copytree(exported.parent / "one" / "module_map", repository / name)
        config = copy / "config.pbtxt"
        text = config.read_text().replace('name: "module_map"', f'name: "{name}"', 1)
        if new:
            assert old in text
            text = text.replace(old, new)
        else:
            weights = copy / "weights" / old
            weights.write_bytes(weights.read_bytes()[:-100])
        config.write_text(text)
    with pytest.raises(BeampipeError), TritonServer(ServerSettings(repository, triton=engine.folder, log=log)):
        pass
    lines = log.read_text().splitlines()
    for name, (_, _, message) in edits.items():
        assert any(f"load failed for model '{name}'" in line and message in line for line in lines), name


def test_the_choice_of_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert uses_native(ServingSettings())
    assert uses_native(ServingSettings(backend="native"))
    assert not uses_native(ServingSettings(backend="python"))
    assert not uses_native(ServingSettings(device="cuda:0"))
    with pytest.raises(ConfigError, match="got native on cuda:0, expected python"):
        uses_native(ServingSettings(backend="native", device="cuda:0"))
    with pytest.raises(BeampipeError, match=r"nativ.*did you mean 'native'"):
        ServingSettings(backend="nativ")
    monkeypatch.setattr("beampipe.serving.models.native_libraries", lambda: ())
    with pytest.warns(RuntimeWarning, match="native backend was not built; the Python backend serves instead"):
        assert not uses_native(ServingSettings())
    with pytest.raises(ConfigError, match="got native, which was not built"):
        uses_native(ServingSettings(backend="native"))


def test_ragged_models_gather_requests(server: TritonServer) -> None:
    config = management.model_config(server.http_url, "module_map_ragged")
    assert config["max_batch_size"] == MAX_BATCH_SIZE
    assert config["input"][0]["allow_ragged_batch"]
