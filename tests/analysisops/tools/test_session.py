"""A session: handles, limits, the ledger, and which data a result descends from."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.ledger import Ledger, read_ledger
from beampipe.analysisops.tools.handles import Histogram
from beampipe.analysisops.tools.session import LocalTools, Session, SessionLimits
from beampipe.errors import FileError, UnknownNameError

from .conftest import KEY

MINI = {"file_path": "data.root", "tree_name": "mini"}
LEPTONS = {"pt": "lep_pt", "eta": "lep_eta", "phi": "lep_phi", "e": "lep_e", "q": "lep_charge"}


def load(tools: LocalTools, file: str | list[str] = "data.root") -> str:
    return str(tools.call("load_kinematics_tool", file_path=file, tree_name="mini", branches=LEPTONS)["handle"])


def mass(tools: LocalTools, file: str | list[str] = "data.root") -> str:
    momenta = {"pt": "pt", "eta": "eta", "phi": "phi", "e": "e", "charge": "q"}
    pairs = tools.call("calc_dilepton_mass_tool", events=load(tools, file), pairing="opposite_charge", **momenta)
    return str(tools.call("derive_tool", events=pairs["handle"], name="m", expression="mass / 1000")["handle"])


def test_an_analysis_from_files_to_a_peak(tools: LocalTools, session: Session, ledger: Ledger, tmp_path: Path) -> None:
    handle = mass(tools)
    filled = tools.call("histogram_tool", events=handle, column="m", bins=80, low=81, high=101)
    binned = tools.call("fit_peak_tool", events=filled["handle"], window=[81, 101], model="gauss")
    unbinned = tools.call("fit_peak_tool", events=handle, column="m", window=[81, 101], model="gauss", unbinned=True)
    for fit in (binned, unbinned):
        assert fit["valid"]
        assert abs(fit["mu"] - 91.2) < 5 * fit["mu_error"]
        assert fit["mu_error"] == pytest.approx(2 / np.sqrt(4000), rel=0.1)
        assert fit["p_value"] > 1e-4
    assert binned["mu"] == pytest.approx(unbinned["mu"], abs=0.005)
    entries = read_ledger(tmp_path / "ledger.jsonl", KEY)
    assert entries == ledger.entries
    assert [entry.tool for entry in entries][-1] == "fit_peak_tool"
    assert entries[-1].sources == ("data.root",)
    assert dict(entries[-1].result or {}) == unbinned
    content = session.content(filled["handle"])
    assert isinstance(content, Histogram)
    assert content.values.sum() == filled["n"]


def test_sources_follow_handles_and_numbers(tools: LocalTools, ledger: Ledger) -> None:
    both = tools.call("combine_tool", events=[load(tools), load(tools, "signal.root")], scale=[1.0, 0.37])
    counted = tools.call("count_tool", events=both["handle"], weight="weight", expression="count(pt) > 2")
    assert ledger.entries[-1].sources == ("data.root", "signal.root")
    call = counted["call"]
    for expression, sources in {
        "x": ("data.root", "signal.root"),
        "1 + 0 * x": (),
        "1 + x / 1000**3": (),
        "2": (),
    }.items():
        tools.call("calculate_tool", expression=expression, values={"x": f"{call}.error"})
        assert ledger.entries[-1].sources == sources, expression
    doubled = tools.call("calculate_tool", expression="2 * x", values={"x": f"{call}.error"})
    tools.call("calculate_tool", expression="2 * x", values={"x": f"{doubled['call']}.value"})
    assert ledger.entries[-1].sources == ("data.root", "signal.root"), "of a result of a result"


def test_what_the_agent_chose_is_no_result(tools: LocalTools) -> None:
    fit = tools.call("fit_peak_tool", events=mass(tools), column="m", window=[81.37, 100.73], model="gauss")
    with pytest.raises(ToolRefusedError, match="chosen, not measured"):
        tools.call("calculate_tool", expression="a", values={"a": f"{fit['call']}.window.0"})


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("fit_peek_tool", {}, "fit_peak_tool"),
        ("count_tool", {}, "events"),
        ("count_tool", {"events": "events_9"}, "events_9"),
        ("count_tool", {"events": "e", "expresion": ""}, "did you mean 'expression'"),
        ("count_tool", {"events": 3}, "string"),
        ("load_kinematics_tool", {"file_path": "dat.root", "tree_name": "mini", "branches": {"a": "b"}}, "data.root"),
        ("load_kinematics_tool", {"file_path": "../x", "tree_name": "mini", "branches": {"a": "b"}}, "list_local"),
        ("load_kinematics_tool", {"file_path": "hidden.txt", "tree_name": "t", "branches": {"a": "b"}}, "list_local"),
        ("load_kinematics_tool", {"file_path": "b.log", "tree_name": "t", "branches": {"a": "b"}}, "no ROOT file"),
        ("load_kinematics_tool", {"file_path": "data.root", "tree_name": "t", "branches": {"a": "met"}}, "mini"),
        ("load_kinematics_tool", {"file_path": "data.root", "tree_name": "mini", "branches": {"a": "mett"}}, "'met'"),
        ("load_kinematics_tool", {"file_path": "data.root", "tree_name": "mini", "branches": {"sum": "met"}}, "'sum'"),
        ("limit_tool", {"observed": 1, "background": float("nan"), "background_error": 1, "signal": 1}, "finite"),
        ("calculate_tool", {"expression": "a", "values": {"a": b"x"}}, "JSON"),
        ("calculate_tool", {"expression": "a" * 70_000, "values": {}}, "pass handles"),
    ],
)
def test_refusals_say_what_to_do_and_are_in_the_ledger(
    tools: LocalTools, ledger: Ledger, data: Path, tool: str, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ToolRefusedError, match=r"got|expected") as refused:
        tools.call(tool, **arguments)
    assert says in str(refused.value)
    assert str(data) not in str(refused.value)
    (entry,) = ledger.entries
    assert entry.error == str(refused.value)
    assert entry.result is None
    assert entry.sources == ()


def test_calls_run_out(data: Path, ledger: Ledger) -> None:
    tools = LocalTools(Session(data, ledger, SessionLimits(calls=2)))
    tools.call("list_local_root_files_tool")
    tools.call("list_local_root_files_tool")
    for _ in range(3):
        with pytest.raises(ToolRefusedError, match="answer with what you have"):
            tools.call("list_local_root_files_tool")
    assert [bool(entry.error) for entry in ledger.entries] == [False, False, True]


def test_memory_runs_out_and_nothing_is_kept(data: Path, ledger: Ledger) -> None:
    session = Session(data, ledger, SessionLimits(bytes_held=700_000))
    first = load(LocalTools(session))
    with pytest.raises(ToolRefusedError, match="memory"):
        load(LocalTools(session))
    session.content(first)
    with pytest.raises(UnknownNameError, match="events_2"):
        session.content("events_2")


@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("combine_tool", lambda first: {"events": [first] * 1000}, "memory"),
        ("load_kinematics_tool", lambda _: {**MINI, "branches": {f"b{i}": "lep_pt" for i in range(1000)}}, "memory"),
        (
            "calc_system_invariant_mass_tool",
            lambda first: {"events": first, **{name: ["pt"] * 1000 for name in ("pt", "eta", "phi", "e")}},
            "1 to 16 collections",
        ),
    ],
    ids=["many handles", "many branches", "many collections"],
)
def test_a_flood_is_refused_before_it_fills_the_memory(
    data: Path, ledger: Ledger, tool: str, arguments: Callable[[str], dict[str, Any]], reason: str
) -> None:
    session = Session(data, ledger, SessionLimits(bytes_held=1_000_000))
    given = arguments(load(LocalTools(session)))
    tracemalloc.start()
    try:
        with pytest.raises(ToolRefusedError, match=reason):
            session.call(tool, **given)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("clock", "step", "refused"),
    [
        ("thread_time", 61.0, "time: got more than 60 s of processor time"),
        ("monotonic", 601.0, "time: got more than 600 s of wall time"),
        ("thread_time", 1e-3, ""),
        ("monotonic", 1.0, ""),
    ],
)
def test_processor_time_runs_out_and_much_wall_time(
    data: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, clock: str, step: float, refused: str
) -> None:
    times = itertools.count(0.0, step)
    monkeypatch.setattr(f"beampipe.analysisops.contract.time.{clock}", lambda: next(times))
    tools = LocalTools(Session(data, ledger))
    if refused:
        with pytest.raises(ToolRefusedError, match=refused):
            load(tools)
    else:
        load(tools)
    assert ledger.entries[0].error.startswith(refused)
    assert bool(ledger.entries[0].error) == bool(refused)


def test_threads_take_turns(data: Path, ledger: Ledger, tmp_path: Path) -> None:
    session = Session(data, ledger)
    threads = [threading.Thread(target=load, args=(LocalTools(session),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handles = {(entry.result or {})["handle"] for entry in read_ledger(tmp_path / "ledger.jsonl", KEY)}
    assert handles == {f"events_{i}" for i in range(1, 9)}


@pytest.mark.parametrize("manifest", ["", "[]", '{"files": [{"role": "data"}]}', '{"files": [{"name": "../x"}]}'])
def test_a_manifest_that_cannot_be_used(tmp_path: Path, ledger: Ledger, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(FileError, match=r"manifest\.json"):
        Session(tmp_path, ledger)


def test_a_link_out_of_the_folder_is_no_file(tmp_path: Path, ledger: Ledger) -> None:
    secret = tmp_path / "secret.log"
    secret.write_text("the truth")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.log").symlink_to(secret)
    (folder / "b.log").write_text("open")
    (folder / "manifest.json").write_text(
        '{"files": [{"name": "a.log", "role": "log"}, {"name": "b.log", "role": "log"}]}'
    )
    with pytest.raises(ToolRefusedError, match=r"a\.log"):
        Session(folder, ledger).call("read_log_tool", file="a.log")
