"""Files, loading, combining and selecting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.tools.handles import Events, Jagged
from beampipe.analysisops.tools.session import LocalTools, Session

LEPTONS = {"pt": "lep_pt", "eta": "lep_eta", "q": "lep_charge", "met": "met", "trigger": "trigger"}


def load(tools: LocalTools, file: str | list[str] = "data.root", **more: int) -> str:
    loaded = tools.call("load_kinematics_tool", file_path=file, tree_name="mini", branches=LEPTONS, **more)
    return str(loaded["handle"])


def content(session: Session, handle: str) -> Events:
    events = session.content(handle)
    assert isinstance(events, Events)
    return events


def test_files_are_those_of_the_manifest(tools: LocalTools) -> None:
    listed = tools.call("list_local_root_files_tool")
    assert [file["name"] for file in listed["files"]] == ["data.root", "signal.root", "metrics.json", "b.log"]
    assert listed["files"][1]["cross_section_pb"] == 2.5
    assert listed["files"][0]["bytes"] > 1000
    assert listed["public"] == {"luminosity_fb": 10.0}
    assert not any("sha256" in file for file in listed["files"])
    downloaded = tools.call("download_atlas_data_tool")["files"]
    assert [file["name"] for file in downloaded] == [file["name"] for file in listed["files"]]


@pytest.mark.parametrize("arguments", [{"skim": "../../etc"}, {"skim": "2muons"}, {"release": "2016e-8tev"}])
def test_other_data_than_those_of_the_task_are_refused(tools: LocalTools, arguments: dict[str, str]) -> None:
    with pytest.raises(ToolRefusedError, match="expected none; only the data of this task are here"):
        tools.call("download_atlas_data_tool", **arguments)


def test_the_schema_shows_units(tools: LocalTools) -> None:
    tree = tools.call("inspect_root_schema_tool", file_path="data.root")["trees"]["mini"]
    assert tree["n_entries"] == 4000
    assert tree["branches"]["lep_pt"]["jagged"]
    assert 40_000 < tree["branches"]["lep_pt"]["median"] < 50_000
    assert not tree["branches"]["met"]["jagged"]
    short = tools.call("inspect_root_schema_tool", file_path="data.root", max_branches_per_tree=2)["trees"]["mini"]
    assert len(short["branches"]) == 2
    assert short["truncated"]


def test_columns_are_those_of_the_file(tools: LocalTools, session: Session, data: Path) -> None:
    import awkward as ak
    import uproot

    events = content(session, load(tools, ["data.root", "signal.root"]))
    arrays = [
        uproot.open(data / name)["mini"].arrays(["lep_pt", "met", "trigger"]) for name in ("data.root", "signal.root")
    ]
    truth = ak.concatenate(arrays)
    pt = events.columns["pt"]
    assert isinstance(pt, Jagged)
    assert pt.values.tolist() == ak.to_list(ak.ravel(truth.lep_pt))
    assert pt.counts.tolist() == ak.to_list(ak.num(truth.lep_pt))
    assert np.asarray(events.columns["met"]).tolist() == ak.to_list(truth.met)
    assert np.asarray(events.columns["trigger"]).dtype == bool
    eta = events.columns["eta"]
    assert isinstance(eta, Jagged)
    assert eta.offsets is pt.offsets


def test_a_range_of_entries(tools: LocalTools, session: Session) -> None:
    whole, part = content(session, load(tools)), content(session, load(tools, entry_start=10, entry_stop=25))
    assert part.n == 15
    assert np.array_equal(np.asarray(part.columns["met"]), np.asarray(whole.columns["met"])[10:25])
    assert content(session, load(tools, entry_start=4000)).n == 0
    with pytest.raises(ToolRefusedError, match="entry_start"):
        load(tools, entry_start=4001)
    with pytest.raises(ToolRefusedError, match="twice"):
        load(tools, ["data.root", "data.root"])


def test_selections_against_masks(tools: LocalTools, session: Session) -> None:
    handle = load(tools)
    events = content(session, handle)
    met, trigger, pt = (events.columns[name] for name in ("met", "trigger", "pt"))
    assert isinstance(pt, Jagged)
    mask = (np.asarray(met) > 15_000) & np.asarray(trigger) & (pt.counts >= 3)
    selected = tools.call("select_tool", events=handle, expression="met > 15000 and trigger and count(pt) >= 3")
    assert selected["n_events"] == mask.sum() == tools.call("count_tool", events=selected["handle"])["n"]
    assert 0 < mask.sum() < events.n == selected["n_before"]
    kept = content(session, selected["handle"]).columns["pt"]
    assert isinstance(kept, Jagged)
    assert kept.values.tolist() == pt.values[np.repeat(mask, pt.counts)].tolist()


def test_objects_are_thinned_and_events_stay(tools: LocalTools, session: Session) -> None:
    handle = load(tools)
    thinned = tools.call("select_objects_tool", events=handle, columns=["pt", "q"], expression="pt > 10000 and q > 0")
    before, after = content(session, handle).columns, content(session, thinned["handle"]).columns
    old, new, charge, eta = before["pt"], after["pt"], after["q"], after["eta"]
    assert isinstance(old, Jagged)
    assert isinstance(new, Jagged)
    assert isinstance(charge, Jagged)
    assert thinned["n_objects"] == len(new.values) < len(old.values) == thinned["n_objects_before"]
    assert thinned["n_events"] == 4000
    assert (charge.values > 0).all()
    assert charge.offsets is new.offsets
    assert eta is before["eta"]
    with pytest.raises(ToolRefusedError, match="different numbers of objects"):
        tools.call("derive_tool", events=thinned["handle"], name="x", expression="sum(pt * eta)")
    with pytest.raises(ToolRefusedError, match="met"):
        tools.call("select_objects_tool", events=handle, columns=["met"], expression="pt > 1")


def test_weights_of_samples_taken_together(tools: LocalTools) -> None:
    first, second = load(tools), load(tools, "signal.root")
    once = tools.call("combine_tool", events=[first, second], scale=[2.0, 0.5])
    assert once["n_events"] == 5000
    counted = tools.call("count_tool", events=once["handle"], weight="weight")
    assert counted["sum_weights"] == pytest.approx(4000 * 2 + 1000 * 0.5)
    assert counted["error"] == pytest.approx(np.sqrt(4000 * 4 + 1000 * 0.25))
    again = tools.call("combine_tool", events=[once["handle"]], scale=[3.0])
    assert again["columns"]["weight"]["max"] == 6.0
    with pytest.raises(ToolRefusedError, match="scale"):
        tools.call("combine_tool", events=[first, second], scale=[1.0])


def test_a_histogram_counts_everything_once(tools: LocalTools, session: Session) -> None:
    handle = load(tools)
    filled = tools.call("histogram_tool", events=handle, column="pt", bins=30, low=10_000, high=46_000)
    pt = content(session, handle).columns["pt"]
    assert isinstance(pt, Jagged)
    counts, edges = np.histogram(pt.values, np.linspace(10_000, 46_000, 31))
    assert filled["values"] == counts.tolist() == filled["variances"]
    assert filled["edges"] == edges.tolist()
    assert filled["underflow"] + sum(filled["values"]) + filled["overflow"] == len(pt.values)
    for wrong in ({"bins": 401}, {"bins": 0}, {"high": 10_000}):
        with pytest.raises(ToolRefusedError, match="bins"):
            tools.call(
                "histogram_tool",
                **{"events": handle, "column": "pt", "bins": 3, "low": 10_000, "high": 46_000, **wrong},
            )
