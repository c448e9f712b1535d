"""Files of strangers: what is read, and what is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beampipe.analysisops.artifacts import reading
from beampipe.analysisops.artifacts.form import read_artifacts
from beampipe.analysisops.artifacts.reading import read_json, read_rows
from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError

from .conftest import hand_in

EVENT, MASS = np.array([10.0, 11.0, 12.0]), np.array([91.1, 91.25, 1e-3])
PAIRS = np.array(list(zip(EVENT, MASS, strict=True)), [("event", "<i8"), ("mass", "<f8"), ("more", "<f4")][:2])


def npy(array: np.ndarray, **more: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **more)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"event,mass\n10,91.1\n11,91.25\n12,0.001\n"),
        ("a.csv", b"\xef\xbb\xbfn,mass , event\r\n1,91.1,10\r\n1,91.25,11\r\n2,1e-3,12\r\n"),
        ("a.json", b'{"mass": [91.1, 91.25, 0.001], "event": [10, 11, 12], "more": "x"}'),
        ("a.npy", npy(PAIRS)),
        ("a.npy", npy(np.stack([EVENT, MASS], 1))),
        ("a.npy", npy(np.asfortranarray(np.stack([EVENT, MASS], 1)))),
        ("a.NPY", npy(np.stack([EVENT, MASS], 1).astype(">f8"))),
    ],
)
def test_formats(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    rows = read_rows(tmp_path, name)
    assert rows.event.tolist() == EVENT.tolist()
    assert rows.mass.tolist() == MASS.tolist()


@pytest.mark.parametrize(("name", "content"), [("a.csv", b"event,mass\n"), ("a.json", b'{"event": [], "mass": []}')])
def test_an_empty_list_is_a_list(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert len(read_rows(tmp_path, name).event) == 0


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    fired = tmp_path / "fired"
    bomb = pickle.dumps(Bomb(fired))
    objects = npy(np.array([[Bomb(fired), 1]], dtype=object), allow_pickle=True)
    for name, content in (("a.npy", bomb), ("b.npy", objects), ("c.pkl", bomb), ("d.json", bomb), ("e.csv", bomb)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileError, match="artifact"):
            read_rows(tmp_path, name)
    assert not fired.exists()
    pickle.loads(bomb)
    assert fired.exists()


def test_links_pipes_and_paths_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "hidden.csv"
    secret.write_text("event,mass\n1,2\n")
    folder = tmp_path / "out"
    (folder / "folder.csv").mkdir(parents=True)
    (folder / "link.csv").symlink_to(secret)
    os.mkfifo(folder / "pipe.csv")
    names = ["link.csv", "pipe.csv", "folder.csv", "../hidden.csv", str(secret), "none.csv", "", "..", "a\0.csv"]
    for name in names:
        with pytest.raises(FileError, match="expected"):
            read_rows(folder, name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"event,weight\n1,2\n"),
        ("a.csv", b"event,mass\n1\n"),
        ("a.csv", b"event,mass\n1,x\n"),
        ("a.csv", b"event,mass\n1,__import__('os')\n"),
        ("a.csv", b"\xff\xfe"),
        ("a.csv", b""),
        ("a.json", b'{"event": [1], "mass": [1, 2]}'),
        ("a.json", b'{"event": [1], "mass": ["91.2"]}'),
        ("a.json", b'{"event": [true], "mass": [1.0]}'),
        ("a.json", b'{"event": [[1]], "mass": [1.0]}'),
        ("a.json", b'{"event": [1' + b"0" * 400 + b'], "mass": [1.0]}'),
        ("a.json", b"[" * 100_000),
        ("a.json", b"{"),
        ("a.npy", npy(np.zeros(4))),
        ("a.npy", npy(np.zeros((4, 3)))),
        ("a.npy", npy(np.array(["a", "b"]))),
        ("a.npy", npy(np.zeros((4, 2), complex))),
        ("a.npy", npy(np.stack([EVENT, MASS], 1))[:-8]),
        ("a.npy", npy(np.stack([EVENT, MASS], 1)).replace(b"(3, 2)", b"(3e9,)")),
        ("a.npy", npy(np.stack([EVENT, MASS], 1)).replace(b"(3, 2), }   ", b"(3000000000, 2)}")),
        ("a.npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70_000),
        ("a.npy", b"PK\x03\x04"),
        ("a.parquet", b"PAR1"),
        ("a.root", b"root"),
        ("a", b"event,mass\n1,2\n"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=r"artifact 'a.*': got .*, expected"):
        read_rows(tmp_path, name)


def test_files_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        file.truncate(100 << 30)  # takes no room on the disk
    with pytest.raises(FileError, match="got 107374182400 bytes"):
        read_rows(tmp_path, "a.npy")
    with pytest.raises(FileError, match="expected at most 1000"):
        read_json(tmp_path, "a.npy", 1000)
    monkeypatch.setattr(reading, "MOST_ROWS", 2)
    (tmp_path / "b.json").write_text('{"event": [1, 2, 3], "mass": [1, 2, 3]}')
    (tmp_path / "b.csv").write_text("event,mass\n" + "1,2\n" * 3)
    for name in ("b.json", "b.csv"):
        with pytest.raises(FileError, match=r"more than 2 lines|3 events"):
            read_rows(tmp_path, name)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.csv", "a.json", "a.npy"]),
    start=st.sampled_from([b"", b"event,mass\n1,2\n", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00\x10\x00\x00\x00",
                           npy(PAIRS), b'{"event": [1], "mass": ']),
    content=st.binary(max_size=200),
)  # fmt: skip
def test_whatever_is_in_a_file_there_is_a_list_or_an_error(
    tmp_path: Path, name: str, start: bytes, content: bytes
) -> None:
    (tmp_path / name).write_bytes(start + content)
    try:
        rows = read_rows(tmp_path, name)
    except FileError:
        return
    assert rows.event.dtype == rows.mass.dtype == float
    assert rows.event.shape == rows.mass.shape


GIVEN = {"file": "mass.csv", "model": "gauss", "window": [1, 2]}


def test_what_names_the_lists(tmp_path: Path) -> None:
    folder = hand_in(tmp_path, {"mass": (EVENT, MASS)}, {"mass": GIVEN}, words={"signal": "yes"})
    given = read_artifacts(folder, "hyy")
    assert given.rows["mass"].event.tolist() == EVENT.tolist()
    assert given.lists["mass"].fit == {"model": "gauss", "window": [1.0, 2.0], "unbinned": True, "bins": 120}
    assert given.said == {"words": {"signal": "yes"}}
    with pytest.raises(UnknownNameError, match="family with artifacts"):
        read_artifacts(folder, "tracks")


@pytest.mark.parametrize(
    "table",
    [
        {},
        [],
        None,
        "text",
        {"lists": {}},
        {"lists": {"mass": "mass.csv"}},
        {"lists": {"mass": GIVEN, "more": GIVEN}},
        {"lists": {"mass": {**GIVEN, "file": 3}}},
        {"lists": {"mass": {**GIVEN, "file": "/etc/passwd"}}},
        {"lists": {"mass": {**GIVEN, "window": [1, float("inf")]}}},
        {"lists": {"mass": {**GIVEN, "window": [1, "2"]}}},
        {"lists": {"mass": {**GIVEN, "bins": 1.5}}},
        {"lists": {"mass": {**GIVEN, "cats": 9}}},
        {"lists": {"mass": {"file": "mass.csv"}}},
        {"lists": {"mass": GIVEN}, "answers": {"mass": 125.1}},
        {"lists": {"mass": GIVEN}, "status": 0},
        {"lists": {"mass": GIVEN}, "comments": "x" * 300_000},
    ],
)
def test_what_names_no_lists(tmp_path: Path, table: Any) -> None:
    hand_in(tmp_path, {"mass": (EVENT, MASS)}, {})
    (tmp_path / "artifacts.json").write_text(json.dumps(table))
    with pytest.raises(BeampipeError, match=r"expected|missing") as caught:
        read_artifacts(tmp_path, "hyy")
    assert isinstance(caught.value, FileError | ConfigError)
