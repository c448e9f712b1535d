"""The other direction: what is honest earns what it is worth, or the attacks would fail for nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.tasks.load import shipped_tasks
from tests.analysisops.redteam.target import SEED, Attempt, Target


@pytest.mark.parametrize("name", shipped_tasks())
def test_the_oracle_earns_all(target_of: Callable[[str], Target], name: str) -> None:
    target = target_of(name)
    assert target.grade(Attempt(target.honest(), target.work)).normalized == 1.0


@pytest.mark.parametrize("name", shipped_tasks())
def test_an_agent_that_finds_out_by_itself_earns_nearly_all(
    target_of: Callable[[str], Target], name: str, tmp_path: Path
) -> None:
    record = assess(target_of(name).prepared, 3, SEED, ask_here(make_agent("scripted")), tmp_path)
    assert record.grade["final"]["normalized_score"] >= 0.95
