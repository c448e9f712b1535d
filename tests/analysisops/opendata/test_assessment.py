"""A task in the public benchmark's form, from its real data (here: a server's) to its grade."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.assessment import ask_here, assess, regrade
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.instances import prepare_open_instance
from beampipe.analysisops.opendata import OpenFile, Selection
from beampipe.analysisops.tasks.load import load_task
from tests.analysisops.tasks.folders import PUBLIC, written
from tests.analysisops.tools.conftest import write_events

from .conftest import FileServer, Page


class Analyst:
    """Fits what it finds, and answers with a trace as the public benchmark's prompts ask for it."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        assert request.files == ("a.root",)
        assert "at most 2 files of 2muons" in request.prompt
        assert '"from": {"fit_result.mu": "call_7.mu"}' in request.prompt
        tools.call("download_atlas_data_tool")
        names = ("pt", "eta", "phi", "e")
        loaded = tools.call(
            "load_kinematics_tool",
            file_path="a.root",
            tree_name="mini",
            branches={name: f"lep_{name}" for name in names},
        )
        pairs = tools.call("calc_dilepton_mass_tool", events=loaded["handle"], **{name: name for name in names})
        light = tools.call("derive_tool", events=pairs["handle"], name="light", expression="mass / 29480")
        fit = tools.call(
            "fit_peak_tool", events=light["handle"], column="light", window=[2.5, 3.7], model="gauss_plus_const"
        )
        return {
            "task_id": request.task_id,
            "status": "ok",
            "fit_result": {"mu": fit["mu"], "sigma": fit["sigma"]},
            "fit_method": {"model": "gauss", "window": [2.5, 3.7]},
            "cuts": [{"cut_id": "two_muons"}, {"cut_id": "charge"}],
            "from": {"fit_result.mu": f"{fit['call']}.mu"},
        }


def test_a_public_task_is_run_and_graded(server: FileServer, tmp_path: Path) -> None:
    write_events(tmp_path / "made.root", 1, 3000)
    url = server.put("a.root", Page((tmp_path / "made.root").read_bytes()))
    task = load_task(written(tmp_path / "task", PUBLIC))

    def catalogue(_: Selection) -> Sequence[OpenFile]:
        return (OpenFile(url),)

    prepared = prepare_open_instance(task, tmp_path / "instance", catalogue=catalogue)
    record = assess(prepared, 1, 0, ask_here(Analyst()), tmp_path / "one")
    assert record.grade["status"] == "ok", record.grade["issues"]
    assert record.grade["final"]["normalized_score"] == 1.0, record.grade["checks"]
    assert record.grade["final"]["max_score"] == 100.0
    assert regrade(record.to_json()) == record.grade
    again = prepare_open_instance(task, tmp_path / "instance", catalogue=catalogue)
    assert again == prepared
    assert len(server.asked) == 1
