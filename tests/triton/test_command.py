"""A Triton of somebody else's command under supervision: hangs, deaths and canaries."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from beampipe.cli import app
from beampipe.errors import BeampipeError, ConfigError
from beampipe.triton.command import CommandServer, command_settings, option
from beampipe.triton.engine import Engine, this_interpreter
from beampipe.triton.model.canary import write_canary
from beampipe.triton.server import launch, management
from beampipe.triton.server.launch import ServerSettings, free_ports
from beampipe.triton.server.server import TritonServer
from tests.triton.doublers import ask, write_model
from tests.triton.foreground import in_foreground, part
from tests.triton.waiting import assert_nothing_left, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "supervisor.md"
"""Page with a model that hangs."""

MODES = ("none", "explicit")
"""Modes of model control: only with the second can a model be loaded again."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (hanging,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    write_model(tmp_path / "models", "one", hanging)
    write_model(tmp_path / "models", "two")
    return tmp_path / "models"


@pytest.fixture
def command(engine: Engine, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A Triton as a user starts it, in an environment in which it runs."""
    settings = ServerSettings(repository)
    backends, environ = launch.prepare_engine(settings, engine, this_interpreter(), tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    ports = free_ports(settings)
    numbers = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
    return [str(engine.binary), "--model-repository", str(repository), f"--backend-directory={backends}", *numbers]


@contextmanager
def supervised(command: list[str], mode: str = "none") -> Iterator[TritonServer]:
    command = [*command, f"--model-control-mode={mode}"]
    if mode == "explicit":
        command += ["--load-model=one", "--load-model=two"]
    settings = command_settings(command, log=None, start_timeout=60.0, patience=1.0)
    with CommandServer(command, settings) as server:
        yield server
    assert_nothing_left(server.prefix)


def kinds(server: TritonServer) -> list[str]:
    return [incident.kind for incident in server.incidents]


@pytest.mark.parametrize("mode", MODES)
def test_what_hangs_or_dies_answers_again(command: list[str], mode: str, repository: Path) -> None:
    write_canary(repository / "one" / "1", {"X": np.zeros(1, np.float32)}, {})
    with supervised(command, mode) as server, ThreadPoolExecutor() as pool:
        assert server.models == ("one", "two")
        server_pid = server.pid
        hung = pool.submit(ask, server.http_url, "one", 13.0, timeout=60.0)
        wait_until(lambda: "hangs" in kinds(server))
        assert management.is_ready(server.http_url), "Triton itself does not notice"
        wait_until(lambda: ("model back" if mode == "explicit" else "server back") in kinds(server))
        assert ask(server.http_url, "one", 0.0, 6.0) == (200, [0.0, 12.0])
        assert ask(server.http_url, "two", 0.0, 7.0) == (200, [0.0, 14.0])
        assert (server.pid == server_pid) == (mode == "explicit"), "only this mode can replace a model alone"
        hung.exception(60.0)
        if mode == "none":  # a dead process is what a killed one is: the server was started again
            return
        # A dead process, and a dead server.
        server.incidents.clear()
        stub = next(stub for stub in server.stubs() if stub.model == "two" and stub.alive)
        os.kill(stub.pid, signal.SIGKILL)
        wait_until(lambda: "model back" in kinds(server))
        assert ask(server.http_url, "two", 0.0, 7.0) == (200, [0.0, 14.0])
        pid, backs = server.pid, kinds(server).count("server back")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: kinds(server).count("server back") > backs)
        assert server.models == ("one", "two")
        assert ask(server.http_url, "two", 0.0, 7.0) == (200, [0.0, 14.0])


def test_a_model_that_does_not_give_its_canary_is_not_served(command: list[str], repository: Path) -> None:
    write_canary(repository / "two" / "1", {"X": np.zeros(1, np.float32)}, {"Y": np.ones(1, np.float32)})
    with pytest.raises(ConfigError, match="two: the canary got another Y"), supervised(command):
        pass


def test_the_command_runs_it_and_outlives_a_killed_supervisor(command: list[str]) -> None:
    program = "from beampipe.cli import app; import sys; app(sys.argv[1:])"
    with in_foreground(program, "triton", "run", "--patience", "1", "--", *command) as (keeper, summary):
        url = part(summary, r"http://(\S+:\d+)\s")
        assert ask(url, "one", 0.0, 5.0) == (200, [0.0, 10.0])
        os.kill(int(part(summary, r"watched\s+by process (\d+)")), signal.SIGKILL)
        assert keeper.stdout is not None
        for line in keeper.stdout:
            if line.startswith("to stop"):
                break
        assert ask(url, "one", 0.0, 5.0) == (200, [0.0, 10.0])
        keeper.send_signal(signal.SIGTERM)
        assert keeper.stdout.read().splitlines()[-1] == "stopped"
        assert keeper.wait(60) == 0


@pytest.mark.parametrize(
    ("command", "value"),
    [
        (["tritonserver", "--http-port", "9000"], "9000"),
        (["tritonserver", "--http-port=9000", "--http-port=9001"], "9001"),
        (["tritonserver", "--http-portal=9000"], "8000"),
        (["tritonserver", "--http-port"], ""),
    ],
)
def test_options_are_read_as_triton_reads_them(command: list[str], value: str) -> None:
    assert option(command, "http-port", "8000") == value


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "command: got none"),
        (["tritonserver", "--allow-metrics=false"], "--allow-metrics: got false, expected true"),
        (["tritonserver", "--http-port=many"], "command: got .*'many', expected numbers"),
    ],
)
def test_a_command_that_cannot_be_supervised_is_refused(command: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        command_settings(command, log=None, start_timeout=1.0, patience=1.0)


def test_a_program_that_is_none_is_one_error(tmp_path: Path) -> None:
    command = [str(tmp_path / "tritonserver"), "--model-repository=models"]
    server = CommandServer(command, command_settings(command, log=None, start_timeout=1.0, patience=1.0))
    with pytest.raises(BeampipeError, match="No such file or directory, expected the program of a Triton"):
        server.start()
    assert_nothing_left(server.prefix)


def test_the_unit_names_the_command_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["triton", "run", "--unit", "user", "--patience", "5", "--", "/opt/tritonserver/bin/tritonserver"]
    app([*command, "--model-repository=/models"], standalone_mode=False)
    output = capsys.readouterr().out
    assert "triton run --patience=5 --start-timeout=600 -- /opt/tritonserver/bin/tritonserver" in output
    assert "--model-repository=/models" in output
    assert "WatchdogSec=" in output
