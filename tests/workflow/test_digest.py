from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from beampipe.errors import BusyError, ConfigError, FileError
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


@dataclass(frozen=True)
class Nested:
    cuts: tuple[Cuts, ...]
    more: object = None


def test_what_may_change_is_spelt_anew_each_time() -> None:
    names = ["a"]
    inner = Nested((Cuts(1.0),), {"names": names})
    outer = Nested((), inner)
    text = b'{"cuts":[],"more":{"cuts":[{"names":[],"pt":1.0}],"more":{"names":["%b"]}}}'
    assert canonical(outer) == text % b"a"
    names[0] = "b"
    assert canonical(outer) == text % b"b"


def test_equal_settings_of_other_types_have_other_texts() -> None:
    for _ in range(2):
        assert [canonical(Cuts(pt)) for pt in (1, 1.0, True)] == [  # equal, and with one hash
            b'{"names":[],"pt":%b}' % text for text in (b"1", b"1.0", b"true")
        ]
    for number in range(1000):  # more than are known at once, at addresses that come again
        assert canonical(Cuts(number)) == b'{"names":[],"pt":%d}' % number


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


def test_modules_can_be_left_out(package: Path) -> None:
    but = (f"{package.name}.kernels",)
    before = code_digest(f"{package.name}.stage", package.name, but)
    (package / "kernels/deep.py").write_text("TWO = 3\n")
    assert code_digest(f"{package.name}.stage", package.name, but) == before


def test_an_unknown_module_is_refused(package: Path) -> None:
    with pytest.raises(ConfigError, match="there is no module"):
        code_digest(f"{package.name}.stag", package.name)


def test_code_of_this_package_has_a_digest() -> None:
    assert code_digest("beampipe.tracking.batch") == code_digest("beampipe.tracking.batch")
    assert code_digest("beampipe.tracking.batch") != code_digest("beampipe.tracking.truth")


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


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    path, digests = tmp_path / "data", FileDigests(tmp_path / "memory")
    path.write_bytes(b"one")
    assert digests.of(path) == content_digest(path)
    assert digests.cached(path, FileStamp.of(path)) is None


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
