from __future__ import annotations

import ast
import hashlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from beampipe import identity
from beampipe.errors import BusyError, ConfigError, FileError
from beampipe.identity import remembering_code
from beampipe.workflow import (
    FileDigests,
    FileStamp,
    canonical,
    code_digest,
    content_digest,
    digest_of,
    file_digest,
    leased,
)


@dataclass(frozen=True)
class Cuts:
    pt: float
    names: tuple[str, ...] = ()


def test_one_text_stands_for_a_value() -> None:
    assert canonical({"b": (1, 2.5), "a": Path("x/y"), "c": Cuts(0.1, ("n",))}) == (
        b'{"a":"x/y","b":[1,2.5],"c":{"names":["n"],"pt":0.1}}'
    )
    assert digest_of(Cuts(1.0)) == hashlib.sha256(b'{"names":[],"pt":1.0}').hexdigest()[:40]
    assert digest_of(1) != digest_of(1.0)
    assert canonical(np.float64(0.1)) == b"0.1"


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans()))
def test_order_of_keys_does_not_count_and_every_digit_does(value: dict[str, float]) -> None:
    assert digest_of(dict(reversed(value.items()))) == digest_of(value)
    for name, number in value.items():
        if isinstance(number, float) and number:
            assert digest_of({**value, name: np.nextafter(number, 0.0)}) != digest_of(value)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, b"x", object(), np.float32(1), Cuts, [{"a": {3}}]]
)
def test_what_has_no_one_text_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="settings cannot be digested"):
        canonical(value)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A throwaway package: `stage` imports `kernels.fast` in a function, and `settings`; nothing imports `other`."""
    name = f"throwaway_{abs(hash(request.node.nodeid))}"
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / name
    (folder / "kernels").mkdir(parents=True)
    for path, text in {
        "__init__.py": "",
        "stage.py": (
            f'"""A stage."""\nfrom typing import TYPE_CHECKING\nimport numpy\nfrom {name} import settings\n'
            f"if TYPE_CHECKING:\n    from {name} import types\n\n"
            f"def run(x):\n    from {name}.kernels.fast import double\n    return double(x) + settings.OFFSET\n"
        ),
        "settings.py": "OFFSET = 1\n",
        "types.py": "A = 1\n",
        "other.py": "B = 1\n",
        "kernels/__init__.py": "",
        "kernels/fast.py": "from .deep import TWO\n\ndef double(x):\n    # twice\n    return TWO * x\n",
        "kernels/deep.py": "TWO = 2\n",
    }.items():
        (folder / path).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("path", "old", "new", "changes"),
    [
        ("stage.py", "A stage.", "The stage.", False),
        ("stage.py", "import types", "import others", False),
        ("stage.py", "+ settings", "- settings", True),
        ("settings.py", "OFFSET = 1\n", "OFFSET = 1  # why\n\n\n", False),
        ("settings.py", "OFFSET = 1", "OFFSET = 2", True),
        ("kernels/fast.py", "# twice", "# two times", False),
        ("kernels/fast.py", "    # twice", '    """Twice."""', False),
        ("kernels/fast.py", "TWO * x", "TWO * x + 0", True),
        ("kernels/deep.py", "2", "3", True),
        ("types.py", "1", "2", False),
        ("other.py", "1", "2", False),
        ("kernels/__init__.py", "", "C = 1", False),
    ],
)
def test_the_digest_follows_the_code_and_nothing_else(
    package: Path, path: str, old: str, new: str, changes: bool
) -> None:
    before = code_digest(f"{package.name}.stage", package.name)
    text = (package / path).read_text()
    assert old in text
    (package / path).write_text(text.replace(old, new, 1) if old else new)
    assert (code_digest(f"{package.name}.stage", package.name) != before) == changes


def old(path: Path, content: bytes = b"one") -> Path:
    """A file whose contents changed long ago, as far as its times tell."""
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was written is old enough to be remembered."""
    now = time.time
    monkeypatch.setattr("beampipe.workflow.digests.time.time", lambda: now() + 10)


def test_the_digest_of_contents_is_that_of_others(tmp_path: Path) -> None:
    """As `xxhsum -H2` gives it; also of a file of several blocks."""
    assert content_digest(old(tmp_path / "empty", b"")) == "99aa06d3014798d86001c324468d497f"
    many = bytes(range(256)) * 10_000
    assert content_digest(old(tmp_path / "many", many)) == xxhash.xxh3_128_hexdigest(many)


@pytest.mark.usefixtures("later")
def test_files_are_read_again_only_if_they_look_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, digests = old(tmp_path / "data"), FileDigests(tmp_path / "memory")
    first, looks = digests.of(path), FileStamp.of(path)
    assert first == content_digest(path) == digests.cached(path, looks)
    monkeypatch.setattr("beampipe.workflow.digests.content_digest", lambda _: "0" * 32)
    assert FileDigests(tmp_path / "memory").of(path) == first
    old(path, b"two")  # same size, same time
    assert digests.of(path) == "0" * 32 == digests.cached(path, FileStamp.of(path))
    assert digests.cached(path, looks) == first, "that of what it was"
    assert {entry.name for entry in (tmp_path / "memory").iterdir()} == {"digests.txt"}, "no lease is left"


@pytest.mark.usefixtures("later")
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path) -> None:
    path, digests = old(tmp_path / "data"), FileDigests(tmp_path / "memory")
    wanted = digests.of(path)
    (remembered,) = digests.folder.iterdir()
    line = remembered.read_bytes()
    other = FileDigests(tmp_path / "other")
    other.folder.mkdir()
    for damaged in (b"", line[:-1], line[:60], line.replace(b" ", b""), bytes(range(256))):
        (other.folder / remembered.name).write_bytes(damaged)
        assert other.cached(path, FileStamp.of(path)) is None
    assert other.of(path) == wanted == other.cached(path, FileStamp.of(path)), "after half a line, too"


@pytest.mark.usefixtures("later")
def test_what_others_append_is_seen(tmp_path: Path) -> None:
    """As from other processes: of the memory this one has read a part."""
    one, two, digests = old(tmp_path / "one"), old(tmp_path / "two"), FileDigests(tmp_path / "memory")
    wanted = digests.of(one), FileDigests(tmp_path / "theirs").of(two)
    (theirs,) = (tmp_path / "theirs").iterdir()
    with (digests.folder / theirs.name).open("ab") as memory:
        memory.write(b"\ntorn" + theirs.read_bytes())
    assert wanted == (digests.cached(one, FileStamp.of(one)), digests.cached(two, FileStamp.of(two)))


@pytest.mark.usefixtures("later")
def test_one_process_reads_a_large_file_and_the_others_get_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digests = old(tmp_path / "data"), FileDigests(tmp_path / "memory")
    monkeypatch.setattr("beampipe.workflow.digests.LARGE", path.stat().st_size)
    digests.folder.mkdir()
    lease = digests.folder / f"{digest_of([str(path), *FileStamp.of(path)])}.lease"
    with leased(lease), pytest.raises(BusyError, match="another process"):
        digests.of(path)
    assert digests.of(path) == content_digest(path)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"one")
    before = FileStamp.of(path)

    def grows(path: Path) -> str:
        path.write_bytes(b"more")
        return "read"

    monkeypatch.setattr("beampipe.workflow.digests.content_digest", grows)
    with pytest.raises(FileError, match=r"changed while this run read it \(got 4 bytes, expected the 3 bytes"):
        FileDigests(tmp_path / "memory").of(path)
    with pytest.raises(FileError, match="changed"):
        FileDigests(tmp_path / "memory").of(path, before)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for digest in (FileDigests(tmp_path / "memory").of, content_digest, file_digest, FileStamp.of):
        with pytest.raises(FileError, match=r"nothing\.root: cannot be read \(No such file"):
            digest(tmp_path / "nothing.root")


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
def test_without_a_cache_nothing_is_remembered(
    digest: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert digest() == digest()


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
