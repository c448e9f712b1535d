"""Composed tasks: equal seeds give equal ones, sound analyses score high and mistakes low, and nothing is revealed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.analysisops.composed_solvers import solve

from beampipe.analysisops.agents.agent import Answer
from beampipe.analysisops.assessment import assess, grade_log
from beampipe.analysisops.instances import PreparedInstance, prepare_instance, read_instance, request_of, write_instance
from beampipe.analysisops.own_code import submission_from
from beampipe.analysisops.runs.engine import Record
from beampipe.analysisops.samples.composed.generate import check, events_of, fraction_kept, make, model_of
from beampipe.analysisops.samples.composed.grammar import Composition, draw
from beampipe.analysisops.samples.composed.likelihood import IllPosedError, Model
from beampipe.analysisops.samples.dataset import RandomParameters
from beampipe.analysisops.tasks.load import all_tasks, load_task

TASK = load_task(all_tasks()["composed"])
MASS, CROSS_SECTION, LIMIT = (dict.fromkeys(["question"], (float(n), float(n))) for n in (0, 2, 4))
WITHOUT = dict.fromkeys(("scale", "block", "duplicates", "dead_region", "trigger", "background"), (0.0, 0.0))
WITH = dict.fromkeys(("scale", "block", "duplicates", "dead_region", "trigger"), (1.0, 1.0))


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], PreparedInstance]:
    """A mass and a cross section, with all faults."""
    ranges = {"mass": {**WITHOUT, **WITH, **MASS}, "cross_section": {**WITHOUT, **WITH, **CROSS_SECTION}}
    return cache(
        lambda name: prepare_instance(replace(TASK, parameters=ranges[name]), 7, tmp_path_factory.mktemp(name))
    )


def recorded(prepared: PreparedInstance, answer: dict[str, Any], folder: Path) -> Record:
    return assess(prepared, 3, 7, lambda _, session: Answer(submission_from(answer, prepared, session)), folder)


def score(record: Record) -> float:
    return float(record.grade["final"]["normalized_score"])


def test_a_seed_gives_one_task_and_others_give_others() -> None:
    first, again, other = (make(RandomParameters("composed", seed)) for seed in (3, 3, 4))
    assert first.analysis == again.analysis != other.analysis
    for one, two in zip(first.samples, again.samples, strict=True):
        assert all(np.array_equal(values, two.events.columns[name]) for name, values in one.events.columns.items())
    drawn = [draw(RandomParameters("composed", seed)) for seed in range(150)]
    kinds = {(one.question, one.objects, one.background, one.faults, one.ratio > 1) for one in drawn}
    assert len(kinds) > 110


@pytest.mark.parametrize(
    ("name", "mistakes"),
    [
        ("mass", ["no scale", "uses the bad block"]),
        ("cross_section", ["counts copies", "keeps its luminosity", "overlooks the dead region", "no trigger"]),
    ],
)
def test_a_sound_analysis_scores_high_and_a_mistake_by_its_shift(
    instance: Callable[[str], PreparedInstance], name: str, mistakes: list[str], tmp_path: Path
) -> None:
    prepared = instance(name)
    prompt, data = request_of(prepared, 3).prompt, prepared.data
    sound = solve(prompt, data, "binned")
    record = recorded(prepared, sound, tmp_path)
    assert score(record) >= 0.95, record.grade["checks"]
    assert grade_log(json.loads(json.dumps(record.log())), prepared) == json.loads(json.dumps(record.grade))
    uncertainty = prepared.reference.quantities["result"].uncertainty
    for number, mistake in enumerate(mistakes):
        answer = solve(prompt, data, "binned", mistake)
        shift = (answer["answers"]["result"]["value"] - sound["answers"]["result"]["value"]) / uncertainty
        folder = tmp_path / str(number)
        folder.mkdir()
        lost = score(record) - score(recorded(prepared, answer, folder))
        assert abs(shift) > 1, mistake
        assert lost > 0.1 + 0.5 * (abs(shift) > 2.5), (mistake, shift)


def test_a_quoted_uncertainty_that_is_too_small_costs_more_than_one_too_large(
    instance: Callable[[str], PreparedInstance], tmp_path: Path
) -> None:
    prepared = instance("mass")
    best, spectrum = prepared.reference.quantities["result"], prepared.reference.histograms["spectrum"]
    scores = []
    for number, factor in enumerate((1.0, 0.5, 2.0, 1e6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        answer: dict[str, Any] = {
            "answers": {"result": {"value": best.value, "uncertainty": factor * best.uncertainty}},
            "words": {**prepared.reference.words},
            "histograms": {"spectrum": {"edges": list(spectrum.edges), "values": list(spectrum.values)}},
        }
        scores.append(score(recorded(prepared, answer, folder)))
    assert scores[0] == 1.0
    assert scores[0] > scores[2] > scores[1] > 0.85
    assert scores[3] == pytest.approx(0.85)
    # A wide uncertainty does not hide a wrong value.
    wide = {"value": best.value + 10 * best.uncertainty, "uncertainty": 10 * best.uncertainty}
    answer = {**answer, "answers": {"result": wide}}
    assert score(recorded(prepared, answer, tmp_path)) < 0.1


def test_an_agent_sees_nothing_hidden(instance: Callable[[str], PreparedInstance], tmp_path: Path) -> None:
    prepared = instance("cross_section")
    seen = json.dumps(request_of(prepared, 3).to_json()) + (prepared.data / "manifest.json").read_text()
    assert {path.suffix for path in prepared.data.iterdir()} == {".root", ".json"}
    best = prepared.reference.quantities["result"]
    hidden = [best.value, best.uncertainty, prepared.reference.truth["result"], *prepared.reference.shifts.values()]
    assert not any(f"{number:.4g}" in seen for number in hidden)
    one, two, three = (request_of(prepared, level).prompt for level in (1, 2, 3))
    assert len(one) > len(two) > len(three)
    assert "Leave it out, with its luminosity" in one
    assert "Leave it out" not in two
    assert "more than once" in two
    write_instance(prepared, tmp_path / "stored")
    assert read_instance(TASK, tmp_path / "stored").reference == prepared.reference


def posed(ranges: dict[str, tuple[float, float]], **changes: Any) -> tuple[Composition, Model]:
    random = RandomParameters("composed", 5, {**WITHOUT, **ranges})
    composition = replace(draw(random), **changes)
    generator = random.generator("events")
    made, kept = events_of(composition, generator), fraction_kept(composition, generator)
    model = model_of(composition, made, kept)
    check(composition, model, len(made.data), kept)
    return composition, model


@pytest.mark.parametrize(
    ("ranges", "changes", "message"),
    [
        (MASS, {"signal": 12.0, "ratio": 200.0}, "mass with an uncertainty of"),
        ({**MASS, "scale": (1.0, 1.0)}, {"scale": 1.0001}, "scale is seen with"),
        ({**CROSS_SECTION, "block": (1.0, 1.0)}, {"strength": 0.05}, "block is seen with"),
        (LIMIT, {"ratio": 0.02}, "too few for a limit"),
    ],
)
def test_an_ill_posed_draw_is_refused(
    ranges: dict[str, tuple[float, float]], changes: dict[str, Any], message: str
) -> None:
    posed(ranges)
    with pytest.raises(IllPosedError, match=message):
        posed(ranges, **changes)


def test_the_achievable_uncertainty_is_that_of_a_closed_form() -> None:
    """A Gaussian peak without background, and a line whose position divides it: two standard errors of means."""
    composition, model = posed(MASS, ratio=1e-4)
    mass = composition.resolution * composition.mass / composition.signal**0.5
    scale = composition.resolution / 4000**0.5
    expected = np.hypot(mass, scale * composition.mass)
    assert model.uncertainties()["mass"] == pytest.approx(expected, rel=0.02)
