"""The ledger: what was written is read, and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.ledger import Ledger, entries_to_json, read_ledger
from beampipe.errors import FileError

KEY = b"a key of the host"


def written(path: Path, n: int = 4) -> Ledger:
    ledger = Ledger(path, KEY)
    for i in range(n):
        ledger.append("count_tool", {"events": f"events_{i}"}, {"n": i}, sources=["b.root", "a.root", "a.root"])
    return ledger


def test_what_was_written_is_read(tmp_path: Path) -> None:
    ledger = written(tmp_path / "ledger")
    refused = ledger.append("fit_tool", {"a": 1}, None, error="too few events", seconds=0.12345678)
    entries = read_ledger(tmp_path / "ledger", KEY, ledger.last)
    assert entries == ledger.entries
    assert entries[-1] == refused
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    assert entries[0].sources == ("a.root", "b.root")
    assert (refused.result, refused.error, refused.seconds) == (None, "too few events", 0.123457)
    assert json.loads(json.dumps(entries_to_json(entries)))[0]["sources"] == ["a.root", "b.root"]
    assert len({entry.code for entry in entries}) == 5


def _changed(lines: list[str]) -> list[str]:
    return [*lines[:1], lines[1].replace('"n": 1', '"n": 7'), *lines[2:]]


def _resigned(lines: list[str]) -> list[str]:
    """An entry of somebody who has another key."""
    return [*lines[:3], lines[3].replace(json.loads(lines[3])["code"], "0" * 64)]


def _renumbered(lines: list[str]) -> list[str]:
    return [json.dumps({**json.loads(line), "number": i}) for i, line in enumerate([lines[0], *lines[2:]], 1)]


@pytest.mark.parametrize(
    "spoil",
    [
        _changed,
        _resigned,
        _renumbered,
        lambda lines: [*lines[:1], *lines[2:]],
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2], lines[1], lines[3]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:3], lines[3][:-20]],
        lambda lines: [*lines, "{}"],
        lambda lines: [*lines, "[]"],
        lambda lines: [*lines, "null"],
        lambda lines: [*lines, "not JSON"],
        lambda lines: ["", *lines],
        lambda lines: [*lines, json.dumps({"number": 5, "code": "ä"})],
        lambda lines: [*lines[:3], lines[3].replace('"seconds"', '"second"')],
        lambda lines: [lines[0].replace('"n": 0', '"n": NaN'), *lines[1:]],
        lambda lines: ["[" * 100_000],
    ],
)
def test_a_ledger_that_somebody_spoiled(tmp_path: Path, spoil: Callable[[list[str]], list[str]]) -> None:
    path = tmp_path / "ledger"
    written(path)
    lines = path.read_text().splitlines()
    assert len(read_ledger(path, KEY)) == 4
    path.write_text("\n".join(spoil(lines)) + "\n")
    with pytest.raises(FileError, match="not signed"):
        read_ledger(path, KEY)


def test_entries_of_another_ledger_or_key(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    written(one)
    ledger = Ledger(other, KEY)
    ledger.append("other_tool", {}, {})
    other.write_text(other.read_text() + one.read_text().split("\n", 1)[1])
    for path, key in ((other, KEY), (one, b"another key")):
        with pytest.raises(FileError, match="not signed"):
            read_ledger(path, key)


def test_a_tail_that_was_cut_off_is_noticed_by_the_last_code_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = written(path)
    lines = path.read_text().splitlines()
    for kept in range(4):
        path.write_text("".join(f"{line}\n" for line in lines[:kept]))
        assert len(read_ledger(path, KEY)) == kept
        with pytest.raises(FileError, match="all of them"):
            read_ledger(path, KEY, ledger.last)


def test_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a ledger"):
        read_ledger(tmp_path / "nothing", KEY)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="no text"):
        read_ledger(tmp_path / "bytes", KEY)
    written(tmp_path / "there")
    with pytest.raises(FileError, match="new file"):
        Ledger(tmp_path / "there", KEY)
    empty = Ledger(tmp_path / "empty", KEY)
    assert read_ledger(tmp_path / "empty", KEY, empty.last) == ()


def test_threads_write_one_after_the_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", KEY)

    def write(thread: int) -> None:
        for i in range(10):
            ledger.append(f"tool_{thread}", {"i": i}, {"i": i})

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = read_ledger(tmp_path / "ledger", KEY, ledger.last)
    assert len(entries) == 60
    for number in range(6):
        assert [entry.arguments["i"] for entry in entries if entry.tool == f"tool_{number}"] == list(range(10))


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ([1, (float("inf"), None, True)], [1, ["inf", None, True]]),
        ({3: {"a": b"x"}}, {"3": {"a": "b'x'"}}),
        ("half \ud800", "half ?"),
        ("line\u2028end\n", "line\u2028end\n"),
        (10**400, 10**400),
    ],
)
def test_whatever_an_agent_sends_is_kept(tmp_path: Path, argument: Any, kept: Any) -> None:
    ledger = Ledger(tmp_path / "ledger", KEY)
    ledger.append("tool", {"a": argument}, None, error="no")
    assert read_ledger(tmp_path / "ledger", KEY, ledger.last)[0].arguments == {"a": kept}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(arguments=st.dictionaries(st.text(), _JSON, max_size=4), tool=st.text(), error=st.text())
def test_any_arguments_are_read_as_they_were_kept(
    tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any], tool: str, error: str
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger"
    ledger = Ledger(path, KEY)
    ledger.append(tool, arguments, None, error=error)
    ledger.append("next", {}, {"n": 1})
    assert read_ledger(path, KEY, ledger.last) == ledger.entries


def test_a_result_that_is_no_json_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    ledger = written(tmp_path / "ledger")
    for wrong, error in ((float("nan"), ValueError), (b"x", TypeError)):
        with pytest.raises(error):
            ledger.append("tool", {}, {"n": wrong})
    ledger.append("tool", {}, {"n": 1})
    assert len(read_ledger(tmp_path / "ledger", KEY, ledger.last)) == 5


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    ledger = written(tmp_path / "ledger")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(FileError, match="No space"):
            ledger.append("tool", {}, {"n": 1})
    ledger.append("tool", {}, {"n": 2})
    entries = read_ledger(tmp_path / "ledger", KEY, ledger.last)
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    assert (entries[-1].result or {})["n"] == 2
