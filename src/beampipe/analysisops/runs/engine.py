"""Run a plan, and grade a run again.

A run skips completed assessments. A failure does not stop the others, and a kill loses only those in progress. Grading
again needs only the records: it calls no agent or judge and makes no data.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from beampipe.analysisops.grading.result import ungraded
from beampipe.analysisops.runs.folder import Record, RunFolder, dump, load, result_line
from beampipe.analysisops.runs.plan import Assessment, RunPlan, recipe_of
from beampipe.errors import InputError, WorkflowError
from beampipe.workflow import Store, Task, file_digest, open_pool
from beampipe.workflow import run as run_tasks

Assess = Callable[[Assessment, Path], Record]
"""``assess(assessment, folder)`` lets an agent work and grades its answer. The folder is empty, and removed afterwards.
Failures of the agent are part of the record; an exception is a failure of the host. With several workers it must be a
function of a module, or a partial of one."""


def run(
    plan: RunPlan,
    assess: Assess,
    folder: Path,
    *,
    workers: int = 1,
    progress: Callable[[str], object] | None = None,
    code: str = "",
    extend: bool = False,
) -> list[dict[str, Any]]:
    """Do each assessment of a plan that is not done yet, and write the results.

    It may be killed at any time: completed assessments are in the folder, and a run of the same plan continues with the
    rest.

    Args:
        plan: the plan.
        assess: does one assessment.
        folder: folder of the run; it is created, and only its owner may read it.
        workers: number of concurrent assessments; more than one run in separate processes.
        progress: called with the label of each assessment that is done.
        code: digest of the code that runs agents and makes the data; work of other code is done again.
        extend: keep the assessments of the folder's earlier plan in the run, its results and its page.

    Returns:
        The record of each assessment, in the plan's order.

    Raises:
        WorkflowError: the host failed in some assessments; the others are done and in the results.
        FileError: another run works in the folder, or the secret of the seeds cannot be used.
    """
    run_folder = RunFolder(folder)
    assessments = plan.assessments(code)
    with run_folder.locked():
        shutil.rmtree(run_folder.work, ignore_errors=True)  # of a run that was killed
        run_folder.work.mkdir(exist_ok=True)
        run_folder.write_plan(assessments, extend=extend)
        run_folder.store.sweep()
        tasks = [
            Task(assessment.label, _assess_one, (assessment, assess, run_folder.store, run_folder.work))
            for assessment in assessments
        ]
        report = None if progress is None else (lambda task: progress(task.label))
        pool_kind, window = ("inline", 1) if workers == 1 else ("processes", None)
        failed: WorkflowError | None = None
        try:
            with open_pool(pool_kind, workers) as pool:
                run_tasks(tasks, pool, log=run_folder.log, progress=report, window=window)
        except WorkflowError as error:  # the results of the others are written first
            failed = error
        records = list(run_folder.records())
        run_folder.write_results([result_line(record, record["grade"]) for record in records])
        shutil.rmtree(run_folder.work, ignore_errors=True)
    if failed is not None:
        raise failed
    wanted = {assessment.key for assessment in assessments}
    return [record for record in records if recipe_of(record["assessment"]).key in wanted]


def _assess_one(assessment: Assessment, assess: Assess, store: Store, work: Path) -> None:
    """Do one assessment and store its record, unless it exists."""

    def make(part: Path) -> None:
        folder = Path(tempfile.mkdtemp(prefix=f"{assessment.key[:12]}-", dir=work))
        try:
            record = assess(assessment, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        part.write_text(_text(assessment, record), encoding="ascii")

    store.get(assessment.recipe, ".json", make)


def _text(assessment: Assessment, record: Record) -> str:
    """The text of a record. A submission that cannot be written and read again is the agent's failure, not the host's.

    Raises:
        InputError: the record holds the value of a secret seed.
    """
    try:
        text = dump({"assessment": assessment.to_json(), **record.to_json()}) + "\n"
        load(text)
    except Exception as error:
        kind = "it is nested too deep" if isinstance(error, RecursionError) else type(error).__name__
        reason = f"the submission cannot be recorded: {kind}"
        task, seed = assessment.task, assessment.seed.label
        grade = ungraded(reason, task_id=task.task_id, type=task.family, level=assessment.level, seed=seed)
        record = replace(record, submission=None, contents={}, grade=grade, judge=grade["llm"], error=reason)
        text = dump({"assessment": assessment.to_json(), **record.to_json()}) + "\n"
    if assessment.seed.kind == "evaluation" and str(assessment.seed.value) in text:
        raise InputError(
            f"record of {assessment.label}: got the value of a secret seed in it, expected its label"
            f" {assessment.seed.label!r}; the host must hand out labels only"
        )
    return text


Grade = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""``grade(record)`` returns the result of a record by its submission, ledger, contents, reference, rubric and judge."""

CurrentTask = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""``current(record)`` returns the current versions of parts of a record, such as ``rubric`` and ``reference``."""


@dataclass(frozen=True)
class Difference:
    """A record whose result has changed since it was made.

    Attributes:
        label: label of the assessment.
        before: normalised score when it was made.
        after: normalised score now.
    """

    label: str
    before: float
    after: float


@dataclass(frozen=True)
class Rescored:
    """The outcome of grading a run again.

    Attributes:
        results: the file of results.
        sha256: digest of the file: the same records and rules give the same.
        records: number of records.
        differences: records whose result changed in any way, even if only in its texts.
        changed: parts of tasks that have changed since the agents were graded, e.g. ``"zmumu: rubric"``.
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
        for difference in self.differences:
            yield f"{difference.label}: {difference.before:.4f} -> {difference.after:.4f}"


def rescore(folder: Path, grade: Grade, *, current: CurrentTask | None = None) -> Rescored:
    """Grade every record of a run again, and replace its results.

    The records are unchanged, so this can be repeated; the same rules give the same bytes.

    Args:
        folder: folder of the run.
        grade: grades a record.
        current: returns parts that replace those of the record; None to grade by the recorded rubric and reference.

    Raises:
        FileError: the folder holds no run, or another run works in it.
    """
    run_folder = RunFolder(folder)
    run_folder.read_plan()  # raises for a folder without a run before anything is created in it
    lines: list[dict[str, Any]] = []
    differences: list[Difference] = []
    changed: dict[str, None] = {}
    with run_folder.locked():
        for record in run_folder.records():
            now = {} if current is None else dict(current(record))
            task = record["assessment"]["task_id"]
            changed |= dict.fromkeys(f"{task}: {name}" for name in now if dump(now[name]) != dump(record.get(name)))
            result = grade({**record, **now})
            if dump(result) != dump(record["grade"]):
                label = recipe_of(record["assessment"]).label
                before, after = (float(graded["final"]["normalized_score"]) for graded in (record["grade"], result))
                differences.append(Difference(label, before, after))
            lines.append(result_line(record, result))
        path = run_folder.write_results(lines)
    run_folder.log.write("rescored", label=f"{len(lines)} records", differences=len(differences), changed=list(changed))
    return Rescored(path, file_digest(path), len(lines), tuple(differences), tuple(changed))
