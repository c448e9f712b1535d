"""Instances of tasks: data, reference and public facts, generated once and stored in a private folder of the host."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from beampipe import __version__
from beampipe.analysisops.agents.analysis import Layout, ScriptedAgent
from beampipe.analysisops.contract import Level, Quantity, Reference, TaskRequest
from beampipe.analysisops.grading.checks import double_majority
from beampipe.analysisops.grading.submission import Evidence, read_submission
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.opendata import Catalogue, atlas_catalogue, prepare_open_data
from beampipe.analysisops.references import numbers_in
from beampipe.analysisops.samples.dataset import VERSION, HiddenTruth, prepare
from beampipe.analysisops.tasks.load import PROGRAM, Task, load_program, program_file, reference_analysis, render_prompt
from beampipe.analysisops.tools.data_folder import MANIFEST, DataFolder
from beampipe.analysisops.tools.handles import Artifact, Content, Histogram, TrackLabels
from beampipe.analysisops.tools.session import LocalTools, Session, SessionLimits
from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError
from beampipe.files import make_folder
from beampipe.workflow import digest_of, file_digest

_ORACLE_CALLS: Final = 400

_EFFICIENCY: Final = "efficiency"
"""Name of the reference efficiency in the check `tracks`."""


@dataclass(frozen=True)
class PreparedInstance:
    """An instance that agents can solve.

    Attributes:
        task: the task.
        data: folder with the files and their manifest; it contains no hidden information.
        hidden: the hidden truth.
        reference: result of the reference analysis, with the truth.
        facts: public facts of the data as a whole.
    """

    task: Task
    data: Path
    hidden: HiddenTruth
    reference: Reference
    facts: Mapping[str, Any] = field(default_factory=dict)


def make_data(task: Task, seed: int, folder: Path) -> HiddenTruth:
    """Make the data of an instance, without its reference.

    Args:
        task: the task, one with a family.
        seed: of the instance.
        folder: the files are written into its folder ``data``.

    Raises:
        ConfigError: the task has no family, or its ranges are impossible.
        UnknownNameError: the family or a parameter of it does not exist.
    """
    if not task.spec.family:
        raise ConfigError(f"{task.id}: got a task without a family, expected one with data of its own")
    program = program_file(task.spec.family, task.folder)
    with _blaming(program):
        return prepare(load_program(program).make, task.spec.family, seed, folder, ranges=task.parameters)


@contextmanager
def _blaming(program: Path) -> Iterator[None]:
    """Names the code of a task in its errors."""
    try:
        yield
    except (BeampipeError, OSError):
        raise
    except Exception as error:
        raise ConfigError(f"{program}: failed ({type(error).__name__}: {error})") from error


def prepare_instance(task: Task, seed: int, folder: Path) -> PreparedInstance:
    """Make the data of an instance and compute its reference.

    Args:
        task: the task, one with a family.
        seed: of the instance.
        folder: a private folder of the host; agents access it only through tools.

    Raises:
        ConfigError: the task has no family, or the reference analysis fails or omits an answer.
    """
    hidden = make_data(task, seed, folder)
    data = folder / "data"
    facts = dict(DataFolder(data).public)
    if task.is_live:  # what is right is measured in each assessment
        return PreparedInstance(task, data, hidden, Reference(words=hidden.words), facts)
    if "reference" in hidden.analysis:  # the generator knows what can be achieved
        return PreparedInstance(task, data, hidden, Reference.from_json(hidden.analysis["reference"]), facts)
    session, answer = oracle_session(PreparedInstance(task, data, hidden, Reference(), facts), folder / "oracle.jsonl")
    quantities = {
        name: Quantity(number["value"], number["uncertainty"], task.spec.answers[name].unit)
        for name, number in answer["answers"].items()
        if name in task.spec.answers
    }
    histograms = {}
    for name, handle in answer["histograms"].items():
        content = session.content(handle)
        assert isinstance(content, Histogram)
        histograms[name] = content.reference()
    evidence = evidence_of(answer, session, hidden)
    for labels in evidence.labels.values():
        good, _ = double_majority(labels, evidence.particle_id)
        share = len(good & set(evidence.reconstructable)) / len(evidence.reconstructable)
        quantities[_EFFICIENCY] = Quantity(share, (share * (1 - share) / len(evidence.reconstructable)) ** 0.5)
    reference = Reference(quantities, hidden.truth, histograms, hidden.words)
    for name in task.spec.answers:
        got = quantities.get(name)
        if got is None or not math.isfinite(got.value) or not 0 < got.uncertainty < math.inf:
            found = "nothing" if got is None else f"{got.value} +- {got.uncertainty}"
            raise ConfigError(f"{task.id}: {name}: the oracle found {found}, expected a number and its uncertainty")
    return PreparedInstance(task, data, hidden, reference, facts)


def oracle_session(prepared: PreparedInstance, ledger: Path) -> tuple[Session, dict[str, Any]]:
    """The session of the reference analysis on an instance, and what it submits.

    Raises:
        ConfigError: the reference analysis fails.
    """
    task, request = prepared.task, request_of(prepared, 1)
    limits = SessionLimits(_ORACLE_CALLS)
    session = Session(prepared.data, Ledger(ledger, secrets.token_bytes(32)), limits, literals_of(task, request))
    with _blaming(program_file(task.type, task.folder)):
        answer = oracle_of(task, prepared.hidden).solve(request, LocalTools(session))
    if answer["status"] != "ok":
        raise ConfigError(f"{task.id}: the oracle failed: {answer['comments']}")  # a seed may be secret
    return session, answer


def oracle_of(task: Task, hidden: HiddenTruth) -> ScriptedAgent:
    """The agent with the hidden truth of an instance, whose result is the reference."""
    layout = Layout(hidden.tree, hidden.columns, hidden.energy_unit)
    return ScriptedAgent(lambda _: reference_analysis(task.type, task.folder), layout)


def prepare_open_instance(task: Task, folder: Path, *, catalogue: Catalogue = atlas_catalogue) -> PreparedInstance:
    """Download the real data of a task without a family, such as one of the public benchmark; there is one instance.

    Args:
        task: the task; it names release and skim of ATLAS Open Data.
        folder: a private folder of the host for this task only. Files from an earlier call are checked and reused.
        catalogue: lists the files.

    Raises:
        ConfigError: the task has data of its own, or needs none.
        BeampipeError: the download fails; files that are complete are kept for the next attempt.
    """
    data = DataFolder(prepare_open_data(task, folder / "data", catalogue=catalogue))
    files: dict[str, tuple[str, ...]] = {}
    for file in data.files():
        role = str(file.facts.get("role", ""))
        files[role] = (*files.get(role, ()), file.name)
    # Real data have no known truth: the rubric compares with numbers in the task's eval_ref.yaml.
    return PreparedInstance(task, data.path, HiddenTruth("", 0, "", {}, {}, files=files), Reference(), data.public)


_NAME_CALLS: Final = """

Use the tools of this session for the analysis. Name for each of these numbers in your JSON the result of a tool that it
is: {paths}. A result has a name, "call": "call_7"; add the field "from", such as {{"from": {{"{path}": "call_7.mu"}}}}.
"""
"""Added to prompts of the public benchmark, whose traces name no calls otherwise."""


def request_of(prepared: PreparedInstance, level: Level) -> TaskRequest:
    """The request of an agent to solve an instance."""
    task = prepared.task
    texts = prepared.hidden.analysis.get("texts", {}).get(str(level), {})
    prompt = render_prompt(task, level, {**prepared.facts, **texts})
    if task.rubric.version == 1 and (paths := task.rubric.value_paths):
        prompt += _NAME_CALLS.format(paths=", ".join(paths), path=paths[0])
    return TaskRequest(
        task.id,
        task.type,
        level,
        prompt,
        files=tuple(sorted(name for names in prepared.hidden.files.values() for name in names)),
        data={
            **prepared.facts,
            "histograms": {
                name: {"bins": binning.bins, "low": binning.low, "high": binning.high}
                for name, binning in task.spec.histograms.items()
            },
        },
        constraints={
            "time_limit_sec": task.spec.time_limit,
            "max_tool_calls": task.spec.max_tool_calls,
            "allow_network": False,
        },
    )


def literals_of(task: Task, request: TaskRequest) -> tuple[float, ...]:
    """Numbers that calculations may contain: the task's constants, and the numbers of the prompt."""
    return (*(constant.value for constant in task.spec.constants.values()), *numbers_in(request.prompt))


def evidence_of(submission: object, session: Session, hidden: HiddenTruth) -> Evidence:
    """The histograms and artifacts that the submission names by handle, taken from the session."""
    read = read_submission(submission)
    histograms, labels = {}, {}
    for name, handle in read.section("histograms").items():
        content = _content(session, handle)
        if isinstance(content, Histogram):
            histograms[name] = content.reference()
    for name, handle in read.section("artifacts").items():
        content = _content(session, handle)
        if isinstance(content, TrackLabels):
            labels[name] = content.track_id.tolist()
    return with_truth(Evidence(histograms, labels), hidden)


def with_truth(evidence: Evidence, hidden: HiddenTruth) -> Evidence:
    """The evidence of a submission with the true particles of the instance, which logs do not hold."""
    particles = tuple(label if label > 0 else -1 for label in hidden.labels)  # -1 for noise
    reconstructable = tuple(int(particle) for particle in hidden.analysis.get("particles", ()))
    return replace(evidence, particle_id=particles, reconstructable=reconstructable)


def _content(session: Session, handle: object) -> Content | None:
    """The content of a handle, exported or not; None if there is no such handle."""
    try:
        content = session.content(handle) if isinstance(handle, str) else None
    except UnknownNameError:
        return None
    return content.content if isinstance(content, Artifact) else content


_HIDDEN: Final = "hidden.json"

_NO_WORK: Final = (
    "__init__.py",
    "cli.py",
    "confine.py",
    "demo.py",
    "grading",
    "host.py",
    "opendata.py",
    "report",
    "runs",
    "sandbox.py",
)
"""Modules that do not make data, compute references or run agents; all others count for `work_code`."""


def write_instance(prepared: PreparedInstance, folder: Path) -> None:
    """Write data, reference and hidden truth of an instance into a new folder, for `read_instance`."""
    shutil.copytree(prepared.data, folder / "data")
    _write_hidden(prepared, folder)


def _write_hidden(prepared: PreparedInstance, folder: Path) -> None:
    stored = {
        "hidden": prepared.hidden.to_json(),
        "reference": prepared.reference.to_json(),
        "facts": dict(prepared.facts),
    }
    (folder / _HIDDEN).write_text(json.dumps(stored, allow_nan=False), encoding="utf-8")


def read_instance(task: Task, folder: Path) -> PreparedInstance:
    """An instance that a store or `write_instance` wrote into a folder.

    Raises:
        FileError: a file has other content than when it was written.
    """
    data = folder / "data"
    try:
        stored = json.loads((folder / _HIDDEN).read_bytes())
        hidden, reference = HiddenTruth.from_json(stored["hidden"]), Reference.from_json(stored["reference"])
        good = {file.name for file in DataFolder(data).files() if file_digest(file.path) == file.facts["sha256"]}
        damaged = [name for names in hidden.files.values() for name in names if name not in good]
    except (ValueError, KeyError, TypeError, FileError) as error:
        damaged = [f"{_HIDDEN} or {MANIFEST} ({error})"]
    if damaged:
        raise FileError(
            f"{folder}: got other content of {', '.join(damaged)} than was written; remove this folder, and the"
            " instance is made again",
            path=folder,
        )
    return PreparedInstance(task, data, hidden, reference, stored["facts"])


class InstanceStore:
    """Instances by task and seed. Several processes may use one folder; an instance appears whole or not at all.

    Args:
        folder: folder of the instances; other users cannot read it, since it holds hidden truth beside the data.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        folder.chmod(0o700)
        self._folder = folder

    def get(self, task: Task, seed: int) -> PreparedInstance:
        """An instance; it is made if it does not exist.

        Raises:
            ConfigError: the reference analysis fails or omits an answer.
            BeampipeError: real data cannot be downloaded.
        """
        spec = task.spec
        if not spec.family:
            # Real data: one instance for all seeds. It is downloaded in place, so that the files that are
            # complete are kept.
            return prepare_open_instance(
                task, self._folder / digest_of(["open", spec.release, spec.dataset, spec.skim, spec.max_files])
            )
        # The key is a digest, as the seed is secret.
        ranges = {name: list(given) for name, given in task.parameters.items()}
        key = digest_of([spec.family, task.id, seed, VERSION, ranges, work_code(), program_digest(task)])
        folder = self._folder / key
        if not (folder / _HIDDEN).exists():
            self._make(task, seed, folder)
        return read_instance(task, folder)

    def _make(self, task: Task, seed: int, folder: Path) -> None:
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=self._folder))
        try:
            _write_hidden(prepare_instance(task, seed, part), part)
            try:
                os.rename(part, folder)
            except OSError:
                if not (folder / _HIDDEN).exists():  # another process has made the same meanwhile
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


@cache
def work_code() -> str:
    """Digest of the source code that makes data, computes references and runs agents.

    Tools are imported by name, which `beampipe.workflow.code_digest` does not see, so all files count, comments
    included. The code of a single task counts only for that task, see `program_digest`.
    """
    package = Path(__file__).parent
    paths = [
        path
        for path in sorted(package.rglob("*.py"))
        if (parts := path.relative_to(package).parts)[0] not in _NO_WORK and (parts[0] != "tasks" or len(parts) == 2)
    ]
    return digest_of([__version__, [(path.relative_to(package).as_posix(), file_digest(path)) for path in paths]])


def program_digest(task: Task) -> str:
    """Digest of what makes the data of a task and computes its reference; empty for a task on open data."""
    if not task.spec.family:
        return ""
    programs = [program_file(name, task.folder) for name in (task.spec.family, task.type)]
    others = [path for path in sorted(task.folder.glob("*.py")) if task.is_live and path.name != PROGRAM]
    analysis = reference_analysis(task.type, task.folder)
    files = [file_digest(path) for path in (*programs, *others)]
    return digest_of([*files, analysis if isinstance(analysis, str) else ""])
