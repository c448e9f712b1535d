"""The folder of a run: its plan, its results, a log, and a record of each assessment.

A record is one JSON file that holds all that is needed to grade an assessment again and to show it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.ledger import Entry, entries_to_json
from beampipe.analysisops.runs.plan import Assessment, recipe_of
from beampipe.errors import BusyError, FileError
from beampipe.files import make_folder, write_whole
from beampipe.workflow import EventLog, Store, leased

_FLOAT: Final = "$float"
"""Key of a number that JSON cannot represent."""


@dataclass(frozen=True)
class Record:
    """All that is needed to grade an assessment again and to show it.

    Attributes:
        request: the request to the agent; the address of its tools is left out when it is written.
        submission: the answer as received; None if there was none that could be read.
        grade: the result.
        reference: content of the task's ``eval_ref.yaml`` with the reference of the instance under ``instance``. Agents
            must not see it, so they must not read a folder of records.
        rubric: the rubric that it was graded by.
        ledger: every call of a tool.
        contents: histograms and artifacts that the submission names, by handle, taken from the host.
        judge: the replies of the judge as received, so that grading again needs no judge.
        tokens: tokens by kind, such as ``input`` and ``output``; empty if unknown.
        cost: cost of the agent [USD]; None if unknown.
        seconds: time from the request to the submission [s].
        error: why there is no submission; empty if there is one.
        checks: ``file`` with the task's own checks, and its ``sha256``; empty if the task has none.
    """

    request: TaskRequest
    submission: Any
    grade: Mapping[str, Any]
    reference: Mapping[str, Any] = field(default_factory=dict)
    rubric: Mapping[str, Any] = field(default_factory=dict)
    ledger: Sequence[Entry] = ()
    contents: Mapping[str, Any] = field(default_factory=dict)
    judge: Any = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost: float | None = None
    seconds: float = 0.0
    error: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON types, with the number of tool calls."""
        plain = asdict(replace(self, request=replace(self.request, tools_url=None), ledger=()))
        return {
            **plain,
            "request": replace(self.request, tools_url=None).to_json(),
            "ledger": entries_to_json(self.ledger),
            "tool_calls": len(self.ledger),
        }


def dump(value: object) -> str:
    """A value as canonical JSON text in ASCII: equal values give equal texts; NaN and infinities of agents are kept.

    JSON has no NaN, so it is written as ``{"$float": "nan"}``; keys that begin with ``$`` get another ``$``.
    """
    return json.dumps(_pack(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def load(text: str | bytes) -> Any:
    """Read the output of `dump`.

    Raises:
        ValueError: it is not JSON.
    """
    return _unpack(json.loads(text))


def read_record(path: Path) -> dict[str, Any]:
    """A record from its file.

    Raises:
        FileError: it cannot be read, or is not a record.
    """
    try:
        record = load(path.read_bytes())
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}), expected a record", path=path) from error
    except ValueError as error:
        raise FileError(f"{path}: got {error}, expected the JSON of a record", path=path) from error
    if not isinstance(record, dict) or not {"assessment", "grade", "submission"} <= record.keys():
        raise FileError(f"{path}: got other JSON, expected a record with assessment, submission and grade", path=path)
    return record


def _pack(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(float(value))}
    if isinstance(value, Mapping):
        return {f"${key}" if str(key).startswith("$") else str(key): _pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item) for item in value]
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_FLOAT}:
            return float(value[_FLOAT])
        return {key[1:] if key.startswith("$") else key: _unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    return value


_VERSION: Final = 1
"""Version of the plan's file."""

_MEASURED: Final = ("seconds", "tokens", "cost", "tool_calls", "error")
"""Fields of a record that are copied to its line of the results."""


RUN_FILES: Final = ("plan.json", "results.jsonl")
"""Names of the files of a run that are replaced."""

RUN_MARKS: Final = ('{"assessments":[', '{"assessment":{')
"""How these files begin, for `beampipe.files.require_ours`."""


@dataclass(frozen=True)
class RunFolder:
    """A folder of a run. It holds hidden references, so only its owner may read it.

    ``plan.json`` lists the assessments of the last plan, or of several if it was extended; ``store`` has a record of
    each that is done, and of those of earlier plans; ``results.jsonl`` has a line for each that is done, made from the
    records alone; ``events.jsonl`` is the log, which is only appended to.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def store(self) -> Store:
        """The records."""
        return Store(self.path / "store", log=self.log)

    @property
    def log(self) -> EventLog:
        """The log of the run."""
        return EventLog(self.path / "events.jsonl")

    @property
    def results(self) -> Path:
        """The file of results."""
        return self.path / "results.jsonl"

    @property
    def work(self) -> Path:
        """Folder for files of assessments in progress."""
        return self.path / "work"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process until the block or the process ends.

        Raises:
            FileError: another process works in it.
        """
        make_folder(self.path)
        self.path.chmod(0o700)
        with ExitStack() as held:
            try:
                held.enter_context(leased(self.path / "lock"))
            except BusyError as error:
                raise FileError(
                    f"{self.path}: got a folder that another run works in, expected a free one; wait for its end",
                    path=self.path,
                ) from error
            yield

    def write_plan(self, assessments: Sequence[Assessment], *, extend: bool = False) -> None:
        """Write the plan; if it is extended, after the assessments of the earlier plan."""
        before = self.read_plan() if extend and (self.path / "plan.json").exists() else []
        known_keys = {recipe_of(assessment).key for assessment in before}
        more = [assessment.to_json() for assessment in assessments if assessment.key not in known_keys]
        text = dump({"version": _VERSION, "assessments": [*before, *more]})
        write_whole(self.path / "plan.json", lambda part: part.write_text(text + "\n", encoding="ascii"))

    def read_plan(self) -> list[dict[str, Any]]:
        """The assessments of the plan, as JSON.

        Raises:
            FileError: there is no plan.
        """
        path = self.path / "plan.json"
        try:
            plan = load(path.read_bytes())
            assessments = list(plan["assessments"]) if plan["version"] == _VERSION else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(f"{path}: got {error!r:.80}, expected the plan of a run", path=path) from error
        if assessments is None:
            raise FileError(f"{path}: got version {plan['version']}, expected {_VERSION}", path=path)
        return assessments

    def records(self) -> Iterator[dict[str, Any]]:
        """The records of the plan's assessments that are done, in the plan's order, one at a time."""
        store = self.store
        for assessment in self.read_plan():
            path = store.load(recipe_of(assessment))
            if path is not None:
                yield read_record(path)

    def write_results(self, lines: Sequence[Mapping[str, Any]]) -> Path:
        """Write the results; equal lines give equal bytes."""
        text = "".join(f"{dump(line)}\n" for line in lines)
        return write_whole(self.results, lambda part: part.write_text(text, encoding="ascii"))

    def read_results(self) -> list[dict[str, Any]]:
        """The lines of the results: ``key``, ``assessment``, ``result`` and what was measured.

        Raises:
            FileError: there are none, or the file is truncated.
        """
        try:
            return [load(line) for line in self.results.read_bytes().splitlines()]
        except OSError as error:
            raise FileError(
                f"{self.results}: cannot be read ({error.strerror}), expected the results of a run", path=self.results
            ) from error
        except json.JSONDecodeError as error:
            raise FileError(f"{self.results}: got {error}, expected a line of JSON each", path=self.results) from error

    def missing(self) -> list[dict[str, Any]]:
        """The assessments that are not done, as JSON: those of the plan, and those that only other agents have in it.

        With them as 0, all agents are compared on the same instances.
        """
        store, plan = self.store, self.read_plan()
        not_done = [assessment for assessment in plan if store.find(recipe_of(assessment)) is None]
        cells = {_cell(assessment): assessment for assessment in plan}
        planned = {(assessment["agent"], _cell(assessment)) for assessment in plan}
        return not_done + [
            {**assessment, "agent": agent}
            for agent in dict.fromkeys(assessment["agent"] for assessment in plan)
            for cell, assessment in cells.items()
            if (agent, cell) not in planned
        ]


def _cell(assessment: Mapping[str, Any]) -> tuple[Any, ...]:
    """What agents have to have in common to be compared: an instance, a prompt and a repetition."""
    return tuple(assessment[name] for name in ("task_id", "level", "seed", "secret", "epoch"))


def result_line(record: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the results: a record without request and submission."""
    key = recipe_of(record["assessment"]).key
    measured = {name: record[name] for name in _MEASURED}
    return {"key": key, "assessment": record["assessment"], "result": result, **measured}
