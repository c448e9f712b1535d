"""Plans that are run, killed, run again and graded again."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log

from beampipe.analysisops.runs.engine import (
    RUN_FILES,
    RUN_MARKS,
    AgentChoice,
    Assessment,
    Record,
    RunFolder,
    TaskChoice,
    recipe_of,
    rescore,
    run,
)
from beampipe.analysisops.runs.samples import as_samples
from beampipe.analysisops.runs.statistics import scores_of, summarise
from beampipe.analysisops.seeds import Seeds
from beampipe.errors import ConfigError, FileError, WorkflowError
from beampipe.files import check_folder_outputs
from beampipe.workflow import file_digest
from tests.analysisops.runs.fakes import assess, assess_with_a_failing_host, grade, make_plan

ROOT = Path(__file__).parents[3]


def calls_of(path: Path) -> Counter[str]:
    return Counter(path.read_text().split())


def test_each_assessment_is_done_once_and_a_rerun_does_nothing(tmp_path: Path) -> None:
    plan, calls = make_plan(), tmp_path / "calls"
    output: list[str] = []
    records = run(plan, partial(assess, calls=calls), tmp_path / "run", progress=output.append)
    assert len(records) == 2 * 2 * 2 * 2 * 2 == len(set(output))
    orders = [(record["assessment"]["level"], record["assessment"]["epoch"]) for record in records]
    assert orders == [(2, 1)] * 8 + [(2, 2)] * 8 + [(1, 1)] * 8 + [(1, 2)] * 8, "prompts of level 1 come last"
    again = run(plan, partial(assess, calls=calls), tmp_path / "run")
    assert again == records
    assert set(calls_of(calls).values()) == {1}
    wider = replace(plan, agents=(*plan.agents, AgentChoice("third")))
    assert len(run(wider, partial(assess, calls=calls), tmp_path / "run")) == 48
    assert calls_of(calls).total() == 48, "only the new agent was asked"
    check_folder_outputs(tmp_path / "run", RUN_FILES, marks=RUN_MARKS)


def test_samples_of_inspect_ai_give_the_same_records(tmp_path: Path) -> None:
    plan, failing = make_plan(), partial(assess_with_a_failing_host, broken=tmp_path / "broken")
    logs, output = tmp_path / "run/logs", list[str]()
    execute = as_samples(logs, workers=4)
    (tmp_path / "broken").touch()
    with pytest.raises(WorkflowError, match=r"16 of 32 assessments failed"):
        run(plan, failing, tmp_path / "run", execute=execute)
    (tmp_path / "broken").unlink()

    async def in_a_notebook() -> list[dict[str, Any]]:
        return run(plan, failing, tmp_path / "run", execute=execute, progress=output.append)

    records = asyncio.run(in_a_notebook())
    assert records == run(plan, assess, tmp_path / "calm")
    assert len(output) == 32
    headers = [read_eval_log(str(path), header_only=True) for path in logs.glob("*.eval")]
    names = [f"{agent} level {level}" for level in (2, 1) for agent in ("good", "poor")]
    assert sorted(header.eval.task for header in headers) == sorted(2 * names)
    scores = {header.location: header.results.scores[0].metrics for header in headers if header.results}
    metrics = [found.keys() for found in scores.values()]
    assert sorted({"mean", name} <= found for name in ("task0", "task1") for found in metrics) == 8 * [False] + 8 * [
        True
    ]
    samples = read_eval_log(next(log for log, found in scores.items() if "task1" in found)).samples
    assert samples
    asked, call, result, answer = samples[0].messages
    assert (asked.text, call.role, result.text) == ("How many?", "assistant", '{"n": 7}')
    assert json.loads(answer.text) in [record["submission"] for record in records]


def test_a_run_can_be_extended(tmp_path: Path) -> None:
    first, second = make_plan(1, 1, 1, ("good",)), make_plan(1, 1, 1, ("poor",))
    run(first, assess, tmp_path / "run")
    records = run(second, assess, tmp_path / "run", extend=True)
    assert {record["assessment"]["agent"] for record in records} == {"poor"}
    place = RunFolder(tmp_path / "run")
    assert [line["assessment"]["agent"] for line in place.read_results()] == ["good", "good", "poor", "poor"]
    run(second, assess, tmp_path / "run", extend=True)
    assert len(place.read_plan()) == 4
    run(second, assess, tmp_path / "run")
    assert len(place.read_results()) == 2


def test_what_changes_the_work_changes_the_key(tmp_path: Path) -> None:
    plan = make_plan()
    base = plan.assessments("code")[0]
    others = [
        replace(base, level=1),
        replace(base, epoch=2),
        replace(base, code="other"),
        replace(base, seed=Seeds((7,)).of("task0", 1)[0]),
        replace(base, agent=AgentChoice("good", {"model": "other"})),
        replace(base, task=replace(base.task, digest="1" * 40)),
    ]
    keys = [item.key for item in (base, *others)]
    assert len(set(keys)) == len(keys)
    assert replace(base, task=replace(base.task, folder=tmp_path)).key == base.key
    assert recipe_of(json.loads(json.dumps(base.to_json()))).key == base.key


def test_the_address_of_the_tools_and_the_seed_stay_with_the_host(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of many more bytes than thirty-two")
    plan = replace(make_plan(1, 2, 1), seeds=Seeds.first(2, secret))
    run(plan, assess, tmp_path / "run")
    values = [str(assessment.seed.value) for assessment in plan.assessments()]
    text = "".join(path.read_text() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file())
    assert "eval-2" in text
    for hidden in (*values, "hush-hush", "many more bytes"):
        assert hidden not in text
    assert (tmp_path / "run").stat().st_mode & 0o077 == 0


def test_a_record_that_tells_a_secret_seed_is_refused(tmp_path: Path) -> None:
    def telling(assessment: Assessment, folder: Path) -> Record:
        return replace(assess(assessment, folder), contents={"seed": assessment.seed.value})

    secret = tmp_path / "secret"
    secret.write_text("a secret of many more bytes than thirty-two")
    with pytest.raises(WorkflowError, match="got the value of a secret seed in it, expected its label 'eval-1'"):
        run(replace(make_plan(1, 1, 1), seeds=Seeds.first(1, secret)), telling, tmp_path / "run")


def test_an_agent_that_fails_is_a_result(tmp_path: Path) -> None:
    records = run(make_plan(1, 2, 1, ("silent", "nan", "good")), assess, tmp_path / "run")
    silent = [record for record in records if record["assessment"]["agent"] == "silent"]
    assert {item["grade"]["status"] for item in silent} == {"error"}
    assert {item["grade"]["final"]["normalized_score"] for item in silent} == {0.0}
    lines = RunFolder(tmp_path / "run").read_results()
    summary = summarise(scores_of(lines), ("agent",))
    assert (summary["silent",].mean, summary["silent",].errors, summary["silent",].assessments) == (0.0, 4, 4)
    errors = {record["error"] for record in records if record["assessment"]["agent"] == "nan"}
    assert errors == {"the submission cannot be recorded: ValueError"}, "JSON has no NaN"


def test_an_answer_that_is_nested_too_deep_is_the_agents_failure(tmp_path: Path) -> None:
    def deep(assessment: Assessment, folder: Path) -> Record:
        bomb: list[object] = []
        for _ in range(50_000):
            bomb = [bomb]
        return replace(assess(assessment, folder), submission={"answer": bomb})

    [one, *_] = run(make_plan(1, 1, 1, ("good",)), deep, tmp_path / "run")
    assert (one["grade"]["status"], one["submission"]) == ("error", None)
    assert "nested" in one["error"]


def test_a_host_that_fails_loses_nothing_else(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    failing = partial(assess_with_a_failing_host, broken=broken)
    plan, place = make_plan(), RunFolder(tmp_path / "run")
    with pytest.raises(WorkflowError, match=r"16 of 32 assessments failed, the first is task1 .*no space"):
        run(plan, failing, place.path)
    assert {line["assessment"]["task_id"] for line in place.read_results()} == {"task0"}
    assert {item["task_id"] for item in place.missing()} == {"task1"}
    summary = summarise(scores_of(place.read_results()), ("agent",), missing=place.missing())
    assert (summary["good",].assessments, summary["good",].missing) == (8, 8)
    broken.unlink()
    assert len(run(plan, failing, place.path)) == 32
    assert not place.missing()


def test_agents_are_ranked_on_the_same_instances(tmp_path: Path) -> None:
    """An agent that was assessed on fewer instances than another has the others as 0."""
    run(make_plan(2, 2, 1, ("poor",)), assess, tmp_path / "run")
    run(make_plan(1, 1, 1, ("good",)), assess, tmp_path / "run", extend=True)
    run_folder = RunFolder(tmp_path / "run")
    absent = run_folder.missing()
    assert len(absent) == 8 - 2
    assert {assessment["agent"] for assessment in absent} == {"good"}
    summary = summarise(scores_of(run_folder.read_results()), missing=absent)
    good, poor = summary["good",], summary["poor",]
    assert (good.missing, poor.missing) == (6, 0)
    assert good.ranked == pytest.approx(good.mean / 4)
    assert poor.ranked == poor.mean


def test_kills_of_the_host_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """SIGKILL at random moments; what was committed is never begun again."""
    draw, place, calls = random.Random(3), RunFolder(tmp_path / "run"), tmp_path / "calls"
    done_before: set[str] = set()
    asked_before: Counter[str] = Counter()
    killed = 0
    for _ in range(3):
        wanted = len(done_before) + draw.randrange(2, 7)
        at_most = asked_before.total() + 20  # so that a run cannot end before it is killed, however late that is
        command = [sys.executable, "-m", "tests.analysisops.runs.fakes", str(tmp_path), str(at_most)]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as host:
            deadline = time.monotonic() + 300
            while host.poll() is None and place.store.count() < wanted and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.04))
            killed += host.poll() is None
            host.send_signal(signal.SIGKILL)
            host.communicate()  # its workers have the same pipe: it ends when all of them have ended
        request = calls_of(calls)
        assert not {key for key in done_before if request[key] > asked_before[key]}, "done, and begun again"
        done = {path.name.partition(".")[0] for path in place.store.root.rglob("*.about.json")}
        assert done_before < done
        done_before, asked_before = done, request
    assert killed == 3, "each was at work"
    plan = make_plan(3, 4, 2)
    records = run(plan, partial(assess, calls=calls), place.path)
    assert len(records) == 96
    assert not {key for key in done_before if calls_of(calls)[key] > asked_before[key]}
    assert calls_of(calls).total() <= 96 + 4, "what was under way at a kill, one or two each, and no more"
    assert not list((place.store.root / ".parts").iterdir())
    assert not place.work.exists()
    run(plan, assess, tmp_path / "calm")
    assert file_digest(place.results) == file_digest(tmp_path / "calm/results.jsonl")


def test_a_folder_is_for_one_host_at_a_time(tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "run")
    with place.locked(), pytest.raises(FileError, match="another run works in"):
        run(make_plan(), assess, place.path)


def test_a_damaged_record_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan, calls = make_plan(1, 1, 1), tmp_path / "calls"
    records = run(plan, partial(assess, calls=calls), tmp_path / "run")
    path = next((tmp_path / "run/store").rglob("*.json"))
    path = path.with_name(path.name.replace(".about", ""))
    path.write_text(path.read_text().replace("1", "2"))
    assert run(plan, partial(assess, calls=calls), tmp_path / "run") == records
    assert calls_of(calls).total() == len(records) + 1
    assert "contents differ" in caplog.text


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    plan = make_plan()
    with pytest.raises(ConfigError, match=r"got agents .* expected at least one and none twice"):
        replace(plan, agents=(AgentChoice("a"), AgentChoice("a")))
    with pytest.raises(ConfigError, match=r"got levels \[3\], expected some of \[1, 2\]"):
        replace(plan, levels=(3,))
    with pytest.raises(ConfigError, match="got 0 epochs"):
        replace(plan, epochs=0)
    with pytest.raises(ConfigError, match="expected numbers from 1 to 1000000"):
        Seeds((1, 1))


def test_a_run_is_graded_again_to_the_same_bytes(tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "run")
    run(make_plan(agents=("good", "nan", "silent")), assess, place.path)
    before = file_digest(place.results)
    for _ in range(3):
        again = rescore(place.path, grade)
        assert (again.sha256, again.records, again.differences, again.changed) == (before, 48, (), ())


def test_another_rubric_is_said_and_asks_nobody(tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "run")
    run(make_plan(1, 1, 1), assess, place.path)
    again = rescore(place.path, grade, current=lambda _: {"rubric": {"points": 10.0}})
    assert again.changed == ("task0: rubric",)
    assert len(again.differences) == 4
    assert {line["result"]["final"]["max_score"] for line in place.read_results()} == {10.0}
    assert "changed since the run: task0: rubric" in list(again.lines())
    harder = rescore(place.path, lambda record: {**grade(record), "final": {"normalized_score": 0.0}})
    assert all(difference.after == 0.0 < difference.before for difference in harder.differences)
    assert rescore(place.path, grade).differences == (), "the records stayed as they were"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected the plan of a run"):
        rescore(tmp_path / "none", grade)
    assert not (tmp_path / "none").exists()


def test_a_run_of_another_version_is_refused_and_keeps_its_results(tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "run")
    run(make_plan(1, 1, 1), assess, place.path)
    plan, before = place.path / "plan.json", file_digest(place.results)
    plan.write_text(plan.read_text().replace('"version":2', '"version":1'))
    with pytest.raises(FileError, match="got a run of version 1, expected 2"):
        rescore(place.path, grade)
    assert file_digest(place.results) == before


def test_what_is_only_for_grading_asks_no_agent_again(tmp_path: Path) -> None:
    def choice() -> TaskChoice:
        return TaskChoice.from_folder(tmp_path, "zmumu", "zmumu")

    for name in ("task_spec.yaml", "white_prompt.md", "rubric.yaml"):
        (tmp_path / name).write_text(name)
    before = choice()
    (tmp_path / "rubric.yaml").write_text("other")
    assert choice() == before
    (tmp_path / "white_prompt.md").write_text("other")
    assert choice().digest != before.digest
