from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.errors import ConfigError, FileError
from beampipe.workflow import FileDigests, canonical, code_digest, digest_of, file_digest


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


def test_files_are_hashed_again_only_if_they_look_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memory = tmp_path / "data", tmp_path / "memory" / "digests.json"
    path.write_bytes(b"one")
    expected = hashlib.sha256(b"one").hexdigest()
    monkeypatch.setattr(time, "time", lambda: path.stat().st_ctime + 10)
    with FileDigests(memory) as digests:
        assert digests.of_all([path, path]) == [expected, expected] == [file_digest(path)] * 2

    monkeypatch.setattr("beampipe.workflow.digest.file_digest", lambda _: "read")
    digests = FileDigests(memory)
    assert digests.of(path) == expected
    path.write_bytes(b"two")  # same size
    os.utime(path, ns=(0, 0))
    assert digests.of(path) == "read"


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    path, memory = tmp_path / "data", tmp_path / "digests.json"
    path.write_bytes(b"one")
    with FileDigests(memory) as digests:
        digests.of(path)
    assert not memory.exists()


def test_a_damaged_memory_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "digests.json").write_text("{torn")
    (tmp_path / "data").write_bytes(b"one")
    assert FileDigests(tmp_path / "digests.json").of(tmp_path / "data") == hashlib.sha256(b"one").hexdigest()


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"one")

    def grows(path: Path) -> str:
        path.write_bytes(b"more")
        return "read"

    monkeypatch.setattr("beampipe.workflow.digest.file_digest", grows)
    with pytest.raises(FileError, match="changed while it was read"):
        FileDigests(tmp_path / "digests.json").of(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for digest in (FileDigests(tmp_path / "digests.json").of, file_digest):
        with pytest.raises(FileError, match=r"nothing\.root: cannot be read \(No such file"):
            digest(tmp_path / "nothing.root")
