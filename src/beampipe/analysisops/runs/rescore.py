"""Grade a run again from its records alone: no agent is asked, no judge, and no data are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beampipe.analysisops.runs.folder import RunFolder, line_of
from beampipe.analysisops.runs.plan import recipe_of
from beampipe.analysisops.runs.record import dump
from beampipe.workflow import file_digest

__all__ = ["Difference", "Grade", "Rescored", "Today", "rescore"]

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
            lines.append(line_of(record, result))
        path = place.write_results(lines)
    place.log.write("rescored", label=f"{len(lines)} records", differences=len(differences), changed=list(changed))
    return Rescored(path, file_digest(path), len(lines), tuple(differences), tuple(changed))


def _score(result: Mapping[str, Any]) -> float:
    return float(result["final"]["normalized_score"])
