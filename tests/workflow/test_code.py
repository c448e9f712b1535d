"""Digests of code that are remembered: never those of other code."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from beampipe import identity
from beampipe.identity import code_digest, remembering_code


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """The digest of a throwaway stage, as a new process asks for it; what it remembers is in the user's cache."""
    name = f"throwaway_{tmp_path.name}"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / name).mkdir()
    for path, text in (("__init__.py", ""), ("stage.py", f"from {name} import cut\n"), ("cut.py", "LOW = 1\n")):
        (tmp_path / name / path).write_text(text)

    def asked() -> str:
        monkeypatch.setattr(identity, "_code_memory", identity._CodeMemory())
        with remembering_code():
            return code_digest(f"{name}.stage", name)

    return asked


@pytest.fixture
def cut(digest: object, tmp_path: Path) -> Path:
    return tmp_path / f"throwaway_{tmp_path.name}" / "cut.py"


def remembered(folder: Path) -> str:
    """All that the user's cache holds."""
    return "".join(path.read_text() for path in folder.glob("cache/beampipe/*"))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was written is old enough to be remembered."""
    monkeypatch.setattr(identity, "RACY_SECONDS", -10.0)


@pytest.mark.usefixtures("settled")
def test_a_module_that_looks_the_same_is_not_parsed_again(
    digest: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = digest()
    monkeypatch.setattr(ast, "parse", lambda *_, **__: pytest.fail("a module was parsed again"))
    assert digest() == first


@pytest.mark.usefixtures("settled")
def test_a_module_that_changed_is_seen_by_its_size_its_time_and_its_inode(digest: Callable[[], str], cut: Path) -> None:
    seen = [digest()]
    times = cut.stat()
    for second, text in enumerate(("LOW = 22\n", "LOW = 33\n"), 1):
        cut.write_text(text)
        os.utime(cut, (second, second))
        seen.append(digest())
    other = cut.with_name("other")
    other.write_text("LOW = 44\n")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(cut)  # same size, and a time of its own choice
    seen.append(digest())
    assert len(set(seen)) == 4


def test_a_module_of_this_moment_is_not_remembered(digest: Callable[[], str], tmp_path: Path) -> None:
    assert digest() == digest()
    assert "cut" not in remembered(tmp_path)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"by": [], "modules": {}}', "\x00"])
def test_a_memory_that_cannot_be_read_counts_as_none(digest: Callable[[], str], tmp_path: Path, text: str) -> None:
    first = digest()
    assert "cut" in remembered(tmp_path)
    for place in (tmp_path / "cache/beampipe").iterdir():
        place.write_text(text)
    assert digest() == first
    assert "cut" in remembered(tmp_path)


@pytest.mark.usefixtures("settled")
def test_another_python_or_other_code_of_ours_remembers_nothing(
    digest: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest()
    parsed: list[str] = []
    parse = ast.parse

    def counted(text: bytes, filename: str) -> ast.Module:
        parsed.append(filename)
        return parse(text, filename)

    monkeypatch.setattr(ast, "parse", counted)
    monkeypatch.setattr(sys, "version", "4.0")
    digest()
    assert len(parsed) == 2


@pytest.mark.usefixtures("settled")
def test_without_a_cache_nothing_is_remembered(
    digest: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert digest() == digest()
