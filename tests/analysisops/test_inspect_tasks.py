"""Tasks of inspect_ai: a model that replays the reference analysis, how attempts end, and what logs hold."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai import score as score_again
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model
from inspect_ai.solver import solver

from beampipe.analysisops import Answer, TaskInstance, grade_log, inspect_tasks, open_instance
from beampipe.analysisops.assessment import ask_here
from beampipe.analysisops.inspect_tasks import agent, attempting, coder, grade, operations, zmumu
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.tasks.load import all_tasks, shipped_task
from beampipe.errors import ConfigError, InputError


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secret") / "secret"
    file.write_text("a secret of more than thirty-two bytes, of this test")
    return file


@pytest.fixture(scope="module")
def instance(secret: Path) -> TaskInstance:
    return open_instance("zmumu", 3, secret=secret)


@pytest.fixture(scope="module")
def record(instance: TaskInstance) -> Any:
    """What the scripted agent does there."""
    with instance.attempt() as attempt:
        return attempt.finish(ask_here(make_agent("scripted"))(attempt.request, attempt.session))


Call = tuple[str, dict[str, Any]]


def model_of(replies: Sequence[Call | ModelOutput]) -> Model:
    outputs = [
        reply if isinstance(reply, ModelOutput) else ModelOutput.for_tool_call("mockllm/model", *reply)
        for reply in replies
    ]
    for output in outputs:
        output.usage = ModelUsage(input_tokens=100, output_tokens=10, total_tokens=110)
    return get_model("mockllm/model", custom_outputs=outputs)


def said(text: str, stop: Any = "stop") -> ModelOutput:
    return ModelOutput.from_content("mockllm/model", text, stop_reason=stop)


def evaluated(task: Any, folder: Path, **settings: Any) -> EvalLog:
    (log,) = inspect_eval(task, log_dir=str(folder), display="none", **settings)
    assert log.status == "success", log.error
    return log


def score(log: EvalLog) -> Any:
    assert log.samples
    scores = log.samples[0].scores
    assert scores
    return scores["grade"]


def test_a_model_that_makes_the_right_calls_solves_a_secret_instance_whose_log_tells_nothing_hidden(
    instance: TaskInstance, record: Any, secret: Path, tmp_path: Path
) -> None:
    calls: list[Call | ModelOutput] = [
        (entry.tool, {name: value for name, value in entry.arguments.items() if value is not None})
        for entry in record.ledger
    ]
    calls.append(("submit", {key: value for key, value in record.submission.items() if key != "usage"}))
    log = evaluated(zmumu(secret_file=str(secret)), tmp_path, model=model_of(calls))
    assert score(log).value == round(record.grade["final"]["normalized_score"], 2) >= 0.95
    assert score(log).metadata["checks"]["mass"] >= 0.95
    assert log.samples
    assert log.samples[0].id == "eval-1"
    again = score_again(read_eval_log(log.location), grade(), display="none")
    assert score(again) == score(log)

    with zipfile.ZipFile(log.location.removeprefix("file://")) as archive:
        texts = [archive.read(name).decode(errors="replace") for name in archive.namelist()]
    hidden, reference = instance.prepared.hidden, instance.prepared.reference.quantities["mass"].uncertainty
    for number in (instance.seed.value, hidden.seed, *hidden.truth.values(), *hidden.parameters.values()):
        if len(repr(number)) >= 8:  # small numbers stand in any text
            assert not any(repr(number) in text for text in texts)
    assert not any("reference_uncertainty" in text or '"pull"' in text for text in texts)
    assert any(repr(reference) in text for text in texts), "the log was read: it has what the tools returned"


REFUSED: Call = ("read_log_tool", {"file_path": "nowhere.log"})
SEEN: Call = ("list_local_root_files_tool", {})
ANSWERS = '{"answers": {}}'


@pytest.mark.parametrize(
    ("replies", "settings", "code"),
    [
        ([REFUSED] * 5, {}, "repeated_call"),
        ([REFUSED] * 4 + [SEEN] + [REFUSED] * 4 + [("submit", {"answers": {}})], {}, "gate_failed; gate_failed"),
        ([said("so many words", "max_tokens")] * 3, {}, "cut_at_token_limit"),
        ([said("words", "model_length")] * 3, {}, "context_full"),
        ([said("about 91 GeV")] * 3, {}, "no_call"),
        ([said("no", "content_filter")], {}, "model_refused"),
        ([SEEN] * 60, {}, "turn_limit"),
        ([SEEN] * 9, {"token_limit": 500}, "token_limit"),
        ([("submit", {"answers": {"onset": 3.0}})] * 5, {}, "repeated_call"),
        ([said(ANSWERS)], {}, "gate_failed; gate_failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_end_of_an_attempt_has_a_name(
    replies: list[Call | ModelOutput], settings: dict[str, Any], code: str, tmp_path: Path
) -> None:
    log = evaluated(operations(), tmp_path, model=model_of(replies), **settings)
    assert (score(log).value, score(log).explanation) == (0.0, code)


def test_an_agent_that_takes_too_long_has_a_result(tmp_path: Path) -> None:
    @solver
    def slow() -> Any:
        async def sleep(*_: object) -> Answer:
            await anyio.sleep(600.0)
            raise AssertionError

        return attempting(sleep, seconds=0.01)

    log = evaluated(operations(), tmp_path, solver=slow(), model=None)
    assert (score(log).value, score(log).explanation) == (0.0, "time_limit")


def test_code_of_a_model_runs_in_a_sandbox_without_keys_and_beampipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cr3t")
    opened = open_instance("operations")
    quantities, words = opened.prepared.reference.quantities, opened.prepared.reference.words
    numbers = {name: {"value": one.value, "uncertainty": one.uncertainty} for name, one in quantities.items()}
    answer = json.dumps({"status": "ok", "answers": numbers, "words": dict(words)})
    calls: list[Call] = [
        ("bash", {"command": "env; ls data; ln -s /etc/passwd link; mkfifo pipe; echo 1 > kept"}),
        ("python", {"code": "import os\nprint(sorted(os.listdir()))\nimport numpy\nimport beampipe\nprint('reached')"}),
        ("bash", {"command": "sleep 60"}),
        ("bash", {"command": f"cat > answer.json <<'E'\n{answer}\nE"}),
        ("submit", {"answer": "done"}),
    ]
    solver_of_code = coder(seconds_per_command=10)
    log = evaluated(operations(), tmp_path, model=model_of(calls), solver=solver_of_code, sandbox="confined")
    assert log.samples
    first, second, third, _ = [message.text for message in log.samples[0].messages if message.role == "tool"][:4]
    assert "manifest.json" in first
    assert "s3cr3t" not in first
    assert "'data', 'kept', 'link']" in second
    assert "numpy" not in second
    assert "beampipe" in second
    assert "reached" not in second
    assert "time" in third.lower() or third == ""
    assert score(log).value == 1.0


def test_several_samples_at_once(tmp_path: Path) -> None:
    log = evaluated(operations(instances=4), tmp_path, solver=agent("scripted"), model=None, max_samples=4)
    assert log.samples
    assert [sample.id for sample in log.samples] == ["dev-1", "dev-2", "dev-3", "dev-4"]
    assert log.results
    assert {name: metric.value for name, metric in log.results.scores[0].metrics.items()} == {
        "mean": 1.0,
        "stderr": 0.0,
        "operations": 1.0,
    }


def test_programs_find_every_task_in_the_source() -> None:
    tree = ast.parse(Path(inspect_tasks.__file__).read_text())
    decorated = {
        function.name
        for function in tree.body
        if isinstance(function, ast.FunctionDef) and any(ast.unparse(one) == "task" for one in function.decorator_list)
    }
    assert decorated == {*all_tasks(), "practice"}
    for name in all_tasks():
        made = getattr(inspect_tasks, name)(instances=2, level=shipped_task(name).levels[-1])
        assert [sample.id for sample in made.dataset] == ["dev-1", "dev-2"]
    with pytest.raises(ConfigError, match="level: got 4"):
        zmumu(level=4)


def test_a_log_is_graded_by_its_instance(instance: TaskInstance, record: Any) -> None:
    log = json.loads(json.dumps(record.log()))
    assert grade_log(log, instance) == json.loads(json.dumps(record.grade))
    log["submission"]["answers"]["mass"]["value"] *= 1.01
    assert grade_log(log, instance)["status"] == "fail"
    with pytest.raises(InputError, match="expected one at operations"):
        grade_log(log, open_instance("operations"))
    with instance.attempt() as attempt:
        failed = attempt.finish(Answer(None, "out of time", code="time_limit"))
    assert grade_log(failed.log(), instance)["issues"][0] == {
        "severity": "error",
        "code": "time_limit",
        "message": "out of time",
    }


def test_what_others_build_on_does_not_import_inspect_ai() -> None:
    modules = ("assessment", "grading.grade", "grading.judge", "host", "registry", "tools.session", "tools.mcp")
    program = "; ".join(
        [
            "import sys",
            *(f"import beampipe.analysisops.{name}" for name in modules),
            "print('inspect_ai' in sys.modules)",
        ]
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"False\n"
