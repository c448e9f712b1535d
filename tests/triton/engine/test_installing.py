from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from beampipe.errors import ConfigError, FileError
from beampipe.triton import engine as installing
from beampipe.triton.engine import CONTAINER, PACKAGE, Engine, find_engine, install_engine
from tests.triton.engine.wheels import SERVER, fake_wheel


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
    root = Path(__file__).parents[3]
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
