"""Agents that bring their own code: the host runs a program on the data of an instance, and on those of a second one.

A program of Python, or any executable, finds a copy of the data in the folder that ``BEAMPIPE_DATA`` names, and the
request in the file that ``BEAMPIPE_REQUEST`` names. It may use what is installed beside beampipe: uproot, awkward,
numpy, scipy, iminuit, pyhf, and hist if it is there. It leaves ``answer.json`` in its working directory:

    {
      "status": "ok",
      "answers": {"mass": {"value": 90.91, "uncertainty": 0.04}},
      "words": {"signal": "yes"},
      "histograms": {"mass": {"edges": [70.0, 70.5, 71.0], "values": [12, 15]}},
      "artifacts": {"labels": [0, 0, -1, 1], "workspace": {"channels": []}},
      "method": {"selection": "..."},
      "comments": ""
    }

A task asks for some of these; a workspace is the JSON of pyhf with the modifiers normfactor, normsys and staterror.

The ledger holds the run of the program as one call whose result are these numbers, so they come from the data that the
program was given. A program that knows the numbers of one instance fails on the second, which only the host has seen:
the lower score of both counts, and equal answers to both score 0.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from beampipe.analysisops.agents.agent import Answer, stated_answer
from beampipe.analysisops.assessment import Ask
from beampipe.analysisops.contract import PROGRAM_RUN, TaskRequest
from beampipe.analysisops.grading.result import FAILED, ungraded
from beampipe.analysisops.grading.submission import number_of, read_histogram
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.references import CALL, call_name, referenced
from beampipe.analysisops.runs.engine import Record
from beampipe.analysisops.sandbox import Sandbox, SandboxLimits, best_kind
from beampipe.analysisops.tasks.load import TaskSpec
from beampipe.analysisops.tools.data_folder import MANIFEST, DataFolder
from beampipe.analysisops.tools.handles import Content, Histogram, TrackLabels, Workspace, frozen
from beampipe.analysisops.tools.session import Session
from beampipe.analysisops.tools.workspaces import read_workspace
from beampipe.errors import BeampipeError, FileError
from beampipe.files import make_folder

ANSWER: Final = "answer.json"
"""Name of the file that a program leaves."""

DATA: Final = "BEAMPIPE_DATA"
"""Environment variable with the read-only folder of the data."""

REQUEST: Final = "BEAMPIPE_REQUEST"
"""Environment variable with the file of the request, the same JSON that other agents receive."""

LARGEST: Final = 4 << 20
"""Maximum size of the answer [bytes]."""

_MOST_BINS: Final = 10_000

_SHOWN: Final = 300
"""Number of characters of a failed program's output that are shown."""


def second_seed(task_id: str, seed: int) -> int:
    """Seed of the second instance; it is as secret as the first."""
    return int.from_bytes(hashlib.sha256(f"second instance\n{task_id}\n{seed}".encode()).digest()[:7])


def ask_program(program: Path, prepared: PreparedInstance) -> Ask:
    """Run a program on a copy of the data, without network if the system supports namespaces.

    Args:
        program: Python file, or any executable.
        prepared: the instance.
    """

    def ask(request: TaskRequest, session: Session) -> Answer:
        spec = prepared.task.spec
        home = Path(tempfile.mkdtemp(prefix="beampipe-program-"))
        try:
            request = replace(request, prompt=f"{request.prompt}\n\n{instructions(spec)}")
            home.chmod(0o755)
            given = home / "given"
            given.mkdir(mode=0o755)
            own, request_file = given / program.name, given / "request.json"
            environment = {DATA: str(copy_data(prepared.data, given / "data")), REQUEST: str(request_file)}
            request_file.write_text(json.dumps(request.to_json()), encoding="utf-8")
            request_file.chmod(0o644)
            shutil.copyfile(program, own)
            own.chmod(0o755)
            executable = program.suffix != ".py" and bool(program.stat().st_mode & stat.S_IXUSR)
            command = [str(own)] if executable else [sys.executable, str(own)]
            limits, network = SandboxLimits(seconds=spec.time_limit), best_kind() != "namespaces"
            sandbox = Sandbox(limits, read_only=[given], network=network, package=False)
            with sandbox.running(command, environment) as confined:
                code = confined.wait()
                if code != 0:
                    reason = confined.ended_by or f"exit status {code}"
                    return Answer(None, f"program: {reason}; its output: {confined.output()[-_SHOWN:]}")
                answer = read_answer(confined.work)
            return Answer(submission_from(answer, prepared, session))
        except BeampipeError as error:
            return Answer(None, str(error))
        except Exception as error:  # whatever an answer causes is the program's failure
            return Answer(None, f"{type(error).__name__} while {ANSWER} was read")
        finally:
            for folder in (home, *(path for path in home.rglob("*") if path.is_dir())):
                folder.chmod(0o700)
            shutil.rmtree(home, ignore_errors=True)

    return ask


def instructions(spec: TaskSpec) -> str:
    """The part of a task's prompt that says what a program gets and leaves."""
    return f"""## Your own code in place of tools

There are no tools, calls or handles. Hand in a program; it is run on these data and on others of the same kind, without
network, and the lower score counts. The environment variable {DATA} names the folder of the data: {MANIFEST} describes
the files. Leave {ANSWER} in the working directory, plain numbers in place of calls and handles:

{json.dumps(answer_form(spec))}
"""


def answer_form(spec: TaskSpec) -> dict[str, Any]:
    """The form of an answer with plain numbers, as a JSON object."""
    form = {
        "answers": {name: {"value": 0.0, "uncertainty": 0.0} for name in spec.answers},
        "words": dict.fromkeys(spec.words, ""),
        "histograms": {name: {"edges": [], "values": []} for name in spec.histograms},
        "artifacts": {name: {} if name == "workspace" else [] for name in spec.artifacts},
    }
    return {"status": "ok", **{name: value for name, value in form.items() if value}, "comments": ""}


def copy_data(data: Path, folder: Path) -> Path:
    """Copy a manifest and the files that it lists into a new, read-only folder, and nothing that lies beside them."""
    make_folder(folder)
    for path in (*(file.path for file in DataFolder(data).files()), data / MANIFEST):
        shutil.copyfile(path, folder / path.name)
        (folder / path.name).chmod(0o444)
    folder.chmod(0o555)
    return folder


def read_answer(folder: Path) -> dict[str, Any]:
    """The answer that a program left. Links, pipes and devices are refused, since they could lead to files of the host.

    Raises:
        FileError: there is no plain file of that name, or it is too large, or no JSON object.
    """

    def fault(got: str, expected: str) -> FileError:
        return FileError(f"{ANSWER}: got {got}, expected {expected}", name=ANSWER)

    try:
        descriptor = os.open(folder / ANSWER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise fault(f"no such file ({error.strerror})", "a plain file in the working directory") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise fault(f"{status.st_size} bytes, or no plain file", f"a file of at most {LARGEST} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            text = file.read(LARGEST)
    finally:
        os.close(descriptor)
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fault(f"no JSON ({str(error)[:80]})", "an object") from error
    if not isinstance(answer, dict):
        raise fault(type(answer).__name__, "an object")
    return answer


def submission_from(answer: Mapping[str, Any], prepared: PreparedInstance, session: Session) -> dict[str, Any]:
    """The submission for the answer of a program, whose run is written to the ledger.

    What the task does not ask for, and what is of another form than it asks for, is left out and listed.
    """
    spec = prepared.task.spec
    files = [file.name for file in DataFolder(prepared.data).files()]
    numbers = {}
    for name, pair in _section(answer, "answers").items():
        given = {key: number_of(pair.get(key)) for key in ("value", "uncertainty")} if isinstance(pair, dict) else {}
        if name in spec.answers and given and None not in given.values():
            numbers[name] = given
    contents: dict[str, dict[str, Content]] = {"histograms": {}, "artifacts": {}}
    for name, table in _section(answer, "histograms").items():
        histogram = _histogram(name, table)
        if name in spec.histograms and histogram is not None:
            contents["histograms"][name] = histogram
    for name, given in _section(answer, "artifacts").items():
        left: Content | None = None
        if not isinstance(given, list):
            left = read_workspace(given)
        elif {type(label) for label in given} <= {int}:  # the track of each hit
            track_id = np.clip(np.array(given, dtype=object), -1, len(given)).astype(np.int64)
            left = TrackLabels(frozen(track_id), frozen(np.array([0, len(given)])), (len(set(given) - {-1}),))
        if name in spec.artifacts and left is not None:
            contents["artifacts"][name] = left
    handles = {
        section: {name: session.keep(content, files) for name, content in named.items()}
        for section, named in contents.items()
    }
    result = {CALL: call_name(len(session.ledger.entries) + 1), "answers": numbers, **handles}
    for name, artifact in contents["artifacts"].items():
        if isinstance(artifact, Workspace):
            result |= {"handle": handles["artifacts"][name], "workspace": artifact.specification}
    session.ledger.append(PROGRAM_RUN, {}, result, sources=files)
    answers = referenced(result)["answers"]
    used: dict[str, Mapping[str, object]] = {"answers": numbers, **contents}
    left_out = [f"{part}.{name}"[:80] for part in used for name in _section(answer, part) if name not in used[part]]
    return {
        "task_id": prepared.task.id,
        "status": answer.get("status", "ok"),
        **({"left_out": left_out[:20]} if left_out else {}),
        "answers": {name: stated_answer(pair["value"], pair["uncertainty"]) for name, pair in answers.items()},
        **handles,
        **{name: answer[name] for name in ("words", "method", "comments") if name in answer},
    }


def lower_of(first: Record, second: Record) -> Record:
    """The record with the lower score of a program's runs on two instances; 0 if it answered the same to both."""
    scores = [record.grade["final"]["normalized_score"] for record in (first, second)]
    record = (first, second)[scores.index(min(scores))]
    numbers = [
        [answer["value"] for answer in one.submission["answers"].values()] if one.submission else []
        for one in (first, second)
    ]
    if numbers[0] and numbers[0] == numbers[1]:
        reason = "program: got equal numbers for two instances, expected numbers that are computed from the data"
        grade = ungraded(
            reason,
            **{key: first.grade[key] for key in ("task_id", "type", "level", "seed")},
            max_score=first.grade["final"]["max_score"],
        )
        record = replace(first, grade=grade, error=reason, code=FAILED)
    return replace(record, grade={**record.grade, "instances": scores}, scores=scores)


def _section(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = answer.get(name)
    return section if isinstance(section, dict) else {}


def _histogram(name: str, table: object) -> Histogram | None:
    """A histogram of finite numbers; None if the table is not of that form."""
    if not isinstance(table, dict):
        return None
    lists = [table.get(key) for key in ("edges", "values")]
    if not all(isinstance(numbers, list) and len(numbers) <= _MOST_BINS for numbers in lists):
        return None
    histogram, _ = read_histogram(table, name)
    if histogram is None:
        return None
    edges, values = (frozen(np.array(numbers, np.float64)) for numbers in (histogram.edges, histogram.values))
    return Histogram(edges, values, values, 0.0, 0.0, int(min(abs(values.sum()), 2**62)), name)
