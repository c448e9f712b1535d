"""Workers of a pool: what they keep between two tasks."""

from __future__ import annotations

import gc

from beampipe.workflow import Task, open_pool, run
from tests.workflow import toys


def test_a_worker_keeps_nothing_of_what_a_task_has_left() -> None:
    gc.disable()
    try:
        toys.RINGS.clear()
        assert [toys.leave_a_ring(k) for k in range(3)] == [0, 1, 2], "without a collection rings would be there"
    finally:
        gc.enable()
    with open_pool("processes", 1) as pool:
        assert run([Task(str(k), toys.leave_a_ring, (k,)) for k in range(5)], pool) == [0] * 5
