"""What the page shows of a run: figures of each group, a row of each assessment, and its detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from beampipe.analysisops.grading.provenance import LABELS
from beampipe.analysisops.grading.submission import read_submission
from beampipe.analysisops.report.detail import answers_of, detail_of
from beampipe.analysisops.runs import RunFolder, Score, Summary, difference, scores_of, summarise
from beampipe.analysisops.runs.folder import line_of
from beampipe.errors import InputError

__all__ = ["Gathered", "References", "gather"]

References = Literal["development", "all", "none"]
"""Of which seeds the page may tell references: those of development seeds are public anyway."""


@dataclass(frozen=True)
class Gathered:
    """A run, ready to be shown.

    Attributes:
        name: name of the run.
        assessments: what the plan asks for, as JSON.
        scores: figures of each assessment that is done.
        missing: assessments that are not done, as JSON.
        rows: a short row of each that is done, in the order of `details`.
        details: what is shown when a row is opened.
        origins: agent -> how many of its numbers have each label.
        pulls: agent -> distances to the truth, in units of the quoted uncertainties.
        told: how many of the rows tell their reference.
    """

    name: str
    assessments: Sequence[Mapping[str, Any]]
    scores: Sequence[Score]
    missing: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]
    details: Sequence[Mapping[str, Any]]
    origins: Mapping[str, Counter[str]]
    pulls: Mapping[str, Sequence[float]]
    told: int

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents, the best first; those of which nothing is done come last."""
        known = dict.fromkeys(one["agent"] for one in self.assessments)
        mean = {name: summary.mean for name, summary in self.by_agent.items()}
        return tuple(sorted(known, key=lambda name: (-mean[name] if mean[name] == mean[name] else 1.0, name)))

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Names of the families, in the plan's order."""
        return tuple(dict.fromkeys(str(one["family"]) for one in self.assessments))

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The levels."""
        return tuple(sorted({int(one["level"]) for one in self.assessments}))

    @cached_property
    def by_agent(self) -> dict[str, Summary]:
        """Figures of each agent."""
        return {str(key[0]): one for key, one in summarise(self.scores, ("agent",), missing=self.missing).items()}

    @cached_property
    def by_level(self) -> dict[tuple[str | int, ...], Summary]:
        """Figures by agent and level."""
        return summarise(self.scores, ("agent", "level"), missing=self.missing)

    @cached_property
    def by_family(self) -> dict[tuple[str | int, ...], Summary]:
        """Figures by agent and family."""
        return summarise(self.scores, ("agent", "family"), missing=self.missing)

    @cached_property
    def by_family_and_level(self) -> dict[tuple[str | int, ...], Summary]:
        """Figures by agent, family and level."""
        return summarise(self.scores, ("agent", "family", "level"), missing=self.missing)

    def behind(self, agent: str) -> tuple[float, float | None]:
        """How far an agent is behind the first, on the same instances, with its error."""
        return difference(self.scores, self.agents[0], agent)


def gather(folder: Path, references: References = "development") -> Gathered:
    """Read a run.

    Results are those of the last grading; an assessment that is done and not yet among them counts as it was graded
    when it was made.

    Args:
        folder: folder of the run.
        references: of which seeds the page may tell references.

    Raises:
        FileError: the folder holds no run.
        InputError: nothing of it is done yet.
    """
    place = RunFolder(folder)
    assessments = place.read_plan()
    graded = {line["key"]: line["result"] for line in place.read_results()} if place.results.exists() else {}
    lines, rows, details = [], [], []
    origins: dict[str, Counter[str]] = {}
    pulls: dict[str, list[float]] = {}
    for record in place.records():
        line = line_of(record, record["grade"])
        line["result"] = graded.get(line["key"], line["result"])
        told = references == "all" or (references == "development" and not record["assessment"]["secret"])
        answers = answers_of(read_submission(record["submission"]), record, line["result"], reference=True)
        agent = record["assessment"]["agent"]
        submitted = [one for one in answers if one["value"] is not None]
        origins.setdefault(agent, Counter()).update(one["origin"] for one in submitted)
        pulls.setdefault(agent, []).extend(one["truth_pull"] for one in submitted if one["truth_pull"] is not None)
        lines.append(line)
        details.append(detail_of(record, line["result"], reference=told))
        rows.append({"told": told, "worst": _worst(one["origin"] for one in submitted)})
    if not lines:
        raise InputError(f"{folder}: got a run of which nothing is done yet, expected at least one assessment")
    scores = scores_of(lines)
    rows = [{**_row(line, score), **more} for line, score, more in zip(lines, scores, rows, strict=True)]
    told_rows = sum(bool(row["told"]) for row in rows)
    return Gathered(
        folder.resolve().name, assessments, scores, place.missing(), rows, details, origins, pulls, told_rows
    )


def _row(line: Mapping[str, Any], score: Score) -> dict[str, Any]:
    final = line["result"]["final"]
    return {
        "key": line["key"][:12],
        "agent": score.agent,
        "family": score.family,
        "task": score.task_id,
        "level": score.level,
        "seed": score.seed,
        "epoch": score.epoch,
        "status": score.status,
        "score": score.value,
        "points": [final.get("total_score"), final.get("max_score")],
        "judge": score.judge,
        "seconds": score.seconds,
        "tokens": score.tokens,
        "cost": score.cost,
        "calls": score.tool_calls,
    }


def _worst(origins: Iterator[str]) -> str:
    """The least trusted label among those of an assessment; empty if it has none."""
    return max((one for one in origins if one in LABELS), key=LABELS.index, default="")
