"""Grade a submission: gates, then rules, and a judge whose points form a separate column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, Protocol, runtime_checkable

from beampipe.analysisops.contract import Level, Reference
from beampipe.analysisops.grading.checks import FromLedger
from beampipe.analysisops.grading.judge import Judge, ask_judge, build_question, suspicions
from beampipe.analysisops.grading.provenance import label_answers, label_trace, with_exact_numbers
from beampipe.analysisops.grading.result import CheckResult, Issue, JudgeResult, Result
from beampipe.analysisops.grading.rubric import Check, Rubric
from beampipe.analysisops.grading.submission import Case, Evidence, Outcome, Submission, read_submission
from beampipe.analysisops.ledger import Entry
from beampipe.errors import BeampipeError

_ERROR_WORDS: Final = frozenset({"error", "failed", "failure", "fail"})
"""Values of the field status by which an agent reports a failure."""

_ROUNDING: Final = 1e-9
"""Fractions may be beyond 0 and 1 by so much."""

_SLIP: Final = 0.9
"""Share of the points of a rule that remains after a formal slip, in this rule or in others that scale it."""


@runtime_checkable
class Gradable(Protocol):
    """The fields of a task that grading needs, as `beampipe.analysisops.tasks.load.Task` has them."""

    @property
    def id(self) -> str:
        """Name of the task."""

    @property
    def type(self) -> str:
        """Family of the task."""

    @property
    def rubric(self) -> Rubric:
        """Gates, rules and checks of a judge."""

    @property
    def eval_ref(self) -> Mapping[str, Any]:
        """Content of eval_ref.yaml."""

    @property
    def judge_prompt(self) -> str:
        """Prompt of the judge with its placeholders; empty if there is none."""

    @property
    def prompts(self) -> Mapping[Level, str]:
        """Prompts of the agent, by level."""


def grade(
    task: Gradable,
    submission: object,
    reference: Reference | None = None,
    entries: Sequence[Entry] | None = None,
    *,
    evidence: Evidence | None = None,
    judge: Judge | None = None,
    level: Level = 1,
    seed: int = 0,
    prompt: str | None = None,
) -> Result:
    """Grade a submission of any type.

    The score comes from the rules alone, if all gates pass. Only then a judge, if there is one, scores the texts.

    Args:
        task: the task.
        submission: the answer of the agent, of any type.
        reference: reference of the instance; None for the public benchmark's tasks, which have none.
        entries: the ledger of the session, its signatures verified by `read_ledger`; None if no tools were served. Then
            a result by a rubric of the public benchmark has the issue ``not_verified``.
        evidence: contents that the submission names and the ledger does not hold.
        judge: scores free-text answers; None leaves them unscored.
        level: level of the prompt.
        seed: seed of the instance; the fence around the submission in the judge's prompt is derived from it.
        prompt: the prompt of the agent; by default that of the task with its placeholders.

    Raises:
        ConfigError: the reference lacks a value that the rubric needs; an error of the host, not of the agent.
    """
    checks = list(task.rubric.gates)
    issues = []
    if task.rubric.version == 1 and entries is None:
        issues.append(Issue("warn", "not_verified", "no tools were served: nothing shows that data were analysed"))
    elif task.rubric.version == 1:
        checks.append(Check("from_ledger", "from_ledger", 0.0, FromLedger(task.rubric.value_paths)))
    entries = entries or ()
    read = read_submission(submission)
    text = task.prompts.get(level, "") if prompt is None else prompt
    if task.rubric.version == 1:
        provenance = label_trace(read, task.rubric.value_paths, entries)
    else:
        provenance = label_answers(read, entries)
    read = with_exact_numbers(read, provenance)
    expected = {**task.eval_ref, **({} if reference is None else {"instance": reference.to_json()})}
    case = Case(read, expected, entries, evidence or Evidence(), provenance, text)
    issues += [Issue("warn", "submission_cut", note) for note in read.notes]
    if left_out := read.content.get("left_out"):  # of the answer of a program
        names = str(left_out)[:300]
        issues.append(Issue("warn", "left_out", f"{names}: no such answer, or not in the form that was asked for"))

    gates = []
    for check in checks:
        outcome = _outcome(check, case)
        gates.append(CheckResult(check.id, check.type, 0.0, 0.0, outcome.fraction >= 1.0, outcome))
    error = _error_of(read)
    if error:
        issues.append(Issue("error", "agent_error", error))
    issues += [Issue("error", "gate_failed", f"{gate.id}: {gate.outcome.reason}") for gate in gates if not gate.passed]
    held = not error and all(gate.passed for gate in gates)
    rules, slips = _rules(task.rubric.rules, case, held)
    issues += slips
    suspicious = suspicions(read.content)
    issues += [Issue("warn", "injection_suspected", sentence) for sentence in suspicious]
    signals = {f"{rule.id}.{key}": value for rule in (*gates, *rules) for key, value in rule.outcome.evidence.items()}
    verdict = _verdict(task, case, judge, seed, held, [*gates, *rules], issues)
    status: Literal["ok", "fail", "error"] = "error" if error else ("ok" if held else "fail")
    return Result(task.id, task.type, level, seed, status, gates, rules, verdict, issues, signals, provenance)


def _error_of(submission: Submission) -> str:
    """Why a submission is an error before any check; empty if it is not."""
    if not submission.is_object:
        return f"submission: {submission.notes[0]}"
    status = submission.content.get("status")
    if isinstance(status, str) and status.strip().lower() in _ERROR_WORDS:
        comments = submission.content.get("comments")
        reason = f": {comments[:200]}" if isinstance(comments, str) and comments else ""
        return f"the agent reported the status {status[:40]!r}{reason}"
    return ""


class CheckError(BeampipeError):
    """A check of a task failed; its message contains nothing of the reference."""


def _outcome(check: Check, case: Case) -> Outcome:
    """The outcome of a check, with a fraction from 0 to 1.

    Raises:
        CheckError: it raises anything but an error of ours, or returns something else.
    """
    try:
        outcome: Outcome = check.kind(case)
        good = -_ROUNDING <= outcome.fraction <= 1.0 + _ROUNDING
    except BeampipeError:
        raise
    except Exception as error:
        raise CheckError(f"check {check.id}, type {check.type}: it failed ({type(error).__name__})") from error
    if not good:
        raise CheckError(f"check {check.id}, type {check.type}: got the fraction {outcome.fraction}, expected 0 to 1")
    return replace(outcome, fraction=min(max(outcome.fraction, 0.0), 1.0))


def _rules(checks: Sequence[Check], case: Case, held: bool) -> tuple[list[CheckResult], list[Issue]]:
    """Results of the rules, and issues of formal slips and of points that were lost; no points if a gate failed."""
    earned: dict[str, float] = {}
    slipped: set[str] = set()
    results, slips = [], []
    for check in checks:
        outcome = _outcome(check, case)
        share = outcome.fraction
        for name in check.scaled_by:
            share *= earned[name]
        earned[check.id] = share
        if outcome.slip or slipped.intersection(check.scaled_by):
            slipped.add(check.id)
            share *= _SLIP
        points = check.points * share if held else 0.0
        if held and outcome.slip:
            slips.append(Issue("warn", "formal_slip", f"{check.id}: {outcome.slip}"))
        elif held and points < 0.005 * check.points:
            without = [name for name in check.scaled_by if earned[name] < 0.005]
            # Reasons may hold numbers of the reference, and issues are shown for secret instances, too.
            why = f"{', '.join(without)} earned none" if without else "it is too far from the reference"
            slips.append(Issue("warn", "no_points", f"{check.id}: no points, since {why}"))
        passed = held and 2.0 * points > check.points
        results.append(CheckResult(check.id, check.type, points, check.points, passed, outcome))
    return results, slips


def _verdict(
    task: Gradable,
    case: Case,
    judge: Judge | None,
    seed: int,
    held: bool,
    results: Sequence[CheckResult],
    issues: Sequence[Issue],
) -> JudgeResult:
    rubric = task.rubric
    reason = ""
    if not rubric.judged:
        reason = "the rubric asks no judge"
    elif judge is None:
        reason = "no judge"
    elif not held:
        reason = "a gate did not hold"
    if reason or judge is None:
        return JudgeResult(max_score=rubric.max_judged, meta={"judge": {"reason": reason}})
    question = build_question(
        rubric.judged,
        task.judge_prompt,
        case.submission.content,
        seed=seed,
        task_id=task.id,
        reference={key: value for key, value in case.reference.items() if key != "instance"},
        results=[result.to_json() for result in results],
        issues=[f"{issue.severity}: {issue.code}: {issue.message}" for issue in issues],
    )
    return ask_judge(judge, question)
