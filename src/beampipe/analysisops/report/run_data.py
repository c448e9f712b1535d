"""The data of the page: scores of each group, a row of each assessment, and its details.

Details are short, plain, and without what a reader of the page may not know.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from beampipe.analysisops.grading.provenance import LABELS
from beampipe.analysisops.grading.submission import Evidence, Submission, histogram_of, number_of, read_submission
from beampipe.analysisops.ledger import Entry
from beampipe.analysisops.runs import RunFolder, Score, Summary, difference, scores_of, summarise
from beampipe.analysisops.runs.folder import result_line
from beampipe.errors import InputError

_TEXT: Final = 4000
"""Characters of a text that an agent or a judge wrote."""

_CALL: Final = 1500
"""Characters of the arguments, and of the result, of a call."""

_CALLS: Final = 400
"""Calls of one assessment that are shown."""

_NUMBERS: Final = 8
"""Numbers of a list that are shown before the rest is only counted."""

_BINS: Final = 400
"""Bins of a histogram that is drawn."""


def detail_of(record: Mapping[str, Any], result: Mapping[str, Any], *, reference: bool) -> dict[str, Any]:
    """All that is shown when an assessment is opened.

    Args:
        record: the record.
        result: its result, which may be younger than the record.
        reference: whether the reader may know the instance's reference. If not, nothing from which it could be told is
            in the detail: no reference, no pull, and no evidence, reason or words of a judge.

    Returns:
        JSON types, every text cut to a length that a page can hold.
    """
    submission = read_submission(record["submission"])
    return {
        "told": reference,
        "error": shortened(record["error"]),
        "failures": [shortened(one) for one in result.get("hard_failures", ())],
        "issues": [_issue(one, told=reference) for one in result.get("issues", ())],
        "answers": answers_of(submission, record, result, reference=reference),
        "words": list(_words(submission, record, told=reference)),
        "checks": [_check(one, told=reference) for one in result.get("checks", ())],
        "judge": _judge(result.get("llm") or {}, told=reference),
        "histograms": list(_histograms(submission, record, told=reference)),
        "calls": [_call(one) for one in record["ledger"][:_CALLS]],
        "calls_left_out": max(0, len(record["ledger"]) - _CALLS),
        "prompt": shortened(str(record["request"].get("prompt", "")), 4 * _TEXT),
        "method": [[shortened(key, 80), _text(value)] for key, value in _method(submission)],
        "comments": _text(submission.content.get("comments", "")),
        "rest": _rest(submission),
    }


def answers_of(
    submission: Submission, record: Mapping[str, Any], result: Mapping[str, Any], *, reference: bool
) -> list[dict[str, Any]]:
    """The numbers that were submitted or asked for, with where they come from.

    ``pull`` is the distance to the reference in units of the reference's uncertainty: how far the analysis is from the
    best one of the same data. ``truth_pull`` is the distance to the truth in units of the quoted uncertainty, which
    over many instances has mean 0 and width 1 if uncertainties are honest.
    """
    instance = (record["reference"] or {}).get("instance") or {}
    quantities, truth = instance.get("quantities") or {}, instance.get("truth") or {}
    origins = result.get("provenance") or {}
    found = []
    for name in dict.fromkeys([*quantities, *submission.section("answers")]):
        value, uncertainty = submission.answer(name)
        best, true = quantities.get(name) or {}, number_of(truth.get(name))
        origin = origins.get(name) or {}
        one: dict[str, Any] = {
            "name": shortened(name, 80),
            "unit": shortened(best.get("unit", ""), 20),
            "value": value,
            "uncertainty": uncertainty,
            "origin": shortened(origin.get("label", ""), 40),
            "entry": origin.get("entry"),
            "where": shortened(
                f"{origin.get('tool') or ''} {origin.get('path') or origin.get('reason') or ''}".strip()
            ),
        }
        if reference:
            one |= {
                "reference": number_of(best.get("value")),
                "reference_uncertainty": number_of(best.get("uncertainty")),
                "pull": _pull(value, number_of(best.get("value")), number_of(best.get("uncertainty"))),
                "truth": true,
                "truth_pull": _pull(value, true, uncertainty),
            }
        found.append(one)
    return found


def shortened(value: object, most: int = _TEXT) -> str:
    """A text that is cut after so many characters, and says so."""
    text = value if isinstance(value, str) else _json(value)
    text = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be written
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most} more characters)"


def plain(value: object, most: int | None = None) -> Any:
    """JSON types without NaN, which a browser's JSON does not know.

    Args:
        value: JSON types with any floats.
        most: numbers or texts of a list that are kept; None for all.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one, most) for key, one in value.items()}
    if isinstance(value, list | tuple):
        if most is not None and len(value) > 2 * most and not isinstance(value[0], Mapping | list | tuple):
            return [*(plain(one, most) for one in value[:most]), f"… {len(value) - most} more"]
        return [plain(one, most) for one in value]
    return value


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(plain(value, _NUMBERS), ensure_ascii=False, default=str, indent=indent)


def _text(value: object) -> str:
    return shortened(value, _TEXT)


def _pull(value: float | None, expected: float | None, uncertainty: float | None) -> float | None:
    if value is None or expected is None or uncertainty is None or not uncertainty > 0.0:
        return None
    pull = (value - expected) / uncertainty
    return pull if math.isfinite(pull) else None


def _issue(issue: Mapping[str, Any], *, told: bool) -> dict[str, str]:
    message = issue.get("message", "") if told else ""
    return {
        "severity": shortened(issue.get("severity", ""), 20),
        "code": shortened(issue.get("code", ""), 80),
        "message": shortened(message),
    }


def _words(submission: Submission, record: Mapping[str, Any], *, told: bool) -> Iterator[dict[str, Any]]:
    instance = (record["reference"] or {}).get("instance") or {}
    right = instance.get("words") or {}
    said = submission.section("words")
    for name in dict.fromkeys([*right, *said]):
        one = {"name": shortened(name, 80), "said": shortened(said[name], 400) if name in said else None}
        yield {**one, "reference": shortened(right[name], 400)} if told and name in right else one


def _check(check: Mapping[str, Any], *, told: bool) -> dict[str, Any]:
    evidence = dict(check.get("evidence") or {}) if told else {}
    reason = evidence.pop("reason", "")
    return {
        "id": shortened(check.get("id", ""), 80),
        "type": shortened(check.get("type", ""), 80),
        "points": number_of(check.get("points")),
        "max": number_of(check.get("max_points")),
        "passed": bool(check.get("passed")),
        "reason": shortened(reason, 600),
        "evidence": [[shortened(key, 80), shortened(value, 300)] for key, value in evidence.items()],
    }


def _judge(llm: Mapping[str, Any], *, told: bool) -> dict[str, Any]:
    scored = llm.get("status") == "scored"
    meta = llm.get("meta") or {}
    about = sorted(meta.items(), key=lambda item: item[0] == "judge")  # who judged comes last
    items = [_said(name, one) for name, one in about] if told else []
    return {"scored": scored, "score": number_of(llm.get("score")), "max": number_of(llm.get("max")), "items": items}


def _said(name: str, about: object) -> dict[str, Any]:
    """What a judge said of one check: in words, and the numbers beside them."""
    rest = dict(about) if isinstance(about, Mapping) else {"": about}
    words = [rest.pop(key) for key in ("explanation", "words", "reason") if rest.get(key)]
    return {
        "name": shortened(name, 80),
        "words": [_text(one) for one in words],
        "numbers": [
            [shortened(key, 80), shortened(value, 400)] for key, value in rest.items() if value not in ("", [])
        ],
    }


def _histograms(submission: Submission, record: Mapping[str, Any], *, told: bool) -> Iterator[dict[str, Any]]:
    instance = (record["reference"] or {}).get("instance") or {}
    right = instance.get("histograms") or {}
    entries = [Entry(**{**one, "sources": tuple(one["sources"])}) for one in record["ledger"]]
    evidence = Evidence.from_json(record["contents"] or {})
    for name in dict.fromkeys([*right, *submission.section("histograms")]):
        found, reason = histogram_of(name, submission, entries, evidence)
        one: dict[str, Any] = {"name": shortened(name, 80), "reason": shortened(reason, 400)}
        if found is not None and 0 < len(found.values) <= _BINS:
            one |= {"edges": list(found.edges), "values": list(found.values)}
        if told and name in right and len(right[name]["values"]) <= _BINS:
            one["reference"] = {"edges": list(right[name]["edges"]), "values": list(right[name]["values"])}
        yield one


def _call(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": entry["number"],
        "tool": shortened(entry["tool"], 80),
        "arguments": shortened(entry["arguments"], _CALL),
        "result": "" if entry["result"] is None else shortened(entry["result"], _CALL),
        "error": shortened(entry["error"], _CALL),
        "sources": [shortened(one, 120) for one in entry["sources"][:20]],
        "seconds": number_of(entry["seconds"]),
    }


def _method(submission: Submission) -> Sequence[tuple[str, Any]]:
    method = submission.content.get("method")
    if isinstance(method, Mapping):
        return list(method.items())[:60]
    return [("", method)] if method else []


def _rest(submission: Submission) -> str:
    """What else was submitted, as one text."""
    shown = {"task_id", "status", "answers", "words", "histograms", "method", "comments"}
    rest = {key: value for key, value in submission.content.items() if key not in shown}
    return _text(_json(rest, indent=1)) if rest else ""


_COLOURS: Final = 8

References = Literal["development", "all", "none"]
"""Of which seeds the page may tell references: those of development seeds are public anyway."""


@dataclass(frozen=True)
class RunData:
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

    def colour(self, agent: str) -> int:
        """Number of the colour of an agent; more agents than colours share them."""
        return self.agents.index(agent) % _COLOURS

    def behind(self, agent: str) -> tuple[float, float | None]:
        """How far an agent is behind the first, on the same instances, with its error."""
        return difference(self.scores, self.agents[0], agent)


def read_run_data(folder: Path, references: References = "development") -> RunData:
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
        line = result_line(record, record["grade"])
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
    return RunData(
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
