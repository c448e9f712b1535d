"""What goes wrong with tasks, agents, judges and folders of others: each fault ends with its cause named."""

from __future__ import annotations

import copy
import json
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from beampipe.analysisops.evaluation import Conditions, evaluate, host_assess, rescore
from beampipe.analysisops.host import HostSettings, parse_request
from beampipe.analysisops.ledger import Ledger, read_ledger
from beampipe.analysisops.registry import agent_choice
from beampipe.analysisops.report import write_report
from beampipe.analysisops.runs.engine import RunFolder, read_record
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tasks.load import load_task
from beampipe.errors import ConfigError, FileError, UnknownNameError, WorkflowError
from tests.analysisops.agents.stand_in import completion

from .fault import Fault, cases, check

TASK: Final[dict[str, Any]] = {
    "task_spec.yaml": {
        "version": 2,
        "id": "pairs",
        "type": "pairs",
        "family": "pairs",
        "description": "Number of muon pairs.",
        "levels": [1],
        "answers": {"pairs": {"description": "number of events with two leptons", "unit": "events"}},
    },
    "rubric.yaml": {
        "version": 2,
        "total": 100,
        "gates": [
            {"id": "finished", "type": "status_ok"},
            {"id": "worked", "type": "calls_made"},
            {"id": "evidence", "type": "traceable", "answers": ["pairs"]},
        ],
        "rule_checks": [
            {"id": "pairs", "type": "pull", "points": 80, "answer": "pairs"},
            {"id": "error", "type": "uncertainty", "points": 20, "answer": "pairs", "scaled_by": "pairs"},
        ],
    },
    "eval_ref.yaml": {"version": 2},
    "judge_prompt.md": "{{SUBMISSION_TRACE}}",
    "white_prompt.md": """Count.

{{ANSWERS}}

```steps
{"tool": "list_local_root_files_tool", "arguments": {}, "as": "files"}
{"tool": "inspect_root_schema_tool", "arguments": {"file_path": "@file:data.name"}, "as": "schema"}
{"tool": "load_kinematics_tool", "arguments": {"file_path": "@role:data", "tree_name": "@tree", "branches": \
{"lep_pt": "@branch:lep_pt"}}, "as": "loaded"}
{"tool": "count_tool", "arguments": {"events": "$loaded", "expression": "count(lep_pt) == 2"}, "as": "two"}
{"answer": {"answers": {"pairs": {"value": "$two.sum_weights", "uncertainty": "$two.error"}}}}
```
""",
    "task.py": """
from beampipe.analysisops.samples.collisions import Detector, continuum_pairs, pair_events
from beampipe.analysisops.samples.dataset import Instance, Sample


def make(random):
    number = random.uniform("number", 200.0, 400.0)
    pairs = continuum_pairs(random, "pairs", random.count("pairs", number), scale=30.0, low=40.0, high=200.0)
    events = pair_events(random.generator("detector"), Detector(efficiency=1.0), pairs)
    return Instance((Sample("data", "data", events),), {"pairs": number})
""",
}
"""A task of somebody else, small and quick."""


def task(folder: Path, name: str = "pairs", **changes: object) -> str:
    """The folder of the task; `changes` are files by name with _ for the dot, texts or mappings to merge in."""
    folder = folder / name
    folder.mkdir(parents=True)
    for file, content in copy.deepcopy(TASK).items():
        change = changes.get(file.replace(".", "_"))
        if isinstance(change, Mapping):
            content |= change
        elif change is not None:
            content = change
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        (folder / file).write_text(text, encoding="utf-8")
    for file, change in changes.items():
        if file == "checks_py":
            (folder / "checks.py").write_text(str(change))
    return str(folder)


def runs(folder: Path, tasks: list[str], agent: str = "scripted") -> str:
    """What a run says: scores and issues."""
    records = evaluate(tasks, [agent], Seeds.first(1), folder / "run", levels=(1,))
    return "; ".join(
        f"{record['grade']['final']['normalized_score']} {[one['message'] for one in record['grade']['issues']]}"
        for record in records
    )


def loaded(**changes: Any) -> Callable[[Path], object]:
    """The task with changes, as its author loads it."""
    return lambda folder: load_task(task(folder, **changes))


def ran(**changes: Any) -> Callable[[Path], str]:
    """A run of the task with changes."""
    return lambda folder: runs(folder, [task(folder, **changes)])


def answered(text: str) -> Callable[[Path], str]:
    """A run of a program that leaves a text as its answer."""

    def plant(folder: Path) -> str:
        program = folder / "program.py"
        program.write_text(f"open('answer.json', 'w').write({text!r})")
        return runs(folder, [task(folder)], str(program))

    return plant


def analysed(result: str) -> Callable[[Path], object]:
    """A task whose reference analysis is code with a result."""
    code = f"""
from beampipe.analysisops.agents.analysis import AnalysisResult


def analyse(analysis):
    return AnalysisResult({result})
"""
    return ran(task_py=TASK["task.py"] + code)


@contextmanager
def served(body: bytes, kind: str = "text/html", status: int = 200) -> Iterator[str]:
    """A server that answers everything with one body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def at_address(body: bytes, kind: str = "text/html", status: int = 200) -> Callable[[Path], str]:
    """A run of an agent whose server answers with one body."""

    def plant(folder: Path) -> str:
        with served(body, kind, status) as url:
            return runs(folder, [task(folder)], url)

    return plant


def done(folder: Path) -> Path:
    """The folder of a run that is done."""
    runs(folder, [task(folder)])
    return folder / "run"


def lost(folder: Path) -> str:
    """A run whose record was damaged on disk, graded again."""
    run = done(folder)
    (path,) = [path for path in RunFolder(run).store.root.rglob("*.json") if "about" not in path.name]
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:1000])
    return "\n".join(rescore(run).lines())


def old_record(folder: Path) -> object:
    """A record of another version."""
    (record,) = RunFolder(done(folder)).records()
    del record["contents"], record["seconds"]
    path = folder / "record.json"
    path.write_text(json.dumps(record))
    return read_record(path)


def damaged(name: str, content: bytes) -> Callable[[Path], str]:
    """A run over an instance of which one file has other content."""

    def plant(folder: Path) -> str:
        done(folder)
        (path,) = (folder / "run" / "instances").rglob(name)
        path.write_bytes(content)
        records = evaluate([str(folder / "pairs")], ["oracle"], Seeds.first(1), folder / "run", levels=(1,))
        return f"score {records[0]['grade']['final']['normalized_score']}"

    return plant


def judged(body: bytes) -> Callable[[Path], str]:
    """A run with a judge whose server answers with one body."""

    def plant(folder: Path) -> str:
        with served(body, "application/json") as url:
            rubric = {"llm_checks": [{"id": "words", "type": "llm_reasoning", "points": 20, "output_key": "a.b"}]}
            file = folder / "judge.toml"
            file.write_text(f'base_url = "{url}"\nmodel = "x"\nsamples = 1\n')
            chosen = [task(folder, rubric_yaml=rubric)]
            (record,) = evaluate(chosen, ["scripted"], Seeds.first(1), folder / "run", levels=(1,), judge=str(file))
            return json.dumps(record["grade"]["llm"])

    return plant


def request(**config: Any) -> Callable[[Path], object]:
    document = {"participants": {"agent": "http://127.0.0.1:1/"}, "config": config}
    return lambda _: parse_request(json.dumps(document), HostSettings(("zmumu",)))


def ledger(change: Callable[[list[str]], list[str]]) -> Callable[[Path], object]:
    """A ledger whose lines are changed."""

    def plant(folder: Path) -> object:
        book = Ledger(folder / "ledger.jsonl", b"key")
        for number in (1, 2, 3):
            book.append("count_tool", {}, {"n": number}, sources=["data.root"])
        lines = (folder / "ledger.jsonl").read_text().splitlines()
        (folder / "ledger.jsonl").write_text("".join(f"{line}\n" for line in change(lines)))
        return read_ledger(folder / "ledger.jsonl", b"key", book.last)

    return plant


PROGRAM: Final = """
import json, os
import awkward, uproot

path = os.path.join(os.environ["BEAMPIPE_DATA"], "data.root")
(tree,) = [tree for tree in uproot.open(path).values() if hasattr(tree, "num_entries")]
(name,) = [name for name in tree.keys() if tree[name].array().ndim == 2 and name.lower().endswith("pt")]
number = int(awkward.sum(awkward.num(tree[name].array()) == 2))
json.dump({"answers": {"pairs": {"value": number, "uncertainty": number**0.5}}}, open("answer.json", "w"))
"""

RULES: Final = TASK["rubric.yaml"]["rule_checks"]

CHECKS: Final = """
from dataclasses import dataclass
from beampipe.analysisops.grading.submission import Outcome


@dataclass(frozen=True)
class Own:
    def __call__(self, case):
        value, _ = case.submission.answer("pairs")
        return Outcome(0.0 if value is None else RESULT)


CHECKS = {"own": Own}
"""


def own_check(result: str) -> Callable[[Path], str]:
    """A task with a check that gives a result for an answer."""
    rubric = {"total": 110, "rule_checks": [*RULES, {"id": "mine", "type": "own", "points": 10}]}
    return ran(rubric_yaml=rubric, checks_py=CHECKS.replace("RESULT", result))


FAULTS: Final = (
    # Hosts and seeds.
    Fault("host: a request names a secret seed", request(seeds=[2737469871364]), r"from 1 to 1000000", ConfigError),
    Fault("host: a request for instance 0", request(seeds=[0]), r"got \[0\], expected numbers from 1", ConfigError),
    Fault("host: a level that is none", request(levels=[4]), "got 4, expected 1, 2 or 3", ConfigError),
    Fault("host: a seed as text", request(seeds=["1"]), "seeds: got '1', expected int", ConfigError),
    Fault("host: an unknown key", request(task=["zmumu"]), "unknown key 'task'.*did you mean 'tasks'", ConfigError),
    Fault(
        "host: two tasks of one id",
        lambda folder: host_assess(
            [task(folder), task(folder / "b")], folder / "r", conditions=Conditions(folder / "instances")
        ),
        "of the id pairs, which that in .* has",
        ConfigError,
    ),
    # Folders of tasks.
    Fault(
        "task: two of one id",
        lambda folder: runs(folder, [task(folder), task(folder / "b")]),
        "of the id pairs, which that in .* has",
        ConfigError,
    ),
    Fault(
        "task: the id of a shipped one, by whose rubric it would be graded again",
        ran(task_spec_yaml={"id": "zmumu"}),
        "of the id zmumu, which that in .*tasks/zmumu has; choose another",
        ConfigError,
    ),
    Fault(
        "task: a date in the reference, which records cannot hold",
        ran(eval_ref_yaml="version: 2\nmade: 2024-01-01\n"),
        "eval_ref.yaml: got Object of type date",
        FileError,
    ),
    Fault(
        "task: NaN in the reference",
        ran(eval_ref_yaml="version: 2\nmass: .nan\n"),
        "eval_ref.yaml: got Out of range float",
        FileError,
    ),
    Fault("task: an empty rubric", loaded(rubric_yaml=""), "rubric.yaml: got NoneType, expected a mapping", FileError),
    Fault(
        "task: no reference",
        loaded(task_spec_yaml={"eval_ref_path": "reference.yaml"}),
        "reference.yaml: cannot be read .* expected what answers are compared with",
        FileError,
    ),
    Fault(
        "task: an unknown check",
        loaded(rubric_yaml={"rule_checks": [{**RULES[0], "type": "pulls"}]}),
        "got 'pulls', expected one of .*did you mean 'pull'",
        UnknownNameError,
    ),
    Fault(
        "task: a total that is not the sum",
        loaded(rubric_yaml={"total": 90}),
        "got total = 90, but the rules sum to 100",
        ConfigError,
    ),
    Fault(
        "task: negative points",
        loaded(rubric_yaml={"rule_checks": [{**RULES[0], "points": -80}, RULES[1]]}),
        "pairs: got points = -80, expected a number that is more than 0",
        ConfigError,
    ),
    Fault(
        "task: yes and no without quotes",
        loaded(task_spec_yaml={"words": {"seen": {"choices": [True, False], "description": "x"}}}),
        "words.seen: choices: got True, expected str",
        ConfigError,
    ),
    Fault(
        "task: a hidden parameter that no code draws",
        ran(task_spec_yaml={"parameters": {"nomber": [1, 2]}}),
        "unknown hidden parameter of pairs: got 'nomber'.* did you mean 'number'",
        WorkflowError,
    ),
    Fault(
        "task: code that fails",
        ran(task_py="def make(random):\n    return 1 / 0\n"),
        r"pairs/task.py: failed \(ZeroDivisionError",
        WorkflowError,
    ),
    Fault(
        "task: code that makes nothing",
        ran(task_py="def make(random):\n    pass\n"),
        r"pairs/task.py: failed \(AttributeError: 'NoneType'",
        WorkflowError,
    ),
    Fault(
        "task: a reference analysis that fails",
        ran(task_py=TASK["task.py"] + "\n\ndef analyse(analysis):\n    return analysis.none\n"),
        r"pairs/task.py: failed \(AttributeError: 'Analysis' object has no attribute 'none'",
        WorkflowError,
    ),
    Fault("task: a reference of NaN", analysed('{"pairs": (float("nan"), 1.0)}'), "oracle found nan", WorkflowError),
    Fault("task: a reference without uncertainty", analysed('{"pairs": (5.0, 0.0)}'), r"5.0 \+- 0.0", WorkflowError),
    Fault("task: a reference without the answer", analysed("{}"), "pairs: the oracle found nothing", WorkflowError),
    Fault(
        "task: no events",
        ran(task_spec_yaml={"parameters": {"number": [0, 0]}}),
        r"pairs: the oracle found 0.0 \+- 0.0",
        WorkflowError,
    ),
    Fault("check: gives NaN", own_check('float("nan")'), "check mine, type own: got the fraction nan", str),
    Fault("check: gives 5", own_check("5.0"), "check mine, type own: got the fraction 5.0, expected 0 to 1", str),
    Fault("check: fails", own_check("1 / 0"), r"check mine, type own: it failed \(ZeroDivisionError\)", str),
    Fault("check: gives a text", own_check('"good"'), r"check mine, type own: it failed \(Type", str),
    # Answers of agents and of programs.
    Fault(
        "program: NaN",
        answered('{"answers": {"pairs": {"value": NaN, "uncertainty": 1}}}'),
        "answers.pairs.*not in the form",
        str,
    ),
    Fault("program: no uncertainty", answered('{"answers": {"pairs": {"value": 5}}}'), "answers.pairs.*no such", str),
    Fault(
        "program: a unit in the number",
        answered('{"answers": {"pairs": {"value": "5 events", "uncertainty": 1}}}'),
        "answers.pairs.*not in the form",
        str,
    ),
    Fault(
        "program: another name",
        answered('{"answers": {"Pairs": {"value": 5, "uncertainty": 1}}}'),
        "answers.Pairs.*no such answer",
        str,
    ),
    Fault(
        "program: wrong units",
        answered('{"answers": {"pairs": {"value": 300000.0, "uncertainty": 17.0}}}'),
        "equal numbers for two instances|too far from the reference",
        str,
    ),
    Fault("program: no JSON", answered("pairs = 5"), "answer.json: got no JSON", str),
    Fault("program: a list", answered("[]"), "answer.json: got list, expected an object", str),
    Fault("program: not there", lambda folder: agent_choice(str(folder / "no.py")), "no.py: cannot be read", FileError),
    Fault("agent: a server of HTML", at_address(b"<html>hello</html>"), "Failed to parse JSON for agent", str),
    Fault("agent: a server without a card", at_address(b"<html>no</html>", status=404), "HTTP 404", str),
    Fault("agent: JSON of something else", at_address(b'{"a": 1}', "application/json"), "got no A2A", str),
    Fault(
        "agent: an address without http",
        lambda _: agent_choice("localhost:9019"),
        "got 'localhost:9019', expected one of .*http://HOST:PORT/",
        UnknownNameError,
    ),
    Fault(
        "agent: the same twice",
        lambda folder: evaluate([task(folder)], ["nop", "nop"], Seeds.first(1), folder / "run"),
        "got agents .'nop', 'nop'., expected at least one and none twice",
        ConfigError,
    ),
    # Judges.
    Fault("judge: no JSON", judged(b"not json"), "unscored.*got JSONDecodeError.*expected a chat completion", str),
    Fault(
        "judge: a reply in words",
        judged(json.dumps(completion("very good")).encode()),
        "unscored.*got 'very good', expected one JSON object",
        str,
    ),
    # Files of runs.
    Fault("ledger: its end is cut off", ledger(lambda lines: lines[:-1]), "do not end with the last one", FileError),
    Fault("ledger: half a line", ledger(lambda lines: [*lines[:-1], lines[-1][:20]]), "entry 3 that its", FileError),
    Fault(
        "ledger: another number",
        ledger(lambda lines: [lines[0].replace('"n": 1', '"n": 2'), *lines[1:]]),
        "entry 1 that its host has not signed",
        FileError,
    ),
    Fault("run: a damaged record", lost, "1 assessments of the plan have no record and no result", str),
    Fault("run: a record of another version", old_record, "a record without contents, seconds", FileError),
    Fault(
        "run: results of something else",
        lambda folder: (
            (done(folder) / "results.jsonl").write_text('{"key": 1}\n')
            and write_report(folder / "run", folder / "page.html")
        ),
        "results.jsonl: got a line without a key, an assessment or a result",
        FileError,
    ),
    Fault(
        "run: a plan of another version",
        lambda folder: (
            (done(folder) / "plan.json").write_text('{"version": 1, "assessments": []}') and rescore(folder / "run")
        ),
        "got a run of version 1, expected 2; use the beampipe that made it",
        FileError,
    ),
    Fault("instance: cut data", damaged("data.root", b"root"), "other content of data.root than was", WorkflowError),
    Fault("instance: cut truth", damaged("hidden.json", b"{"), "content of hidden.json or man", WorkflowError),
    Fault("instance: another manifest", damaged("manifest.json", b"{}"), "manifest.json: got KeyError", WorkflowError),
)


@pytest.mark.parametrize("fault", cases(FAULTS))
def test_its_cause_is_named(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)


def test_sound_tasks_and_agents_give_no_remark(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    agents = ["scripted", "oracle", str(program)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Unclosed <MemoryObject")  # by inspect_ai
        records = evaluate([task(tmp_path)], agents, Seeds.first(2), tmp_path / "run", levels=(1,))
        again = rescore(tmp_path / "run")
    for record in records:
        assert record["grade"]["final"]["normalized_score"] > 0.99
        assert record["grade"]["issues"] == []
    assert (again.records, again.missing, again.differences) == (6, 0, ())
