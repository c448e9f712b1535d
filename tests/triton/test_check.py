"""`beampipe triton check` against the engine here: what holds, what is broken, and what cannot be checked."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from beampipe.triton.check import CHECKS
from beampipe.triton.cli import app
from beampipe.triton.engine import Engine
from beampipe.triton.model.canary import write_canary
from beampipe.triton.server.launch import ServerSettings, TelemetrySettings
from beampipe.triton.server.server import TritonServer
from tests.triton.doublers import DOUBLER, write_model

REQUEST = np.array([0, 1, 2, 3, 4], np.float32)
MODELS = {"right": (DOUBLER, 2 * REQUEST), "wrong": (DOUBLER, 3 * REQUEST)}


@pytest.fixture(scope="module")
def collector() -> int:
    """A free port, at which the check listens for traces."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def server(engine: Engine, collector: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    models = tmp_path_factory.mktemp("checked")
    for name, (code, answer) in MODELS.items():
        write_model(models, name, code)
        write_canary(models / name / "1", {"X": REQUEST}, {"Y": answer.astype(np.float32)})
    telemetry = TelemetrySettings(f"http://127.0.0.1:{collector}")
    settings = ServerSettings(models, triton=engine.folder, telemetry=telemetry, canary=False, supervise=False)
    with TritonServer(settings) as running:
        yield running
        running.kill()


def check(server: TritonServer, *words: object) -> Result:
    urls = ("--url", server.http_url, "--grpc", server.grpc_url, "--metrics", server.metrics_url)
    where = (*urls, "--repository", server.settings.repository, "--cancels", 40)
    return CliRunner().invoke(app, [str(word) for word in ("check", *where, *words)])


def test_the_engine_holds_what_is_relied_on(server: TritonServer, collector: int) -> None:
    result = check(server, "--model", "right", "--collector", collector, "--json")
    outcomes: list[dict[str, Any]] = json.loads(result.output)
    assert {row["check"]: (row["outcome"], row["text"]) for row in outcomes if row["outcome"] != "holds"} == {}
    assert [row["check"] for row in outcomes] == list(CHECKS)
    assert result.exit_code == 0


def test_what_is_broken_is_said_and_what_is_not_checked(server: TritonServer) -> None:
    result = check(server, "--model", "wrong", "--json")
    outcomes = {row["check"]: row for row in json.loads(result.output)}
    assert result.exit_code == 1
    assert outcomes["answers"]["outcome"] == "broken"
    assert "the canary got another Y" in outcomes["answers"]["text"]
    assert outcomes["variable lengths"]["outcome"] == "holds"
    assert (outcomes["traces"]["outcome"], outcomes["traces"]["text"][:17]) == ("not checked", "needs --collector")
    table = check(server, "--model", "wrong")
    assert table.exit_code == 1
    assert "broken" in table.output


def test_nothing_to_check_is_said(server: TritonServer, tmp_path: Path) -> None:
    result = check(server, "--repository", tmp_path)
    assert "got no model with a canary" in str(result.exception)
