"""Every attack on every shipped task, each on real data with the real tools: next to nothing for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations
from math import prod
from statistics import fmean
from typing import Final

import pytest

from beampipe.analysisops.grading.submission import Case, read_submission
from beampipe.analysisops.tasks.load import Task, shipped_task, shipped_tasks
from tests.analysisops.redteam.attack import Attack
from tests.analysisops.redteam.catalogue import ATTACKS
from tests.analysisops.redteam.target import Target, known_of

TASKS = {name: shipped_task(name) for name in shipped_tasks()}
CASES = [
    pytest.param(name, attack, id=f"{name}-{attack.name}")
    for name, task in TASKS.items()
    for attack in ATTACKS
    if attack.applies(task)
]


@pytest.mark.parametrize(("name", "attack"), CASES)
def test_an_attack_is_worth_next_to_nothing(target_of: Callable[[str], Target], name: str, attack: Attack) -> None:
    share, attempts = attack.best(target_of(name))
    assert attempts, "an attack that attempts nothing shows nothing"
    assert attack.held(share), f"{attack.run.__doc__} It earned {share:.3f}, the limit is {attack.limit}."


def test_attacks_say_what_they_do() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 20
    for attack in ATTACKS:
        assert attack.run.__doc__, attack.name
        assert attack.limit <= (0.4 if attack.name == "recall_beside_work" else 0.1)


_GUESSED: Final = {"wz3l": 0.58, "hbb": 0.32, "ttbar": 0.33, "gluon_fraction": 0.28, "width": 0.25, "counting": 0.19}
"""Tasks whose hidden numbers have narrow ranges beside their uncertainties."""

Numbers = Mapping[str, tuple[float, float]]


def guessed(task: Task, right: Numbers, guess: Numbers) -> float:
    """The score of other numbers with the right spectrum and words, but without an artifact."""

    def as_json(numbers: Numbers) -> dict[str, dict[str, float]]:
        return {name: {"value": value, "uncertainty": error} for name, (value, error) in numbers.items()}

    case = Case(read_submission({"answers": as_json(guess)}), {"instance": {"quantities": as_json(right)}})
    earned: dict[str, float] = {}
    for rule in task.rubric.rules:
        on_number = rule.type in ("pull", "uncertainty")
        share = rule.kind(case).fraction if on_number else float(rule.type not in ("tracks", "workspace"))
        earned[rule.id] = share * prod(earned[name] for name in rule.scaled_by)
    return sum(rule.points * earned[rule.id] for rule in task.rubric.rules) / task.rubric.max_points


@pytest.mark.parametrize("name", TASKS)
def test_answers_of_another_instance_with_the_right_spectrum(name: str) -> None:
    """The mean over all pairs of the known instances, which is what such a guess earns in a run."""
    known = known_of(name).answers
    instances = [dict(zip(known, pairs, strict=True)) for pairs in zip(*known.values(), strict=True)]
    assert all(guessed(TASKS[name], right, right) > 0.9 for right in instances) or name == "tracks"
    mean = fmean(guessed(TASKS[name], right, guess) for right, guess in permutations(instances, 2))
    assert mean <= _GUESSED.get(name, 0.15) + 0.005
