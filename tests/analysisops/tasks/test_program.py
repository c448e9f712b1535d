"""The code of a task is loaded from its folder, which may lie anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops import Seeds, evaluate, rescore
from beampipe.analysisops.tasks.load import load_checks, load_program, load_task, program_file, shipped_tasks
from beampipe.errors import ConfigError, FileError, UnknownNameError
from tests.analysisops.tasks.folders import OURS, written

PROGRAM = '''
"""A bump in the missing momentum."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.agents.analysis import Analysis, AnalysisResult
from beampipe.analysisops.samples.dataset import Events, Instance, RandomParameters, Sample



@dataclass(frozen=True)
class Window:
    low: float = 30.0
    high: float = 80.0


def make(random: RandomParameters) -> Instance:
    mass = random.away("mass", 50.0, 5.0, 10.0)
    values = random.generator("values").normal(mass, 2.0, 2000)
    return Instance((Sample("data", "data", Events(2000, {"met": values})),), {"mass": mass}, {"signal": "yes"})


def analyse(analysis: Analysis) -> AnalysisResult:
    window, layout = Window(), analysis.layout
    branch = {"read": layout.columns["met"]}
    loaded = analysis.call("load_kinematics_tool", file_path="data.root", tree_name=layout.tree, branches=branch)
    expression = f"read * {layout.energy}"
    events = analysis.call("derive_tool", events=loaded["handle"], name="met", expression=expression)["handle"]
    limits = [window.low, window.high]
    peak = analysis.call("fit_peak_tool", events=events, column="met", window=limits, model="gauss", unbinned=True)
    bins = analysis.public["histograms"]["mass"]
    filled = analysis.call("histogram_tool", events=events, column="met", **bins)
    return AnalysisResult({"mass": (peak["mu"], peak["mu_error"])}, {"signal": "yes"}, {"mass": filled["handle"]})
'''

SPEC = {**OURS["task_spec.yaml"], "id": "bump", "type": "bump", "family": "bump", "parameters": {}, "facts": []}
BUMP = {**OURS, "task_spec.yaml": SPEC, "white_prompt.md": "{{ANSWERS}} {{HISTOGRAM_MASS}}", "task.py": PROGRAM}


def grades(records: list[dict[str, Any]]) -> dict[str, float]:
    return {record["assessment"]["agent"]: record["grade"]["final"]["normalized_score"] for record in records}


def test_a_folder_outside_the_package_brings_its_own_generator_and_analysis(tmp_path: Path) -> None:
    folder = written(tmp_path / "elsewhere" / "bump", BUMP)
    agents = ("oracle", "scripted", "recall", "nop")
    records = evaluate([str(folder)], agents, Seeds.first(2), tmp_path / "run", levels=(1,))
    assert grades(records[:4]) == grades(records[4:])
    scores = grades(records)
    assert scores["oracle"] == scores["scripted"] == 1.0
    assert max(scores["recall"], scores["nop"]) <= 0.02
    masses = [record["reference"]["instance"]["truth"]["mass"] for record in records]
    assert len(set(masses)) == 2
    assert all(5.0 <= abs(mass - 50.0) <= 10.0 for mass in masses)
    assert {path.name for path in folder.iterdir()} == set(BUMP)


STEPS = """
```steps
{"tool": "list_local_root_files_tool", "as": "files"}
{"tool": "inspect_root_schema_tool", "arguments": {"file_path": "@file:data.name"}}
{"tool": "load_kinematics_tool", "arguments": {"file_path": "@role:data", "tree_name": "@tree", "branches": \
{"met": "@branch:met"}}, "as": "loaded"}
{"tool": "derive_tool", "arguments": {"events": "$loaded", "name": "met", "expression": "met * @GeV"}, "as": "all"}
{"tool": "fit_peak_tool", "arguments": {"events": "$all", "column": "met", "window": [30, 80], "model": "gauss", \
"unbinned": true}, "as": "fit"}
{"tool": "histogram_tool", "arguments": {"events": "$all", "column": "met", "bins": "@histogram:mass.bins", \
"low": "@histogram:mass.low", "high": "@histogram:mass.high"}, "as": "met"}
{"answer": {"answers": {"mass": {"value": "$fit.mu", "uncertainty": "$fit.mu_error"}}, "words": {"signal": "yes"}, \
"histograms": {"mass": "$met"}}}
```
"""


def test_without_code_of_an_analysis_the_steps_of_the_prompt_are_the_reference(tmp_path: Path) -> None:
    steps = {"white_prompt.md": BUMP["white_prompt.md"] + STEPS, "task.py": PROGRAM.partition("def analyse")[0]}
    results = {}
    for name, files in {"code": BUMP, "steps": {**BUMP, **steps}}.items():
        folder = str(written(tmp_path / name, files))
        records = evaluate([folder], ("oracle", "scripted"), Seeds.first(1), tmp_path / "runs" / name, levels=(2,))
        assert grades(records) == {"oracle": 1.0, "scripted": 1.0}
        results[name] = records[0]["reference"]["instance"]
    assert results["steps"] == results["code"]


CHECKS = '''
"""Whether the peak was sought in enough bins."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.submission import Case, Outcome


@dataclass(frozen=True)
class FitsMade:
    """1 with enough fits of peaks in the ledger, less with fewer."""

    fits: int = 1

    def __call__(self, case: Case) -> Outcome:
        made = sum(entry.tool == "fit_peak_tool" and not entry.error for entry in case.entries)
        return Outcome(min(1.0, made / self.fits), f"{made} fits", {"fits": made})


CHECKS = {"fits_made": FitsMade}
'''


def with_checks(fits: int, **more: Any) -> dict[str, Any]:
    """The task with a rule and a gate of its own."""
    rubric = BUMP["rubric.yaml"]
    rule = {"id": "fits", "type": "fits_made", "points": 20, "fits": fits}
    gates = [*rubric["gates"], {"id": "fitted", "type": "fits_made"}]
    rules = [*rubric["rule_checks"], rule]
    return {
        **BUMP,
        "rubric.yaml": {**rubric, "total": 120, "gates": gates, "rule_checks": rules},
        "checks.py": CHECKS,
        **more,
    }


def test_a_folder_outside_the_package_brings_its_own_checks(tmp_path: Path) -> None:
    folder = written(tmp_path / "bump", with_checks(2))
    run = tmp_path / "run"
    (record,) = evaluate([str(folder)], ["scripted"], Seeds.first(1), run, levels=(1,))
    results = {check["id"]: check for check in record["grade"]["checks"]}
    assert results["fitted"]["passed"]
    assert (results["fits"]["points"], results["fits"]["evidence"]["fits"]) == (10.0, 1)
    assert record["checks"]["file"] == str((folder / "checks.py").resolve())

    again = rescore(run)
    assert (again.differences, again.changed) == ((), ())
    # Other checks grade the same work again: no agent runs, and the outcome says what has changed.
    written(folder, {"checks.py": CHECKS.replace("made / self.fits", "2 * made / self.fits")})
    again = rescore(run)
    assert again.changed == ("bump: checks",)
    assert [difference.after for difference in again.differences] == [1.0]
    (folder / "checks.py").unlink()
    with pytest.raises(FileError, match=r"checks\.py: cannot be read"):
        rescore(run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got no CHECKS"),
        ("CHECKS = {'a': 1}", "got no CHECKS"),
        ("class A:\n    def __call__(self, case): ...\nCHECKS = {'a': A}", "got no CHECKS"),
        (CHECKS.replace('"fits_made"', '"pull"'), "got pull, which all tasks have"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_checks_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_checks(written(tmp_path, {"checks.py": text}) / "checks.py")


def test_settings_of_own_checks_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fits"):
        load_task(written(tmp_path / "wrong", with_checks("many")))  # type: ignore[arg-type]
    misspelled = with_checks(1)
    misspelled["rubric.yaml"]["rule_checks"][-1]["type"] = "fit_made"
    with pytest.raises(UnknownNameError, match="did you mean 'fits_made'"):
        load_task(written(tmp_path / "unknown", misspelled))


def test_changed_code_is_a_changed_task(tmp_path: Path) -> None:
    folder = written(tmp_path / "bump", BUMP)

    def truth() -> float:
        (record,) = evaluate([str(folder)], ["nop"], Seeds.first(1), tmp_path / "run", levels=(1,))
        return float(record["reference"]["instance"]["truth"]["mass"])

    before = truth()
    written(folder, {**BUMP, "task.py": PROGRAM.replace("50.0, 5.0, 10.0", "70.0, 2.0, 3.0")})
    assert before != truth()


def test_a_folder_without_code_takes_that_of_its_family(tmp_path: Path) -> None:
    folder = written(tmp_path / "dark", OURS)
    assert program_file("zmumu", folder) == shipped_tasks()["zmumu"] / "task.py"
    with pytest.raises(UnknownNameError, match="did you mean 'zmumu'"):
        program_file("zmumuu", folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("make = 1", "got no make"),
        ("analyse = len", "got no make"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def make(:", "SyntaxError"),
    ],
)
def test_code_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_program(written(tmp_path, {"task.py": text}) / "task.py")
