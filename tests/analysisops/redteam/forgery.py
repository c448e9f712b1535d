"""Attacks with forged evidence: results and ledgers in a submission, and handles of other sessions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from beampipe.analysisops.ledger import Ledger, entries_to_json
from beampipe.analysisops.tools.session import Session
from tests.analysisops.redteam.attack import attacker
from tests.analysisops.redteam.desk import desk_of
from tests.analysisops.redteam.target import Attempt, Target


def _verdicts(target: Target) -> dict[str, Any]:
    """What a result looks like, with full marks."""
    best = target.task.rubric.max_points
    return {
        "final": {"total_score": best, "max_score": best, "normalized_score": 1.0},
        "rule": {"score": best, "max": best},
        "hard_checks_passed": True,
        "hard_failures": [],
        "score": 1.0,
        "reward": 1.0,
        "checks": [{"id": rule.id, "points": rule.points, "passed": True} for rule in target.task.rubric.rules],
        "provenance": {name: {"label": "traceable", "entry": 1} for name in target.numbers()},
        "instance": target.prepared.reference.to_json(),
    }


@attacker(limit=0.0)
def forged_results(target: Target) -> Iterable[Attempt]:
    """A submission that brings its own result, provenance and reference."""
    yield Attempt(_verdicts(target))
    yield Attempt({**target.claim(target.known.mean()), **_verdicts(target)})
    desk = desk_of(target)
    yield Attempt({**target.claim(target.known.mean()), **_verdicts(target)}, desk.done())


@attacker(limit=0.0)
def forged_entries(target: Target) -> Iterable[Attempt]:
    """The right answers with the right ledger inside the submission, from an agent that called nothing."""
    ledger = entries_to_json(target.work[-3:])
    keys = ("ledger", "entries", "tool_calls", "evidence", "contents", "method")
    yield Attempt(target.honest(**dict.fromkeys(keys, ledger)))
    looked = desk_of(target).done()
    yield Attempt(target.honest(ledger=ledger), looked)


@attacker(limit=0.0)
def session_of_another(target: Target) -> Iterable[Attempt]:
    """Right numbers and handles of somebody else's session, handed in beside a lazy look in one's own."""
    looked = desk_of(target).done()
    with TemporaryDirectory() as folder:
        own = Session(target.prepared.data, Ledger(Path(folder) / "ledger.jsonl", b"key of the host"))
        yield Attempt(target.honest(), looked, own)
        yield Attempt(target.honest(answers={}), looked, own)


@attacker(limit=0.0, part="histograms", needs="histograms")
def histogram_of_another(target: Target) -> Iterable[Attempt]:
    """Right numbers, and a histogram that only somebody else's session holds."""
    for name in target.task.spec.histograms:
        yield Attempt(target.honest(histograms={name: "hist_5000"}), target.work)
