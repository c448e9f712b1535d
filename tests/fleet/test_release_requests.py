"""Recorded requests in a file, and answers that are the same or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import FileError, UnknownNameError
from beampipe.fleet.release_rule import difference, read_canaries, read_requests
from tests.fleet.specimens import write_requests
from tests.triton.doublers import add_canary, write_model


def test_requests_come_back_as_they_were_in_their_order(tmp_path: Path) -> None:
    requests = [{"X": np.arange(n, dtype=np.float32), "N": np.array([n])} for n in range(12)]
    write_requests(tmp_path / "events.npz", {"one": requests, "two": requests[:1]})
    read = read_requests(tmp_path / "events.npz", ["one", "two", "three"])
    assert sorted(read) == ["one", "two"]
    assert [request["N"][0] for request in read["one"]] == list(range(12))
    assert all(np.array_equal(got["X"], was["X"]) for got, was in zip(read["one"], requests, strict=True))


@pytest.mark.parametrize("name", ["X", "one/X", "one/first/X", "one/0/"])
def test_an_array_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "events.npz", **{name: np.zeros(1)})  # type: ignore[arg-type]
    with pytest.raises(FileError, match="MODEL/NUMBER/TENSOR"):
        read_requests(tmp_path / "events.npz", ["one"])


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.npz"
    with pytest.raises(FileError, match="No such file"):
        read_requests(path, ["one"])
    for content in (b"", b"PK\x03\x04 not a zip", b"text"):
        path.write_bytes(content)
        with pytest.raises(FileError, match="recorded requests"):
            read_requests(path, ["one"])
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(FileError, match="no requests"):
        read_requests(path, ["one"])
    np.savez(path, **{"one/0/X": np.array([object()])})  # type: ignore[arg-type]
    with pytest.raises(FileError, match="recorded requests"):
        read_requests(path, ["one"])


def test_requests_for_another_model_are_refused(tmp_path: Path) -> None:
    write_requests(tmp_path / "events.npz", {"onne": [{"X": np.zeros(1)}]})
    with pytest.raises(UnknownNameError, match="did you mean 'one'"):
        read_requests(tmp_path / "events.npz", ["one"])


def test_the_canaries_of_a_repository_are_requests_too(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_model(tmp_path, name)
    add_canary(tmp_path, "one")
    canaries = read_canaries(tmp_path, ["one", "two"])
    assert {model: outputs for model, (_, outputs) in canaries.items()} == {"one": ("Y",)}


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ({"Y": np.array([1, 2], np.float32), "T": np.array([7], np.float32)}, ""),
        ({"Y": np.array([1, 3], np.float32), "T": np.array([5], np.float32)}, "Y: other values"),
        ({"Y": np.array([1, 2], np.float64)}, "float64"),
        ({"Y": np.array([[1, 2]], np.float32)}, r"[1, 2]"),
        ({"T": np.array([5], np.float32)}, "Y: missing"),
        ({"Y": np.array([1, np.nextafter(np.float32(2), np.float32(3))], np.float32)}, "Y: other values"),
    ],
)
def test_answers_are_the_same_byte_for_byte_or_not_at_all(new: dict[str, Any], why: str) -> None:
    old = {"Y": np.array([1, 2], np.float32), "T": np.array([5], np.float32)}
    text = difference(old, new, ["Y"])
    assert why in text
    assert bool(text) == bool(why)
    assert difference(old, old) == ""
    assert difference(old, {**old, "T": np.array([7], np.float32)})


def test_the_sign_of_zero_and_nan_are_bytes_like_any_other() -> None:
    nan = {"Y": np.array([np.nan], np.float32)}
    assert difference(nan, {"Y": np.array([np.nan], np.float32)}) == ""
    assert difference({"Y": np.array([0.0], np.float32)}, {"Y": np.array([-0.0], np.float32)})
