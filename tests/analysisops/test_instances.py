"""Instances are those of their seeds, wherever their references lie."""

from __future__ import annotations

from beampipe.analysisops.instances import InstanceStore
from beampipe.analysisops.tasks.load import shipped_task


def test_an_instance_far_from_its_truth_is_not_drawn_again(store: InstanceStore) -> None:
    """Without the tails, pulls to the truth would have a width of 0.74 with right uncertainties."""
    prepared = store.get(shipped_task("tagprobe"), 1)
    reference, truth = prepared.reference.quantities["efficiency"], prepared.hidden.truth["efficiency"]
    assert abs(reference.value - truth) > 1.5 * reference.uncertainty
    assert prepared.hidden.seed == 1
