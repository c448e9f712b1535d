"""Workspaces: a counting experiment that is solved by hand, what is refused, and no number of the agent's own."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.tools.session import LocalTools, Session, SessionLimits
from beampipe.analysisops.tools.workspaces import fit_workspace, read_workspace

SIGNAL, BACKGROUND, CONTROL = 40, 30, 300
"""Events that are expected: in data, signal and background are twice and once as many, simulated ones ten times."""


def write(path: Path, values: list[float], weight: float) -> None:
    import uproot

    with uproot.recreate(path) as file:
        file.mktree("events", {"x": np.array(values), "weight": np.full(len(values), weight)})


@pytest.fixture
def tools(tmp_path: Path) -> LocalTools:
    """x = 0.5 is the signal region, x = 1.5 the control region."""
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "data.root", [0.5] * (2 * SIGNAL + BACKGROUND) + [1.5] * CONTROL, 1.0)
    write(folder / "signal.root", [0.5] * 10 * SIGNAL, 0.1)
    write(folder / "background.root", [0.5] * 10 * BACKGROUND + [1.5] * 10 * CONTROL, 0.05)
    files = [{"name": name, "role": name} for name in ("data.root", "signal.root", "background.root")]
    public = {"luminosity_uncertainty": 0.05, "normalisation": 1.0}
    (folder / "manifest.json").write_text(json.dumps({"files": files, "public": public}))
    session = Session(folder, Ledger(tmp_path / "ledger.jsonl", b"key"), SessionLimits(60))
    return LocalTools(session)


def histograms(tools: LocalTools) -> dict[str, dict[str, str]]:
    channels: dict[str, dict[str, str]] = {"signal": {}, "control": {}}
    for name in ("data", "signal", "background"):
        events = tools.call(
            "load_kinematics_tool",
            file_path=f"{name}.root",
            tree_name="events",
            branches={"x": "x", "weight": "weight"},
        )["handle"]
        for low, channel in enumerate(channels):
            weight = None if name == "data" else "weight"
            filled = tools.call(
                "histogram_tool", events=events, column="x", bins=1, low=low, high=low + 1, weight=weight
            )
            channels[channel][name] = filled["handle"]
    return channels


def arguments(tools: LocalTools) -> dict[str, Any]:
    facts = tools.call("list_local_root_files_tool")["public"]
    return {
        "channels": histograms(tools),
        "parameters": {"strength": ["signal"], "scale": ["background"], "luminosity": ["signal"]},
        "measured": "strength",
        "uncertainties": {"luminosity": facts["luminosity_uncertainty"]},
        "scales": {"signal": facts["normalisation"]},
    }


def test_a_fit_is_that_of_the_counts_by_hand(tools: LocalTools) -> None:
    """Control region: background 300 where 150 are expected, so 30 under the signal: 80 of 40 events."""
    workspace = tools.call("build_workspace_tool", **arguments(tools))["handle"]
    fit = tools.call("fit_workspace_tool", workspace=workspace)
    assert fit["parameters"]["strength"]["value"] == pytest.approx(2.0, abs=1e-3)
    assert fit["parameters"]["scale"]["value"] == pytest.approx(2.0, abs=1e-3)
    # 110 events less 30 +- 30 (1 / 300 + 1 / 3000)^(1/2), over 40 (1 +- 0.05); of the 55 events that simulation expects
    # in this bin, 40 are of 400 simulated ones and 15 of 300.
    statistics = math.hypot(2, math.sqrt(300) / 20) / 55
    background = 30 * math.sqrt(1 / 300 + 1 / 3000)
    of_fit = math.sqrt(110 + background**2 + (110 * statistics) ** 2) / 80
    whole = math.hypot(of_fit, 0.05)
    assert fit["parameters"]["strength"]["error"] / 2 == pytest.approx(whole, rel=0.03)
    expected = fit["expected"]["signal"]
    assert expected["background"]["value"] == pytest.approx(30, abs=0.1)
    assert expected["background"]["error"] == pytest.approx(math.hypot(background, 30 * statistics), rel=0.03)
    assert fit["expected"]["control"]["signal"] == {"value": 0.0, "error": 0.0}
    fixed = tools.call("fit_workspace_tool", workspace=workspace, fixed=["luminosity"])["parameters"]
    assert fixed["luminosity"]["error"] == 0.0
    assert fixed["strength"]["value"] == pytest.approx(2.0, abs=1e-3)
    assert fixed["strength"]["error"] / 2 == pytest.approx(of_fit, rel=0.03)


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_a_workspace_is_valid_by_the_schema_of_pyhf(tools: LocalTools) -> None:
    built = tools.call("build_workspace_tool", **arguments(tools))
    workspace = pyhf.Workspace(json.loads(json.dumps(built["workspace"])))
    assert workspace.channels == ["control", "signal"]
    assert workspace.measurement_names == ["measurement"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"strength": ["nothing"]}}, "parameters: got 'nothing', expected one of background, signal"),
        ({"measured": "luminosity"}, "measured: got 'luminosity', expected one of"),
        ({"uncertainties": {"luminosity": 0.0123}}, "got 0.0123, expected a reference to a result"),
        ({"uncertainties": {"luminosity": 2.0}}, "expected relative ones"),
        ({"scales": {"background": 4.56}}, "got 4.56, expected a reference to a result"),
        ({"scales": {"background": 0.0}}, "no events are expected"),
    ],
)
def test_what_is_refused(tools: LocalTools, changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ToolRefusedError, match=message):
        tools.call("build_workspace_tool", **{**arguments(tools), **changes})


def test_numbers_of_a_workspace_are_no_results(tools: LocalTools) -> None:
    """An agent chooses what goes into it, so that only what its fit gives can be answered."""
    built = tools.call("build_workspace_tool", **arguments(tools))
    inside = built["workspace"]["channels"][0]["samples"][0]["data"][0]
    with pytest.raises(ToolRefusedError, match="chosen, not measured"):
        tools.call("calculate_tool", expression="x", values={"x": inside})


def test_a_parameter_that_no_region_fixes_is_refused(tools: LocalTools) -> None:
    given = arguments(tools)
    del given["channels"]["control"]
    workspace = tools.call("build_workspace_tool", **given)["handle"]
    with pytest.raises(ToolRefusedError, match="each free parameter has a region that fixes it"):
        tools.call("fit_workspace_tool", workspace=workspace)


def large() -> dict[str, Any]:
    """As many bins and modifiers as `read_workspace` permits: one sample of 60 bins with 199 uncertainties."""
    bins = [float(100 + number) for number in range(60)]
    systematic = [
        {"name": f"source_{number}", "type": "normsys", "data": {"hi": 1.01 + 1e-4 * number, "lo": 0.99}}
        for number in range(199)
    ]
    strength = {"name": "strength", "type": "normfactor", "data": None}
    sample = {"name": "signal", "data": bins, "modifiers": [strength, *systematic]}
    return {
        "channels": [{"name": "signal", "samples": [sample]}],
        "observations": [{"name": "signal", "data": bins}],
        "measurements": [{"name": "measurement", "config": {"poi": "strength", "parameters": []}}],
        "version": "1.0.0",
    }


def test_the_fit_of_a_large_workspace_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = read_workspace(large())
    assert workspace is not None
    calls = 0

    def over() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise ToolRefusedError("time is over")

    with pytest.raises(ToolRefusedError, match="time is over"):
        fit_workspace(workspace.specification, (), over)
    assert calls == 5
    clock = itertools.count(0.0, 50.0)
    monkeypatch.setattr("time.thread_time", lambda: next(clock))
    with pytest.raises(ToolRefusedError, match="time: got more than 60 s of processor time"):
        fit_workspace(workspace.specification)
