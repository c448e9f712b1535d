"""Rows against the data, beside a slow truth; the copy that agents get, and their words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy import ndarray

from beampipe.analysisops.artifacts.candidates import Candidates, read_candidates
from beampipe.analysisops.artifacts.checking import Limits, check_rows
from beampipe.analysisops.artifacts.form import lists_of
from beampipe.analysisops.artifacts.handing import copy_data, what_to_hand_in
from beampipe.analysisops.artifacts.reading import Rows
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.tools import Events, Session
from beampipe.errors import FileError

MADE = Candidates(
    np.array([2.0, 3.0, 5.0, 9.0]),
    np.array([[90.0, np.nan, np.nan], [80.0, 91.0, 120.0], [np.nan] * 3, [91.0, 91.02, np.nan]]),
    {"data.root": "0"},
)


def rows(*pairs: tuple[float, float]) -> Rows:
    table = np.array(pairs, float).reshape(-1, 2)
    return Rows(table[:, 0], table[:, 1])


def test_masses_are_those_of_the_data() -> None:
    found = check_rows(rows((9, 91.021), (3, 119.9), (2, 90.0)), MADE, Limits())
    assert found.masses.tolist() == [91.02, 120.0, 90.0]
    assert not found.void
    assert sum(found.faults.values()) == 0


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
    found = check_rows(rows((9, 91.02), (event, mass)), MADE, Limits())
    assert found.faults == {name: int(name == kind) for name in found.faults}
    assert f"1 {kind}" in found.void
    assert found.masses.tolist() == [91.02]


def test_a_small_share_of_faults_is_left_out() -> None:
    candidates = Candidates(np.arange(2000.0), np.full((2000, 1), 91.0), {})
    mass = np.full(2000, 91.0)
    mass[[3, 4]] = 50.0
    found = check_rows(Rows(np.arange(2000.0), mass), candidates, Limits())
    assert (found.void, len(found.masses)) == ("", 1998)
    mass[5] = 50.0
    assert check_rows(Rows(np.arange(2000.0), mass), candidates, Limits()).void


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
def test_rows_are_right_as_a_slow_look_finds_them(pairs: list[tuple[float, float]]) -> None:
    expected, seen = [], set()
    for event, mass in pairs:
        masses = [one for known, of in zip(MADE.event, MADE.masses, strict=True) if known == event for one in of]
        near = [one for one in masses if np.isfinite(mass) and abs(one - mass) <= 1e-3 * one]
        if near and event not in seen:
            expected.append(min(near, key=lambda one: abs(one - mass)))
        seen.add(event)
    found = check_rows(rows(*pairs), MADE, Limits())
    assert found.masses.tolist() == expected
    assert len(expected) + sum(found.faults.values()) == found.rows == len(pairs)
    assert bool(found.void) == (not pairs or len(expected) < len(pairs))


@pytest.mark.parametrize("family", ["hmumu", "hyy", "hbb", "hzz4l"])
def test_candidates_are_those_of_the_tools(
    instance: Callable[[str], PreparedInstance], tmp_path: Path, family: str
) -> None:
    prepared = instance(family)
    hidden, (wanted,) = prepared.hidden, lists_of(family)
    found = read_candidates(prepared.data, hidden, wanted.role, wanted.collection, wanted.number)
    session = Session(prepared.data, Ledger(tmp_path / "ledger", b"key"))
    fields = ("pt", "eta", "phi", "e")
    branches = {name: hidden.columns[f"{wanted.collection}_{name}"] for name in fields}
    loaded = session.call(
        "load_kinematics_tool",
        file_path=hidden.files["data"][0],
        tree_name=hidden.tree,
        branches={**branches, "event": hidden.columns["eventNumber"]},
    )
    arguments = {**{name: name for name in fields}, "number": wanted.number}
    systems = session.call("calc_system_invariant_mass_tool", events=loaded["handle"], **arguments)
    events = session.content(systems["handle"])
    assert isinstance(events, Events)
    event, mass = events.columns["event"], events.columns["mass"]
    assert isinstance(event, ndarray)
    assert isinstance(mass, ndarray)
    assert len(mass) > 100
    np.testing.assert_allclose(found.nearest(event, mass * hidden.energy_unit), mass * hidden.energy_unit, rtol=1e-9)
    assert found.sources.keys() == set(hidden.files["data"])


def test_faults_of_the_host(instance: Callable[[str], PreparedInstance]) -> None:
    prepared = instance("hyy")
    with pytest.raises(FileError, match="no file of role signal_mc"):
        read_candidates(prepared.data, prepared.hidden, "signal_mc", "photon")


def test_agents_get_a_copy_that_holds_nothing_else(instance: Callable[[str], PreparedInstance], tmp_path: Path) -> None:
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
    words = what_to_hand_in(family)
    shown = json.loads(words[words.index('{"status"') :].replace("LOW, HIGH", "1, 2"))
    assert set(shown["lists"]) == {one.name for one in lists_of(family)}
    assert all(one.what in words for one in lists_of(family))
