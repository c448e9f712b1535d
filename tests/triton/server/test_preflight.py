"""What cannot work is refused before a server is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.triton.engine import Engine, prepare_backends, this_interpreter
from beampipe.triton.server import launch
from beampipe.triton.server.launch import ServerSettings, server_environment


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
