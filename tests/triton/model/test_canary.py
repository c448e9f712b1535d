"""A model that gives other bytes than when it was exported is not served."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray
from safetensors import SafetensorError

from beampipe.errors import ConfigError, FileError, InputError
from beampipe.triton.model.canary import CANARY, check_model, read_canary, write_canary
from beampipe.triton.model.contract import ModelAnswer, ModelRequest
from beampipe.triton.server.management import check_canary

REQUEST: dict[str, ndarray] = {"X": np.arange(6, dtype=np.float32).reshape(3, 2), "ID": np.arange(3, dtype=np.uint64)}
ANSWER: dict[str, ndarray] = {"LABELS": np.array([0, -1, 1])}


@pytest.fixture
def version(tmp_path: Path) -> Path:
    write_canary(tmp_path, REQUEST, ANSWER)
    return tmp_path


def answering(answer: ModelAnswer) -> Any:
    def run(requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        (request,) = requests
        assert {key: array.tolist() for key, array in request.items()} == {
            key: array.tolist() for key, array in REQUEST.items()
        }
        return [answer]

    return run


def test_what_is_stored_is_read_back(version: Path) -> None:
    stored = read_canary(version)
    assert stored is not None
    for got, expected in zip(stored, (REQUEST, ANSWER), strict=True):
        assert got.keys() == expected.keys()
        for name, array in expected.items():
            assert got[name].dtype == array.dtype
            assert got[name].tolist() == array.tolist()


def test_pickles_are_neither_written_nor_read(tmp_path: Path) -> None:
    with pytest.raises(SafetensorError, match="object"):
        write_canary(tmp_path, {"X": np.array([{}], np.object_)}, {})
    with (tmp_path / CANARY).open("wb") as file:
        np.savez(file, allow_pickle=True, **{"in.X": np.array([{}], object)})
    with pytest.raises(FileError, match=r"got a damaged canary.*export the model again"):
        read_canary(tmp_path)


def test_a_right_answer(version: Path) -> None:
    check_model(answering({**ANSWER, "STAGES": np.zeros(3)}), version, "model")


@pytest.mark.parametrize(
    "answer",
    [
        {"LABELS": np.array([0, -1, 2])},
        {"LABELS": np.array([0, -1])},
        {"LABELS": np.array([0, -1, 1], np.int32)},
        {"LABELS": np.empty(0, np.int64)},
        {},
    ],
    ids=["value", "length", "type", "empty", "missing"],
)
def test_a_wrong_answer(version: Path, answer: dict[str, ndarray]) -> None:
    with pytest.raises(ConfigError, match="model: the canary got another LABELS"):
        check_model(answering(answer), version, "model")


def test_an_error_for_an_answer(version: Path) -> None:
    with pytest.raises(ConfigError, match=r"model: the canary got an error.*too hot"):
        check_model(answering(InputError("too hot")), version, "model")


def test_no_canary_is_no_check(tmp_path: Path) -> None:
    def never(requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        raise AssertionError

    check_model(never, tmp_path, "model")
    assert not check_canary("127.0.0.1:1", tmp_path, "model")


class Server(HTTPServer):
    """Gives each request the same answer, as Triton would word it; keeps what it was asked."""

    status = 200
    labels: ndarray = ANSWER["LABELS"]
    asked: tuple[dict[str, Any], bytes] = ({}, b"")
    path = ""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers["Inference-Header-Content-Length"])
        self.server.asked = json.loads(body[:length]), body[length:]
        self.server.path = self.path
        raw = self.server.labels.tobytes()
        output: dict[str, Any] = {"name": "LABELS", "datatype": "INT64", "shape": list(self.server.labels.shape)}
        output["parameters"] = {"binary_data_size": len(raw)}
        header = json.dumps({"outputs": [output]}).encode()
        self.send_response(self.server.status)
        self.send_header("Inference-Header-Content-Length", str(len(header)))
        self.send_header("Content-Length", str(len(header) + len(raw)))
        self.end_headers()
        self.wfile.write(header + raw)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("batched", [False, True])
def test_a_server_is_asked_the_same(server: Server, version: Path, batched: bool) -> None:
    assert check_canary(f"127.0.0.1:{server.server_port}", version, "exatrkx", batched=batched)
    header, raw = server.asked
    one = [1] if batched else []
    assert server.path == "/v2/models/exatrkx/infer"
    assert [(each["name"], each["datatype"], each["shape"]) for each in header["inputs"]] == [
        ("ID", "UINT64", [*one, 3]),
        ("X", "FP32", [*one, 3, 2]),
    ]
    assert [each["name"] for each in header["outputs"]] == ["LABELS"]
    assert raw == REQUEST["ID"].tobytes() + REQUEST["X"].tobytes()


@pytest.mark.parametrize("labels", [[0, -1, 2], [], [0, -1]])
def test_a_server_that_answers_wrongly(server: Server, version: Path, labels: list[int]) -> None:
    server.labels = np.array(labels, np.int64)
    with pytest.raises(ConfigError, match="another LABELS"):
        check_canary(f"127.0.0.1:{server.server_port}", version, "exatrkx")
