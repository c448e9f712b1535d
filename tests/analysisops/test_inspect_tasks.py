"""Tasks of inspect_ai: a model that replays the reference analysis, solvers without a model, and what logs hold."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="pip install inspect_ai, which needs an old fsspec")

from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.inspect_tasks import registered
from beampipe.analysisops.instances import InstanceStore, PreparedInstance
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.runs.engine import Seeds
from beampipe.analysisops.tasks.load import all_tasks, shipped_task

pytestmark = pytest.mark.filterwarnings("ignore")  # inspect_ai leaves streams open


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secret") / "secret"
    file.write_text("a secret of more than thirty-two bytes, of this test")
    return file


@pytest.fixture(scope="module")
def prepared(secret: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedInstance:
    (seed,) = Seeds((1,), secret).of("zmumu", 3)
    return InstanceStore(tmp_path_factory.mktemp("instances")).get(shipped_task("zmumu"), seed.value)


def outputs(prepared: PreparedInstance, folder: Path, answer: str = "") -> Iterator[ModelOutput]:
    """The calls of the scripted agent as outputs of a model, and its answer or another one."""
    record = assess(prepared, 3, 1, ask_here(make_agent("scripted")), folder)
    usage = ModelUsage(input_tokens=100, output_tokens=10, total_tokens=110)
    calls = [
        (entry.tool, {name: value for name, value in entry.arguments.items() if value is not None})
        for entry in record.ledger
    ]
    calls.append(("submit", {"answer": answer or json.dumps(record.submission)}))
    for name, arguments in calls:
        output = ModelOutput.for_tool_call("mockllm/model", name, arguments)
        output.usage = usage
        yield output


def evaluated(folder: Path, secret: Path, **settings: Any) -> EvalLog:
    task = registered()["zmumu"](seeds="1", level=3, secret_file=str(secret))
    (log,) = inspect_eval(task, log_dir=str(folder), display="none", **settings)
    assert log.status == "success", log.error
    return log


def score(log: EvalLog) -> Any:
    assert log.samples
    scores = log.samples[0].scores
    assert scores
    return scores["grade"]


def test_a_model_that_makes_the_right_calls_solves_the_task(
    prepared: PreparedInstance, secret: Path, tmp_path: Path
) -> None:
    model = get_model("mockllm/model", custom_outputs=list(outputs(prepared, tmp_path)))
    log = evaluated(tmp_path / "logs", secret, model=model)
    assert score(log).value >= 0.95
    assert score(log).metadata["checks"]["mass"] >= 0.95
    assert log.samples[0].id == "eval-1"

    with zipfile.ZipFile(log.location.removeprefix("file://")) as archive:
        texts = [archive.read(name).decode(errors="replace") for name in archive.namelist()]
    seed = Seeds((1,), secret).of("zmumu", 3)[0].value
    reference = prepared.reference.quantities["mass"].uncertainty
    for hidden in (seed, prepared.hidden.seed, *prepared.hidden.truth.values(), *prepared.hidden.parameters.values()):
        if len(repr(hidden)) >= 8:  # small numbers stand in any text
            assert not any(repr(hidden) in text for text in texts)
    assert not any("reference_uncertainty" in text or '"pull"' in text for text in texts)
    assert any(repr(reference) in text for text in texts), "the log was read: it has what the tools returned"


def test_an_answer_that_is_none_scores_nothing(prepared: PreparedInstance, secret: Path, tmp_path: Path) -> None:
    model = get_model("mockllm/model", custom_outputs=list(outputs(prepared, tmp_path, "about 91 GeV")))
    log = evaluated(tmp_path / "logs", secret, model=model)
    assert score(log).value == 0.0
    assert score(log).metadata["status"] == "error"


def test_solvers_without_a_model(secret: Path, tmp_path: Path) -> None:
    for solver, value in ((registered()["scripted"](), 1.0), (registered()["nop"](), 0.0)):
        assert score(evaluated(tmp_path, secret, solver=solver, model="mockllm/model")).value == value


@pytest.mark.parametrize("name", all_tasks())
def test_every_task_is_there(name: str) -> None:
    made = registered()[name](seeds="1+2")
    assert [sample.id for sample in made.dataset] == ["dev-1", "dev-2"]
    assert made.dataset[0].metadata == {"task": name, "instance": "dev-1", "level": 3}


def test_the_entry_point_registers_all() -> None:
    from inspect_ai._util.registry import registry_info

    from beampipe.analysisops import inspect_tasks

    assert inspect_tasks.REGISTERED is registered()
    names = {registry_info(value).name for value in registered().values()}
    assert names == {f"beampipe/{name}" for name in (*all_tasks(), "analyst", "scripted", "nop", "grade")}
