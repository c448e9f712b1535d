from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from beampipe.triton.engine import (
    STUB,
    Engine,
    Interpreter,
    find_engine,
    prepare_backends,
    this_interpreter,
)
from tests.triton.engine.wheels import fake_wheel


def test_an_install_of_triton_tells_its_python_by_its_stub(tmp_path: Path) -> None:
    fake_wheel(tmp_path / "wheel")
    shutil.copytree(tmp_path / "wheel" / "pytriton" / "tritonserver", tmp_path / "opt")
    shutil.rmtree(tmp_path / "opt" / "python_backend_stubs")
    stub = tmp_path / "opt" / "backends" / "python" / STUB
    stub.write_bytes(b"\0libpython3.12.so.1.0\0")
    result = find_engine(tmp_path / "opt")
    assert result.versions() == ("3.12",)
    assert result.stub("3.12") == stub
    python = this_interpreter()
    assert prepare_backends(result, Interpreter("3.12", python.bin, None), tmp_path) == tmp_path / "opt" / "backends"


def test_backends_hold_the_stub_of_this_python(engine: Engine, tmp_path: Path) -> None:
    python = this_interpreter()
    folder = prepare_backends(engine, python, tmp_path)
    assert folder == prepare_backends(engine, python, tmp_path)
    assert (folder / "python" / STUB).read_bytes() == engine.stub(python.version).read_bytes()
    assert not (folder / "python" / STUB).is_symlink()


def test_a_read_only_engine_has_its_backends_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wheel(tmp_path / "engine")
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    python = Interpreter("3.11", Path("/usr/bin"), None)
    folder = prepare_backends(find_engine(tmp_path / "engine"), python, tmp_path / "mine")
    assert folder == tmp_path / "mine" / "backends-3.11"


def test_a_stub_that_wants_its_builders_libpython_gets_the_interpreters(tmp_path: Path) -> None:
    fake_wheel(tmp_path, ("3.13",))
    result = find_engine(tmp_path)
    result.stub("3.13").write_bytes(b"\0libpython3-419a3a08.13.so.1.0\0libpython3.13.so.1.0\0")
    library = tmp_path / "libpython3.13.so.1.0"
    folder = prepare_backends(result, Interpreter("3.13", Path("/usr/bin"), library), tmp_path)
    links = {path.name: path.readlink() for path in (folder / "python" / "lib").iterdir()}
    assert links == {"libpython3-419a3a08.13.so.1.0": library}
