"""Run a plan, and grade a run again.

A run skips what is done; a failure stops nothing else, and a kill costs only what was under way. Grading again needs
the records alone: no agent and no judge is called, and no data are made.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.runs.folder import Record, RunFolder, dump, error_result, result_line
from beampipe.analysisops.runs.plan import Assessment, RunPlan, recipe_of
from beampipe.errors import ConfigError, InputError, WorkflowError
from beampipe.workflow import Store, Task, code_digest, file_digest, open_pool
from beampipe.workflow import run as run_tasks
from beampipe.workflow.digests import NO_RESULT

Assess = Callable[[Assessment, Path], Record]
"""``assess(assessment, folder)`` asks an agent and grades its answer. The folder is empty, and removed afterwards. What
the agent does wrong is a record; an exception is the host's fault. With several workers it must be a function of a
module, or a partial of one."""

_NO_WORK: Final = (
    *NO_RESULT,
    "beampipe.analysisops.grading",
    "beampipe.analysisops.report",
    "beampipe.analysisops.cli",
)
"""Code that shapes no agent's work: when it changes, records are graded again, and no agent is asked again."""


def run(
    plan: RunPlan,
    assess: Assess,
    folder: Path,
    *,
    workers: int = 1,
    progress: Callable[[str], object] | None = None,
    code: str | None = None,
    extend: bool = False,
) -> list[dict[str, Any]]:
    """Do each assessment of a plan that is not done yet, and write the results.

    It may be killed at any time. What is done is in the folder, and a run of the same plan goes on with the rest.

    Args:
        plan: the plan.
        assess: does one assessment.
        folder: folder of the run; it is made if there is none, and closed to others.
        workers: how many assessments at once; more than one run in processes beside this one.
        progress: is called with the label of each assessment that is done.
        code: digest of the code that asks agents and makes the data; by default that of the module of `assess` with all
            that it imports from beampipe, but for grading and reports.
        extend: what the folder's earlier plan asks for stays part of the run, its results and its page.

    Returns:
        The record of each assessment, in the plan's order.

    Raises:
        WorkflowError: the host failed in some assessments; the others are done, kept and in the results.
        FileError: another run works in the folder, or the secret of the seeds cannot be used.
    """
    place = RunFolder(folder)
    assessments = plan.assessments(_code_of(assess) if code is None else code)
    with place.locked():
        shutil.rmtree(place.work, ignore_errors=True)  # of a run that was killed
        place.work.mkdir(exist_ok=True)
        place.write_plan(assessments, extend=extend)
        place.store.sweep()
        failed: WorkflowError | None = None
        try:
            _do(assessments, assess, place, workers, progress)
        except WorkflowError as error:
            failed = error
        records = list(place.records())
        place.write_results([result_line(record, record["grade"]) for record in records])
        wanted = {one.key for one in assessments}
        shutil.rmtree(place.work, ignore_errors=True)
    if failed is not None:
        raise failed
    return [record for record in records if recipe_of(record["assessment"]).key in wanted]


def _do(
    assessments: tuple[Assessment, ...],
    assess: Assess,
    place: RunFolder,
    workers: int,
    progress: Callable[[str], object] | None,
) -> None:
    tasks = [Task(one.label, _assess_one, (one, assess, place.store, place.work)) for one in assessments]
    told = None if progress is None else (lambda task: progress(task.label))
    spec, window = ("inline", 1) if workers == 1 else ("processes", None)
    with open_pool(spec, workers) as pool:
        run_tasks(tasks, pool, log=place.log, progress=told, window=window)


def _assess_one(assessment: Assessment, assess: Assess, store: Store, work: Path) -> None:
    """Do one assessment and commit its record, unless it is there."""

    def make(part: Path) -> None:
        folder = Path(tempfile.mkdtemp(prefix=f"{assessment.key[:12]}-", dir=work))
        try:
            record = assess(assessment, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        part.write_text(_text(assessment, record), encoding="ascii")

    store.get(assessment.recipe, ".json", make)


def _text(assessment: Assessment, record: Record) -> str:
    """The file of a record. Answers that are nested too deep to be written are the agent's failure, not the host's."""
    try:
        return _dump(assessment, record)
    except RecursionError:
        reason = "the submission is nested too deep to be read"
        grade = error_result(
            assessment.task.task_id, assessment.task.family, assessment.level, assessment.seed.label, reason
        )
        return _dump(assessment, replace(record, submission=None, contents={}, grade=grade, error=reason))


def _dump(assessment: Assessment, record: Record) -> str:
    text = dump({"assessment": assessment.to_json(), **record.to_json()}) + "\n"
    if assessment.seed.kind == "evaluation" and str(assessment.seed.value) in text:
        raise InputError(
            f"record of {assessment.label}: got the value of a secret seed in it, expected its label"
            f" {assessment.seed.label!r}; the host must hand out labels only"
        )
    return text


def _code_of(assess: Assess) -> str:
    """Digest of the code behind a function, or behind a partial of one."""
    function = getattr(assess, "func", assess)
    module = getattr(function, "__module__", None)
    if not isinstance(module, str) or module == "__main__":
        raise ConfigError(f"assess: got {assess!r:.80} of no module, expected a function of a module, or `code`")
    return code_digest(module, module.partition(".")[0], but=_NO_WORK)




Grade = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""``grade(record)`` gives the result of a record by its submission, ledger, contents, reference, rubric and judge."""

Today = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""``today(record)`` gives parts of the record as the task has them now, such as ``rubric`` and ``reference``."""


@dataclass(frozen=True)
class Difference:
    """A record whose result is another than when it was made.

    Attributes:
        label: the assessment to a reader.
        before: normalised score when it was made.
        after: normalised score now.
    """

    label: str
    before: float
    after: float


@dataclass(frozen=True)
class Rescored:
    """What came of grading a run again.

    Attributes:
        results: the file of results.
        sha256: digest of the file: the same records and rules give the same.
        records: how many were graded.
        differences: those whose result changed in any way, be it only in its words.
        changed: parts of tasks that are others now than when the agents were graded, e.g. ``"zmumu: rubric"``.
    """

    results: Path
    sha256: str
    records: int
    differences: tuple[Difference, ...]
    changed: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The outcome in words."""
        yield f"{self.records} records graded again: {len(self.differences)} results changed; sha256 {self.sha256}"
        for part in self.changed:
            yield f"changed since the run: {part}"
        for one in self.differences:
            yield f"{one.label}: {one.before:.4f} -> {one.after:.4f}"


def rescore(folder: Path, grade: Grade, *, today: Today | None = None) -> Rescored:
    """Grade every record of a run again, and write its results anew.

    The records stay as they are, so this can be done any number of times; the same rules give the same bytes.

    Args:
        folder: folder of the run.
        grade: grades a record.
        today: gives the parts of a record that are to be graded by in place of the recorded ones; None for a grade by
            the rubric of then.

    Raises:
        FileError: the folder holds no run, or another run works in it.
    """
    place = RunFolder(folder)
    place.read_plan()  # refuses a folder without a run before anything is made in it
    lines: list[dict[str, Any]] = []
    differences: list[Difference] = []
    changed: dict[str, None] = {}
    with place.locked():
        for record in place.records():
            now = {} if today is None else dict(today(record))
            task = record["assessment"]["task_id"]
            changed |= dict.fromkeys(f"{task}: {name}" for name in now if dump(now[name]) != dump(record.get(name)))
            result = grade({**record, **now})
            if dump(result) != dump(record["grade"]):
                label = recipe_of(record["assessment"]).label
                differences.append(Difference(label, _score(record["grade"]), _score(result)))
            lines.append(result_line(record, result))
        path = place.write_results(lines)
    place.log.write("rescored", label=f"{len(lines)} records", differences=len(differences), changed=list(changed))
    return Rescored(path, file_digest(path), len(lines), tuple(differences), tuple(changed))


def _score(result: Mapping[str, Any]) -> float:
    return float(result["final"]["normalized_score"])
