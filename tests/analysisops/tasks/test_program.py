"""The code of a task is loaded from its folder, which may lie anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops import Seeds, evaluate
from beampipe.analysisops.tasks.load import load_program, program_file, shipped_tasks
from beampipe.errors import ConfigError, UnknownNameError
from tests.analysisops.tasks.folders import OURS, written

PROGRAM = '''
"""A bump in the missing momentum."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.agents.analysis import Analysis, AnalysisResult, fit_peak
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.events import Events
from beampipe.analysisops.samples.random_parameters import RandomParameters

RECALLED = AnalysisResult({"mass": (50.0, 1.0)}, {"signal": "no"})


@dataclass(frozen=True)
class Window:
    low: float = 30.0
    high: float = 80.0


def make(random: RandomParameters) -> Instance:
    mass = random.away("mass", 50.0, 5.0, 10.0)
    values = random.generator("values").normal(mass, 2.0, 2000)
    return Instance((Sample("data", "data", Events(2000, {"met": values})),), {"mass": mass}, {"signal": "yes"})


def analyse(analysis: Analysis) -> AnalysisResult:
    window = Window()
    events = analysis.load("data", ["met"])
    peak = fit_peak(analysis, events, "met", (window.low, window.high), "gauss", unbinned=True)
    histograms = analysis.requested_histogram("mass", events, "met")
    return AnalysisResult({"mass": (peak["mu"], peak["mu_error"])}, {"signal": "yes"}, histograms)
'''

SPEC = {**OURS["task_spec.yaml"], "id": "bump", "type": "bump", "family": "bump", "parameters": {}, "facts": []}
BUMP = {**OURS, "task_spec.yaml": SPEC, "white_prompt.md": "{{ANSWERS}} {{HISTOGRAM_MASS}}", "task.py": PROGRAM}


def grades(records: list[dict[str, Any]]) -> dict[str, float]:
    return {one["assessment"]["agent"]: one["grade"]["final"]["normalized_score"] for one in records}


def test_a_folder_outside_the_package_brings_its_own_generator_and_analysis(tmp_path: Path) -> None:
    folder = written(tmp_path / "elsewhere" / "bump", BUMP)
    agents = ("oracle", "scripted", "recall", "nop")
    records = evaluate([str(folder)], agents, Seeds.first(2), tmp_path / "run", levels=(1,))
    assert grades(records[:4]) == grades(records[4:])
    scores = grades(records)
    assert scores["oracle"] == scores["scripted"] == 1.0
    assert max(scores["recall"], scores["nop"]) <= 0.02
    masses = [one["reference"]["instance"]["truth"]["mass"] for one in records]
    assert len(set(masses)) == 2
    assert all(5.0 <= abs(mass - 50.0) <= 10.0 for mass in masses)
    assert {path.name for path in folder.iterdir()} == set(BUMP)


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
        ("def make(random): ...", "got no analyse"),
        ("make = 1", "got no make and no analyse"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def make(:", "SyntaxError"),
    ],
)
def test_code_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_program(written(tmp_path, {"task.py": text}) / "task.py")
