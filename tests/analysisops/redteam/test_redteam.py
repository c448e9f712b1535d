"""Every attack on every shipped task, each on real data with the real tools: next to nothing for all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from beampipe.analysisops.tasks.load import shipped_task, shipped_tasks
from tests.analysisops.redteam.attack import Attack
from tests.analysisops.redteam.catalogue import ATTACKS
from tests.analysisops.redteam.target import Target

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
