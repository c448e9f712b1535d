"""What is attacked: one instance of a task, with the session of an honest agent that an attacker may go on using."""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.agents.agent import stated_answer
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.grading.judge import Judge
from beampipe.analysisops.grading.result import Result
from beampipe.analysisops.instances import PreparedInstance, evidence_of, literals_of, oracle_of, request_of
from beampipe.analysisops.ledger import Entry, Ledger
from beampipe.analysisops.references import Referenced
from beampipe.analysisops.tools.session import LocalTools, Session, SessionLimits

__all__ = ["SEED", "Attempt", "Known", "Target", "known_of"]

SEED: Final = 271828
"""Of all shared instances; the known answers are those of the first seeds."""

_KNOWN: Final = Path(__file__).with_name("known_answers.json")


@dataclass(frozen=True)
class Attempt:
    """What an attacker hands in.

    Attributes:
        submission: its answer.
        entries: the ledger of its session.
        session: where handles are looked up; None for the target's.
        falsified: answers that the attempt falsifies in honest work; empty if the work is not honest.
    """

    submission: object
    entries: Sequence[Entry] = ()
    session: Session | None = None
    falsified: Sequence[str] = ()


@dataclass(frozen=True)
class Known:
    """The right answers of development instances, which anybody can work out.

    Attributes:
        answers: name -> value and uncertainty for each instance.
        words: name -> word for each instance.
    """

    answers: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def mean(self) -> dict[str, tuple[float, float]]:
        """Mean value and mean uncertainty, by name."""
        return {
            name: (sum(value for value, _ in pairs) / len(pairs), sum(error for _, error in pairs) / len(pairs))
            for name, pairs in self.answers.items()
        }

    def first(self) -> dict[str, tuple[float, float]]:
        """The answers of the first instance."""
        return {name: pairs[0] for name, pairs in self.answers.items()}

    def usual_words(self) -> dict[str, str]:
        """The most frequent words."""
        return {name: max(sorted(set(words)), key=list(words).count) for name, words in self.words.items()}


@cache
def known_of(task_id: str) -> Known:
    """The known answers of a task."""
    table = json.loads(_KNOWN.read_text()).get(task_id, {})
    answers = {name: [(pair[0], pair[1]) for pair in pairs] for name, pairs in table.get("answers", {}).items()}
    return Known(answers, table.get("words", {}))


class Target:
    """An instance, what an honest agent did and answered, and its session.

    Args:
        prepared: the instance.
        folder: for the ledger.
        seed: of the instance.
    """

    def __init__(self, prepared: PreparedInstance, folder: Path, seed: int = SEED) -> None:
        self.prepared, self.task, self.seed = prepared, prepared.task, seed
        self.request: TaskRequest = request_of(prepared, 1)
        self._ledger = Ledger(folder / "ledger.jsonl", secrets.token_bytes(32))
        self.session = Session(
            prepared.data, self._ledger, SessionLimits(1_000_000), literals_of(self.task, self.request)
        )
        self.tools = LocalTools(self.session)
        self._honest = oracle_of(prepared.task, prepared.hidden).solve(self.request, self.tools)
        self.work = self.entries()

    @property
    def known(self) -> Known:
        """What is known of other instances."""
        return known_of(self.task.id)

    def honest(self, **changes: Any) -> dict[str, Any]:
        """The honest submission, some of its fields changed."""
        return copy.deepcopy({**self._honest, **changes})

    def numbers(self) -> dict[str, tuple[float, float]]:
        """The honest numbers that the task asks for, with their references."""
        return {
            name: (Referenced(item["value"], item["from"]), Referenced(item["uncertainty"], item["uncertainty_from"]))
            for name, item in self._honest["answers"].items()
            if name in self.task.spec.answers
        }

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool, whose numbers have their references."""
        return self.tools.call(tool, **arguments)

    def entries(self, after: int = 0) -> tuple[Entry, ...]:
        """The calls of the session after so many."""
        return self._ledger.entries[after:]

    def calls(self) -> int:
        """Number of calls so far."""
        return len(self._ledger.entries)

    def grade(self, attempt: Attempt, judge: Judge | None = None) -> Result:
        """The result of an attempt, as the host grades it."""
        return grade(
            self.task,
            attempt.submission,
            self.prepared.reference,
            attempt.entries,
            evidence=evidence_of(attempt.submission, attempt.session or self.session, self.prepared.hidden),
            judge=judge,
            level=1,
            seed=self.seed,
            prompt=self.request.prompt,
        )

    def claim(self, answers: Mapping[str, tuple[float, float]], **fields: Any) -> dict[str, Any]:
        """A full submission that looks good: every answer, word, histogram and artifact, and a method."""
        spec = self.task.spec
        words = {name: self.known.usual_words().get(name, item.choices[0]) for name, item in spec.words.items()}
        return {
            "task_id": self.task.id,
            "status": "ok",
            "answers": {name: stated_answer(*numbers) for name, numbers in answers.items()},
            "words": words,
            "histograms": dict.fromkeys(spec.histograms, "hist_5000"),
            "artifacts": dict.fromkeys(spec.artifacts, "labels_5000"),
            "method": self._honest["method"],
            "comments": "",
            **fields,
        }
