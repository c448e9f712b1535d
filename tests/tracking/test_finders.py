from __future__ import annotations

import pytest

from beampipe.errors import UnknownNameError
from beampipe.tracking.data import shipped_events
from beampipe.tracking.evaluation.evaluate import evaluate
from beampipe.tracking.finders import named_finders


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown ACTS setting: got 'sift'.*did you mean 'soft'"):
        named_finders([], ["sift"])


@pytest.mark.acts
def test_acts_finds_most_particles_of_a_shipped_event() -> None:
    result = evaluate(named_finders([], ["soft"]), shipped_events(0), sample="shipped, mu = 0")
    (acts,) = result.finders
    assert acts.name == "acts-soft"
    assert not acts.failed
    assert acts.double.efficiency.value > 0.8
