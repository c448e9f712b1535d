"""Settings, ports and environment of a server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beampipe.errors import ConfigError
from beampipe.triton.engine import Engine, Interpreter
from beampipe.triton.server import launch
from beampipe.triton.server.launch import Ports, ServerSettings, server_environment


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="different ones"):
        ServerSettings(tmp_path, http_port=8000, grpc_port=8000)
    with pytest.raises(ConfigError, match="got 70000"):
        ServerSettings(tmp_path, http_port=70000)
    with pytest.raises(ConfigError, match="patience: got 0 s"):
        ServerSettings(tmp_path, patience=0.0)
    settings = ServerSettings(tmp_path, host="203.0.113.1")
    with pytest.raises(ConfigError, match=r"got 203\.0\.113\.1, expected an address of this machine"):
        launch.check_ports(settings, Ports(1, 2, 3))


def test_the_environment_of_the_stubs(engine: Engine, doublers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    python = Interpreter("3.11", Path("/venv/bin"), Path("/usr/lib/libpython3.11.so.1.0"))
    environ = server_environment(ServerSettings(doublers, threads=3), engine, python, engine.folder)
    assert "PYTHONPATH" not in environ
    assert environ["PATH"].split(os.pathsep)[0] == "/venv/bin"
    assert environ["LD_LIBRARY_PATH"].split(os.pathsep)[0] == "/usr/lib"
    assert environ["LD_LIBRARY_PATH"].split(os.pathsep)[-1] == "/mine"
    assert environ["OMP_NUM_THREADS"] == "3"
