"""`beampipe analysisops ...` as a shell calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from beampipe.analysisops.cli import app
from beampipe.analysisops.evaluation import evaluate, task_folder
from beampipe.analysisops.registry import agent_choice, judge_choice, make_agent
from beampipe.analysisops.runs.engine import RunFolder
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tasks.load import shipped_tasks
from beampipe.errors import ConfigError, UnknownNameError
from tests.analysisops.agents.stand_in import completion, stand_in

RUN = CliRunner()


def called(*arguments: object) -> str:
    done = RUN.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_tasks_are_listed_and_checked() -> None:
    listed = called("tasks")
    assert all(name in listed for name in shipped_tasks())
    assert "zmumu: version 2, levels 1, 2, 3" in called("check", shipped_tasks()["zmumu"])


def test_a_sample_tells_what_is_hidden_only_where_asked(tmp_path: Path) -> None:
    called("sample", "jets", "-o", tmp_path / "made", "--seed", 5, "--hidden", tmp_path / "hidden.json")
    assert {path.name for path in (tmp_path / "made").rglob("*") if path.is_file()} == {
        "data.root",
        "simulation.root",
        "manifest.json",
    }
    assert json.loads((tmp_path / "hidden.json").read_text())["truth"]["sf_quark"] > 0


def test_a_run_is_summed_up_goes_on_and_is_graded_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    request = ("run", "-t", "operations", "-a", "scripted", "-a", "nop", "-l", 1, "-o", folder)
    first = called(*request)
    assert [line.split()[1] for line in first.splitlines() if "\u2502" in line] == ["nop", "scripted"]
    assert first.splitlines()[-1] == "nop, operations: worked: 0 calls gave something of the data, expected 3"
    written = (folder / "results.jsonl").read_bytes()
    called(*request)
    assert (folder / "results.jsonl").read_bytes() == written
    assert "2 records graded again: 0 results changed" in called("rescore", folder)
    assert (folder / "results.jsonl").read_bytes() == written
    called("report", folder, "-o", tmp_path / "report.html")
    assert "scripted" in (tmp_path / "report.html").read_text()


def test_what_an_agent_writes_moves_no_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called("run", "-t", "operations", "-a", "nop", "-l", 1, "-o", tmp_path / "run")
    results = RunFolder(tmp_path / "run").read_results()
    results[0]["result"]["issues"] = [{"severity": "error", "message": "\x1b[2Jfine\n\u202e1.000" + 1000 * "x"}]
    monkeypatch.setattr(RunFolder, "read_results", lambda _: results)
    last = called("report", tmp_path / "run", "-o", tmp_path / "page.html").splitlines()[-1]
    assert last.startswith("nop, operations:  [2Jfine  1.000xxx")
    assert len(last) < 450


def test_a_model_judges_a_run_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(asked: dict[str, Any]) -> dict[str, Any]:
        schema = asked["response_format"]["json_schema"]["schema"]
        assert schema["type"] == "object"
        return completion(json.dumps(filled(schema)))

    judge = tmp_path / "judge.toml"
    with stand_in(verdict) as model:
        judge.write_text(f'base_url = "{model.base_url}"\nmodel = "m"\nsamples = 3\napi_key_variable = "JUDGES_KEY"\n')
        with pytest.raises(ConfigError, match="JUDGES_KEY"):
            judge_choice(str(judge))
        monkeypatch.setenv("JUDGES_KEY", "secret")
        records = {
            who: evaluate(["operations"], ["scripted"], Seeds.first(1), tmp_path / str(k), levels=(1,), judge=who)
            for k, who in enumerate((str(judge), "offline", "none"))
        }
    assert len(model.asked) == 3
    assert all(header["Authorization"] == "Bearer secret" for header in model.headers)
    grades = [item["grade"] for (item,) in records.values()]
    assert grades[0]["llm"]["meta"]["judge"]["name"].startswith("m at ")
    assert grades[2]["llm"]["status"] == "unscored"
    assert grades[0]["final"] == grades[1]["final"] == grades[2]["final"]
    assert len({item["assessment"]["task"] for (item,) in records.values()}) == 3
    with pytest.raises(UnknownNameError, match="did you mean 'offline'"):
        judge_choice("ofline")


def test_a_model_without_its_key_is_refused_before_the_run(tmp_path: Path) -> None:
    file = tmp_path / "model.toml"
    file.write_text('base_url = "http://127.0.0.1:1/v1"\nmodel = "m"\napi_key_variable = "NO_SUCH_KEY"\n')
    with pytest.raises(ConfigError, match=r"got no \$NO_SUCH_KEY"):
        evaluate(["operations"], [str(file)], Seeds.first(1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def filled(schema: dict[str, Any]) -> Any:
    """Something of a schema: each constant, and the least of each number."""
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [""])[0])
    if schema["type"] == "object":
        return {name: filled(item) for name, item in schema["properties"].items()}
    return {"string": "words", "array": []}.get(schema["type"], schema.get("minimum", 0))


def test_agents_and_tasks_by_name_address_and_file(tmp_path: Path) -> None:
    for name in ("", "mine v2="):
        choice = agent_choice(f"{name}http://127.0.0.1:9019/a?b=c")
        assert choice.name == (name[:-1] or "http://127.0.0.1:9019/a?b=c")
        assert choice.settings == {"url": "http://127.0.0.1:9019/a?b=c"}
    with pytest.raises(UnknownNameError, match="did you mean 'scripted'"):
        agent_choice("scriptet")
    with pytest.raises(UnknownNameError, match="unknown agent"):
        make_agent("oracle")  # what is hidden is the host's alone
    with pytest.raises(UnknownNameError, match="did you mean 'zmumu'"):
        task_folder("zmuu")
    path = tmp_path / "model.toml"
    path.write_text('base_url = "http://127.0.0.1:8000/v1"\nmodel = "m"\nmodee = "json"\n')
    with pytest.raises(ConfigError, match="did you mean 'mode'"):
        agent_choice(str(path))
    path.write_text('base_url = "http://127.0.0.1:8000/v1"\nmodel = "m"\n')
    one = agent_choice(str(path))
    path.write_text('base_url = "http://127.0.0.1:8000/v1"\nmodel = "m"\ntemperature = 0.5\n')
    assert one.name == agent_choice(str(path)).name == "model"
    assert one.settings["digest"] != agent_choice(str(path)).settings["digest"]
