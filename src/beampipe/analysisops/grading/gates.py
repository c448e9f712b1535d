"""Gates: if one fails, the score is 0."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.contract import PROGRAM_RUN
from beampipe.analysisops.grading.submission import Case, Outcome
from beampipe.errors import ConfigError


@dataclass(frozen=True)
class StatusOk:
    """Pass if ``status`` equals ``"ok"``; an agent that reports an error earns nothing."""

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        status = case.submission.content.get("status")
        shown = repr(status)[:60]
        return Outcome(1.0, "the agent finished") if status == "ok" else Outcome(0.0, f"status is {shown}, not 'ok'")


@dataclass(frozen=True)
class CallsMade:
    """Pass if the ledger holds enough successful calls whose results descend from data files, or the run of a program.

    Attributes:
        minimum: number of such calls, at least 1.
        tools: tools that each need such a call.
    """

    minimum: int = 1
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.minimum < 1:
            raise ConfigError(f"calls_made: got minimum = {self.minimum}, expected at least 1")

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        called = [
            entry.tool for entry in case.entries if entry.result is not None and not entry.error and entry.sources
        ]
        if PROGRAM_RUN in called:
            return Outcome(1.0, "a program was run on the data")
        lacking = [tool for tool in self.tools if tool not in called]
        evidence = {"calls": len(called), "lacking": lacking}
        if len(called) < self.minimum:
            return Outcome(0.0, f"{len(called)} calls gave something of the data, expected {self.minimum}", evidence)
        if lacking:
            return Outcome(0.0, f"never called with success: {', '.join(lacking)}", evidence)
        return Outcome(1.0, f"{len(called)} calls gave something of the data", evidence)


@dataclass(frozen=True)
class Traceable:
    """Pass if every number of ``answers``, uncertainties too, is traceable.

    The labels are those of `beampipe.analysisops.grading.provenance`.

    Attributes:
        answers: names of answers that must be given; others must be traceable if they are given.
    """

    answers: tuple[str, ...] = ()

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        faults = [f"{name}: no finite number" for name in self.answers if case.submission.answer(name)[0] is None]
        faults += [
            f"{name}: {origin['label']}: {origin['reason']}"
            for name, origin in case.provenance.items()
            if origin["label"] != "traceable"
        ]
        # Answers beyond those with a label would be untraced numbers.
        if len(case.submission.section("answers")) > len(case.provenance):
            faults.append(f"{len(case.submission.section('answers'))} answers, expected at most {len(case.provenance)}")
        if faults:
            return Outcome(0.0, "; ".join(sorted(set(faults))[:5]), {"faults": len(faults)})
        return Outcome(1.0, f"{len(case.provenance)} numbers are results of calls")


@dataclass(frozen=True)
class FromLedger:
    """Pass if tools were used on the data, and every number of the trace that the rubric reads is traceable.

    The gate of the public benchmark's rubrics, which otherwise believe what a trace says.

    Attributes:
        paths: dotted paths of the numbers in the trace; at least one of these numbers must be there.
    """

    paths: tuple[str, ...]

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        worked = CallsMade()(case)
        if worked.fraction < 1.0 or not self.paths:
            return worked
        labels = {path: case.provenance[path] for path in self.paths if path in case.provenance}
        faults = [f"{path}: {origin['reason']}" for path, origin in labels.items() if origin["label"] != "traceable"]
        if faults or not labels:
            reason = "; ".join(faults) or f"no number that the rubric reads: {', '.join(self.paths)}"
            return Outcome(0.0, f"not from the tools: {reason}", {"faults": len(faults)})
        return Outcome(1.0, "the numbers are results of calls")
