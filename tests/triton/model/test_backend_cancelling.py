"""Work of the Python backend ends between two steps when nobody waits for its answer any more."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

import pytest

from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest
from tests.triton.model.standin import (
    CANCELLED,
    Serve,
    only,
    refused,
    sent,
    sums,
)


@pytest.mark.usefixtures("always_ask")
def test_work_ends_between_steps_when_nobody_waits(serve: Serve) -> None:
    steps: list[int] = []

    def long(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        for step in range(3):
            instance.checkpoint()
            steps.append(step)
            request.cancelled = step == 1
        return sums(instance, requests)

    request = sent((1, 2))
    served = serve(long)
    refused(only(served.execute([request])), CANCELLED, "nobody waits")
    assert steps == [0, 1]


@pytest.mark.usefixtures("always_ask")
def test_work_ends_when_the_time_that_the_client_allowed_is_over(serve: Serve) -> None:
    steps: list[int] = []

    def long(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        for step in range(3):
            instance.checkpoint()
            steps.append(step)
            request.allowed = 1 if step == 1 else 10**12
            while monotonic() < begin + 1e-3:
                pass
        return sums(instance, requests)

    begin = monotonic()
    request = sent((1, 2))
    refused(only(serve(long).execute([request])), CANCELLED, "nobody waits")
    assert steps == [0, 1]


@pytest.mark.usefixtures("always_ask")
def test_a_batch_goes_on_while_somebody_waits(serve: Serve) -> None:
    def checked(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        instance.checkpoint()
        return sums(instance, requests)

    served = serve(checked, max_batch_size=8)
    gone, here = sent((1, 2), batched=True, cancelled=True), sent((3, 4), batched=True)
    assert served.execute([gone, here])[1].array("Z").tolist() == [[7]]
    for response in served.execute([gone, gone]):
        refused(response, CANCELLED)
