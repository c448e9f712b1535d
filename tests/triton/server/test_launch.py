"""Settings, ports and environment of a server; what cannot work is refused before it is started."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.triton.engine import Engine, Interpreter, prepare_backends, this_interpreter
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


def test_a_repository_must_have_the_models(doublers: Path, tmp_path: Path) -> None:
    assert launch.check_repository(doublers, ()) == ("one", "two")
    assert launch.check_repository(doublers, ("two",)) == ("two",)
    with pytest.raises(FileError, match="no such folder"):
        launch.check_repository(tmp_path / "no", ())
    with pytest.raises(FileError, match="without models"):
        launch.check_repository(tmp_path, ())
    with pytest.raises(UnknownNameError, match="got 'too', expected one of one, two"):
        launch.check_repository(doublers, ("too",))


def test_a_python_that_cannot_be_embedded_is_refused(engine: Engine, tmp_path: Path) -> None:
    good = this_interpreter()
    launch.check_interpreter(engine, good)
    with pytest.raises(ConfigError, match=r"expected one for Python 3\.99"):
        launch.check_interpreter(engine, replace(good, version="3.99"))
    with pytest.raises(ConfigError, match="without a shared library"):
        launch.check_interpreter(engine, replace(good, library=None))
    with pytest.raises(ConfigError, match="no python3 there"):
        launch.check_interpreter(engine, replace(good, bin=tmp_path))


def test_a_stub_that_cannot_start_is_noticed(engine: Engine, doublers: Path, tmp_path: Path) -> None:
    python = this_interpreter()
    backends = prepare_backends(engine, python, tmp_path)
    good = server_environment(ServerSettings(doublers), engine, python, backends)
    launch.check_stub(backends, good)
    with pytest.raises(ConfigError, match="no bash"):
        launch.check_stub(backends, {**good, "PATH": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"libcudart|libpython|libb64|\.so"):
        launch.check_stub(backends, {**good, "LD_LIBRARY_PATH": str(tmp_path)})
