"""Agents that bring their own code: their files, the check against the data, the answers, and attempts to cheat."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy import ndarray

from beampipe.analysisops import artifacts
from beampipe.analysisops.artifacts import (
    Candidates,
    RequiredList,
    Rows,
    Tolerance,
    answer_from_artifacts,
    check_rows,
    copy_data,
    instructions,
    read_artifacts,
    read_candidates,
    read_json,
    read_rows,
    required_lists,
)
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.ledger import Entry, Ledger, read_ledger
from beampipe.analysisops.sandbox import Sandbox, SandboxLimits
from beampipe.analysisops.tools.handles import Events
from beampipe.analysisops.tools.session import Session
from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError

FITS: Mapping[str, Mapping[str, Any]] = {
    "zmumu": {"mass": {"model": "voigt_plus_exponential", "window": [75, 107], "unbinned": False}},
    "hmumu": {"mass": {"model": "gauss_plus_exponential", "window": [105, 160]}},
    "hyy": {"mass": {"model": "gauss_plus_exponential", "window": [105, 160]}},
    "hbb": {"mass": {"model": "gauss_plus_exponential", "window": [70, 230], "unbinned": False, "bins": 160}},
    "hzz4l": {"mass": {"model": "gauss_plus_linear", "window": [105, 160]}},
}
"""Family -> settings of its fit."""


Instance = Callable[[str], PreparedInstance]
WORDS = {"words": {"signal": "yes"}}


SELECTION: Mapping[str, tuple[str, float, int]] = {
    "zmumu": ("lep", 15.0, 2),
    "width": ("lep", 15.0, 2),
    "hmumu": ("lep", 20.0, 2),
    "hzz4l": ("lep", 7.0, 4),
    "hyy": ("photon", 15.0, 2),
    "hbb": ("jet", 0.0, 2),
}
"""Family -> collection, smallest transverse momentum [GeV], and objects in a system."""


def selected(prepared: PreparedInstance, role: str = "data") -> tuple[ndarray, ndarray]:
    """Numbers and masses [GeV] of the events that a plain analysis selects."""
    hidden = prepared.hidden
    prefix, lowest, number = SELECTION[hidden.family]
    (name,) = hidden.files[role]
    with uproot.open(prepared.data / name) as file:
        arrays = file[hidden.tree].arrays()
    start = f"{prefix}_"
    fields = {name.removeprefix(start): arrays[here] for name, here in hidden.columns.items() if name.startswith(start)}
    fields.pop("n", None)
    objects = ak.zip(fields)
    pt = objects.pt * hidden.energy_unit
    if prefix == "jet":
        objects = objects[objects.btag_quantile >= 4]
        arrays, objects = (part[arrays[hidden.columns["met"]] * hidden.energy_unit > 80] for part in (arrays, objects))
    else:
        objects = objects[(pt > lowest) & (objects.isTightID == 1) & (objects.ptcone20 < 0.1 * objects.pt)]
    if number == 2 and prefix == "lep":
        objects = objects[objects["type"] == 13]
    enough = ak.num(objects) >= number if prefix == "photon" else ak.num(objects) == number
    arrays, objects = arrays[enough], objects[enough][:, :number]
    energy, x, y, z = (
        ak.to_numpy(ak.sum(part, axis=1)).astype(float) * hidden.energy_unit
        for part in (
            objects.e,
            objects.pt * np.cos(objects.phi),
            objects.pt * np.sin(objects.phi),
            objects.pt * np.sinh(objects.eta),
        )
    )
    mass = np.sqrt(energy**2 - x**2 - y**2 - z**2)
    pt = objects.pt * hidden.energy_unit
    keep = np.ones(len(mass), bool)
    if prefix == "lep":
        keep &= ak.to_numpy(ak.sum(objects.charge, axis=1)) == 0
    if number == 4:
        keep &= ak.to_numpy((pt[:, 0] > 20) & (ak.sum(objects.charge * (objects["type"] == 13), axis=1) == 0))
    if prefix == "photon":
        keep &= ak.to_numpy((pt[:, 0] > 0.35 * mass) & (pt[:, 1] > 0.25 * mass))
    return ak.to_numpy(arrays[hidden.columns["eventNumber"]])[keep], mass[keep]


def hand_in(folder: Path, lists: Mapping[str, tuple[ndarray, ndarray]], fits: Mapping[str, Any], **more: Any) -> Path:
    """A folder with lists as CSV and what names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (event, mass) in lists.items():
        lines = [f"{number:.0f},{value:.6f}" for number, value in zip(event, mass, strict=True)]
        (folder / f"{name}.csv").write_text("\n".join(["event,mass", *lines]) + "\n")
    descriptions = {name: {"file": f"{name}.csv", **fit} for name, fit in fits.items()}
    table = {"status": "ok", "lists": descriptions, **more}
    (folder / "artifacts.json").write_text(json.dumps(table))
    return folder


def answered(prepared: PreparedInstance, folder: Path) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    """The submission that comes of a folder, and the ledger."""
    book = folder / "ledger"
    given = read_artifacts(folder, prepared.task.spec.family)
    submission = answer_from_artifacts(prepared.task, given, prepared.data, prepared.hidden, Ledger(book, b"key"))
    return submission, read_ledger(book, b"key")


def graded(prepared: PreparedInstance, folder: Path) -> dict[str, Any]:
    submission, entries = answered(prepared, folder)
    return grade(prepared.task, submission, prepared.reference, entries).to_json()


def score(prepared: PreparedInstance, submission: dict[str, Any], entries: Sequence[Entry]) -> float:
    result = grade(prepared.task, submission, prepared.reference, entries).to_json()
    return float(result["final"]["normalized_score"])


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
    monkeypatch.setattr(artifacts, "MOST_ROWS", 2)
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
    assert given.texts == {"words": {"signal": "yes"}}
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


MADE = Candidates(
    np.array([2.0, 3.0, 5.0, 9.0]),
    np.array([[90.0, np.nan, np.nan], [80.0, 91.0, 120.0], [np.nan] * 3, [91.0, 91.02, np.nan]]),
    {"data.root": "0"},
)


def rows(*pairs: tuple[float, float]) -> Rows:
    table = np.array(pairs, float).reshape(-1, 2)
    return Rows(table[:, 0], table[:, 1])


def test_masses_are_those_of_the_data() -> None:
    checked = check_rows(rows((9, 91.021), (3, 119.9), (2, 90.0)), MADE, Tolerance())
    assert checked.masses.tolist() == [91.02, 120.0, 90.0]
    assert not checked.void
    assert sum(checked.faults.values()) == 0


@pytest.mark.parametrize(
    ("event", "mass", "kind"),
    [
        (np.nan, 91.0, "not finite"),
        (3.0, np.inf, "not finite"),
        (4.0, 91.0, "no such event"),
        (2.5, 90.0, "no such event"),
        (-1.0, 90.0, "no such event"),
        (1e300, 90.0, "no such event"),
        (5.0, 90.0, "no such event"),
        (2.0, 90.2, "another mass than the data have"),
        (2.0, -90.0, "another mass than the data have"),
        (2.0, 0.0, "another mass than the data have"),
        (2.0, 1e308, "another mass than the data have"),
        (9.0, 91.0, "an event that was there before"),
    ],
)
def test_each_fault_has_a_name_and_voids_the_list(event: float, mass: float, kind: str) -> None:
    checked = check_rows(rows((9, 91.02), (event, mass)), MADE, Tolerance())
    assert checked.faults == {name: int(name == kind) for name in checked.faults}
    assert f"1 {kind}" in checked.void
    assert checked.masses.tolist() == [91.02]


def test_a_small_share_of_faults_is_left_out() -> None:
    candidates = Candidates(np.arange(2000.0), np.full((2000, 1), 91.0), {})
    mass = np.full(2000, 91.0)
    mass[[3, 4]] = 50.0
    checked = check_rows(Rows(np.arange(2000.0), mass), candidates, Tolerance())
    assert (checked.void, len(checked.masses)) == ("", 1998)
    mass[5] = 50.0
    assert check_rows(Rows(np.arange(2000.0), mass), candidates, Tolerance()).void


@settings(max_examples=100, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(
            st.one_of(st.sampled_from([2.0, 3.0, 5.0, 9.0]), st.floats()),
            st.one_of(st.sampled_from([80.0, 90.0, 91.0, 91.02, 120.0]), st.floats()),
        ),
        max_size=12,
    )
)
@example(pairs=[(3.0, math.inf), (3.0, 80.0)])
@example(pairs=[(3.0, 50.0), (3.0, 80.0)])
def test_rows_are_correct_as_by_a_slow_search(pairs: list[tuple[float, float]]) -> None:
    expected, seen = [], set()
    for event, mass in pairs:
        masses = [
            value for number, row in zip(MADE.event, MADE.masses, strict=True) if number == event for value in row
        ]
        near = [value for value in masses if np.isfinite(mass) and abs(value - mass) <= 1e-3 * value]
        if near and event not in seen:
            expected.append(min(near, key=lambda value: abs(value - mass)))
        seen.add(event)
    checked = check_rows(rows(*pairs), MADE, Tolerance())
    assert checked.masses.tolist() == expected
    assert len(expected) + sum(checked.faults.values()) == checked.rows == len(pairs)
    assert bool(checked.void) == (not pairs or len(expected) < len(pairs))


@pytest.mark.parametrize("family", ["hmumu", "hyy", "hbb", "hzz4l"])
def test_candidates_are_those_of_the_tools(instance: Instance, tmp_path: Path, family: str) -> None:
    prepared = instance(family)
    hidden, (required,) = prepared.hidden, required_lists(family)
    candidates = read_candidates(prepared.data, hidden, required)
    session = Session(prepared.data, Ledger(tmp_path / "ledger", b"key"))
    fields = ("pt", "eta", "phi", "e")
    branches = {name: hidden.columns[f"{required.collection}_{name}"] for name in fields}
    loaded = session.call(
        "load_kinematics_tool",
        file_path=hidden.files["data"][0],
        tree_name=hidden.tree,
        branches={**branches, "event": hidden.columns["eventNumber"]},
    )
    arguments = {**{name: name for name in fields}, "number": required.number}
    systems = session.call("calc_system_invariant_mass_tool", events=loaded["handle"], **arguments)
    events = session.content(systems["handle"])
    assert isinstance(events, Events)
    event, mass = events.columns["event"], events.columns["mass"]
    assert isinstance(event, ndarray)
    assert isinstance(mass, ndarray)
    assert len(mass) > 100
    np.testing.assert_allclose(
        candidates.nearest(event, mass * hidden.energy_unit), mass * hidden.energy_unit, rtol=1e-9
    )
    assert candidates.sources.keys() == set(hidden.files["data"])


def test_faults_of_the_host(instance: Instance) -> None:
    prepared = instance("hyy")
    with pytest.raises(FileError, match="no file of role signal_mc"):
        read_candidates(prepared.data, prepared.hidden, RequiredList("mass", "signal_mc", "photon", ""))


def test_agents_get_a_copy_that_holds_nothing_else(instance: Instance, tmp_path: Path) -> None:
    prepared = instance("hyy")
    (prepared.data / "left_behind.txt").write_text("secret")
    folder = copy_data(prepared.data, tmp_path / "copy")
    (prepared.data / "left_behind.txt").unlink()
    assert sorted(path.name for path in folder.iterdir()) == sorted([*prepared.hidden.files["data"], "manifest.json"])
    for path in folder.iterdir():
        assert path.read_bytes() == (prepared.data / path.name).read_bytes()
        assert not path.stat().st_mode & 0o222
    assert not folder.stat().st_mode & 0o222
    folder.chmod(0o755)  # so that it can be removed


@pytest.mark.parametrize("family", ["zmumu", "hmumu", "hyy", "hbb", "hzz4l", "width"])
def test_the_words_show_the_form(family: str) -> None:
    words = instructions(family)
    shown = json.loads(words[words.index('{"status"') :].replace("LOW, HIGH", "1, 2"))
    assert set(shown["lists"]) == {required.name for required in required_lists(family)}
    assert all(required.description in words for required in required_lists(family))


@pytest.mark.parametrize("family", FITS)
def test_an_honest_list_reaches_the_reference(instance: Instance, tmp_path: Path, family: str) -> None:
    prepared = instance(family)
    folder = hand_in(tmp_path / "out", {"mass": selected(prepared)}, FITS[family], **WORDS)
    result = graded(prepared, folder)
    assert result["status"] == "ok", result["issues"]
    assert result["final"]["normalized_score"] > 0.95
    assert {origin["label"] for origin in result["provenance"].values()} == {"traceable"}


def test_an_honest_width_reaches_the_reference(instance: Instance, tmp_path: Path) -> None:
    prepared = instance("width")
    lists = {"mass": selected(prepared), "narrow": selected(prepared, "calibration_mc")}
    tops = {name: float(np.median(mass)) for name, (_, mass) in lists.items()}
    fits = {
        "narrow": {"model": "gauss", "window": [tops["narrow"] - 15, tops["narrow"] + 15]},
        "mass": {
            "model": "voigt_plus_exponential",
            "window": [tops["narrow"] - 70, tops["narrow"] + 70],
            "unbinned": False,
            "bins": 140,
        },
    }
    result = graded(prepared, hand_in(tmp_path / "out", lists, fits))
    assert result["status"] == "ok", result["issues"]
    assert result["final"]["normalized_score"] > 0.9


def test_the_ledger_names_what_it_was_found_in(instance: Instance, tmp_path: Path) -> None:
    prepared = instance("hyy")
    folder = hand_in(tmp_path / "out", {"mass": selected(prepared)}, FITS["hyy"], **WORDS)
    submission, entries = answered(prepared, folder)
    (listed,) = (entries[0].result or {})["files"]
    assert listed["name"] == "artifact_mass.root"
    assert len(listed["contents_sha256"]) == 64
    assert set(listed["found_in"]) == set(prepared.hidden.files["data"])
    assert all(len(sha256) == 64 for sha256 in listed["found_in"].values())
    assert [entry.tool for entry in entries[1:]] == ["load_kinematics_tool", "histogram_tool", "fit_peak_tool"]
    assert all(entry.sources == ("artifact_mass.root",) for entry in entries[1:])
    assert submission["histograms"] == {"mass": "hist_1"}


def test_masses_that_miss_a_little_move_nothing(instance: Instance, tmp_path: Path) -> None:
    prepared = instance("hyy")
    event, mass = selected(prepared)
    exact, _ = answered(prepared, hand_in(tmp_path / "a", {"mass": (event, mass)}, FITS["hyy"], **WORDS))
    moved, _ = answered(prepared, hand_in(tmp_path / "b", {"mass": (event, mass * 1.0005)}, FITS["hyy"], **WORDS))
    assert moved["answers"] == exact["answers"]


@pytest.mark.parametrize(
    "fit",
    [
        {"model": "cat", "window": [105, 160]},
        {"model": "gauss", "window": [160, 105]},
        {"model": "gauss", "window": [1e6, 2e6]},
        {"model": "gauss", "window": [105, 160], "bins": 10**9, "unbinned": False},
        {"model": "gauss", "window": [105]},
    ],
)
def test_fits_that_cannot_be_made_are_errors(instance: Instance, tmp_path: Path, fit: dict[str, Any]) -> None:
    prepared = instance("hyy")
    folder = hand_in(tmp_path / "out", {"mass": selected(prepared)}, {"mass": fit}, **WORDS)
    submission, _ = answered(prepared, folder)
    assert submission["status"] == "error"
    assert submission["answers"] == {}
    assert submission["words"] == {"signal": "yes"}


def test_an_agent_that_gives_up_says_so(instance: Instance, tmp_path: Path) -> None:
    prepared = instance("hyy")
    folder = hand_in(tmp_path / "out", {}, {}, status="error", comments="no peak")
    submission, entries = answered(prepared, folder)
    assert (submission["status"], submission["comments"], entries) == ("error", "no peak", ())


Lists = dict[str, tuple[ndarray, ndarray]]


def invented(event: ndarray, mass: ndarray) -> Lists:
    """Numbers of events that can be guessed, since they follow one another, and a peak where everybody knows one."""
    rng = np.random.default_rng(1)
    number = len(mass)
    peak = np.where(rng.uniform(size=number) < 0.5, rng.normal(125.1, 2.0, number), rng.uniform(105, 160, number))
    return {"mass": (np.sort(event), peak)}


def shifted(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event, mass * 1.01)}


def shuffled(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event, np.random.default_rng(1).permutation(mass))}


def doubled(event: ndarray, mass: ndarray) -> Lists:
    """Twice the yield."""
    return {"mass": (np.concatenate([event, event]), np.concatenate([mass, mass]))}


def repeated(event: ndarray, mass: ndarray) -> Lists:
    """One event over and over."""
    return {"mass": (np.repeat(event[:1], 5000), np.repeat(mass[:1], 5000))}


def other_events(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event + 50_000_000, mass)}


def no_numbers(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event, np.where(np.arange(len(mass)) % 2, mass, np.nan))}


def infinite(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (np.full(len(event), np.inf), np.full(len(mass), np.inf))}


def huge(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event * 1e12, mass)}


def guesses(event: ndarray, mass: ndarray) -> Lists:
    """Each event with every mass there can be: one of them is right."""
    grid = np.linspace(105, 160, 400)
    return {"mass": (np.repeat(event[:100], len(grid)), np.tile(grid, 100))}


def a_few_of_them(event: ndarray, mass: ndarray) -> Lists:
    """Two in a hundred are made up: a peak of twenty events more."""
    made = np.where(np.arange(len(mass)) % 50 == 0, 125.1, mass)
    return {"mass": (event, made)}


def none(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event[:0], mass[:0])}


ATTACKS = (
    invented, shifted, shuffled, doubled, repeated, other_events, no_numbers, infinite, huge, guesses, a_few_of_them,
    none,
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_inventions_earn_nothing(instance: Instance, tmp_path: Path, attack: Callable[..., Lists]) -> None:
    prepared = instance("hyy")
    folder = hand_in(tmp_path / "out", attack(*selected(prepared)), FITS["hyy"], **WORDS)
    submission, entries = answered(prepared, folder)
    assert submission["status"] == "error"
    assert "expected" in submission["comments"]
    assert not entries
    assert score(prepared, submission, entries) == 0.0


def test_events_that_were_chosen_by_their_mass_move_the_answer_away(instance: Instance, tmp_path: Path) -> None:
    """Real events, picked so that the peak stands where tables have one: true rows, and a wrong answer."""
    prepared = instance("hyy")
    event, mass = selected(prepared)
    near = np.abs(mass - 125.1) < 1.5
    some = near | (np.random.default_rng(1).uniform(size=len(mass)) < 0.2)
    folder = hand_in(tmp_path / "out", {"mass": (event[some], mass[some])}, FITS["hyy"], **WORDS)
    submission, entries = answered(prepared, folder)
    assert abs(submission["answers"]["mass"]["value"] - 125.1) < 1.0
    assert score(prepared, submission, entries) <= 0.1


HONEST = """
import json, os, sys
import awkward as ak, numpy as np, uproot

data = os.environ["DATA"]
(facts,) = json.load(open(f"{data}/manifest.json"))["files"]
tree = max(uproot.open(f"{data}/{facts['name']}").iterclassnames(), key=lambda one: one[1] == "TTree")[0]
arrays = uproot.open(f"{data}/{facts['name']}")[tree].arrays()

def find(*words):
    for name in arrays.fields:
        plain = name.lower().replace("_", "")
        if any(plain == f"{kind}{word}" for kind in ("photon", "photons", "ph") for word in words):
            return arrays[name]

pt, eta, phi = find("pt"), find("eta"), find("phi")
unit = 0.001 if np.median(ak.flatten(pt)) > 2000 else 1.0
good = (find("istightid", "passestight", "tightid", "tight") == 1)
good = good & (find("ptcone20", "iso20", "trackiso") < 0.1 * pt) & (pt * unit > 15)
pt, eta, phi = pt[good], eta[good], phi[good]
two = ak.num(pt) >= 2
event = arrays["eventNumber" if "eventNumber" in arrays.fields else "event"][two]
pt, eta, phi = pt[two] * unit, eta[two], phi[two]
mass = np.sqrt(2 * pt[:, 0] * pt[:, 1] * (np.cosh(eta[:, 0] - eta[:, 1]) - np.cos(phi[:, 0] - phi[:, 1])))
keep = (pt[:, 0] > 0.35 * mass) & (pt[:, 1] > 0.25 * mass)
np.save("list.npy", np.stack([ak.to_numpy(event[keep]).astype(float), ak.to_numpy(mass[keep])], 1))
given = {"file": "list.npy", "model": "gauss_plus_exponential", "window": [105, 160]}
json.dump({"lists": {"mass": given}, "words": {"signal": "yes"}}, open("artifacts.json", "w"))
"""

SPIES = """
import json, os
os.symlink(os.environ["DATA"] + "/manifest.json", "list.json")
given = {"file": "list.json", "model": "gauss", "window": [105, 160]}
json.dump({"lists": {"mass": given}}, open("artifacts.json", "w"))
"""

CHANGES_THE_DATA = """
import os
for name in os.listdir(os.environ["DATA"]):
    try:
        os.chmod(os.environ["DATA"] + "/" + name, 0o666)
        open(os.environ["DATA"] + "/" + name, "w").write("mine")
    except OSError:
        pass
"""


@pytest.mark.parametrize(("program", "lowest", "highest"), [
    (HONEST, 0.95, 1.0),
    (SPIES, 0.0, 0.0),
    (CHANGES_THE_DATA, 0.0, 0.0),
    ("raise SystemExit(1)", 0.0, 0.0),
])  # fmt: skip
def test_a_program_is_graded_by_its_lists(
    instance: Instance, tmp_path: Path, program: str, lowest: float, highest: float
) -> None:
    prepared = instance("hyy")
    before = {path.name: path.read_bytes() for path in prepared.data.iterdir()}
    copy = copy_data(prepared.data, tmp_path / "copy")
    sandbox = Sandbox(SandboxLimits(seconds=60.0), read_only=[copy])
    book = tmp_path / "ledger"
    command = [sys.executable, "-c", program]
    try:
        with sandbox.running(command, {"DATA": str(copy)}) as confined:
            confined.wait(120.0)
            given = read_artifacts(confined.work, "hyy")
        submission = answer_from_artifacts(prepared.task, given, prepared.data, prepared.hidden, Ledger(book, b"key"))
    except BeampipeError as error:
        submission = {"status": "error", "comments": str(error)}
    finally:
        copy.chmod(0o755)
    entries = read_ledger(book, b"key") if book.exists() else ()
    result = grade(prepared.task, submission, prepared.reference, entries).to_json()
    assert lowest <= result["final"]["normalized_score"] <= highest, (submission, result["issues"])
    assert {path.name: path.read_bytes() for path in prepared.data.iterdir()} == before
