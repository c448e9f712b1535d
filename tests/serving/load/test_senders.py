from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import pytest

from beampipe.errors import ConfigError, NotFiniteError, ShapeError
from beampipe.serving.load import (
    FutureSender,
    Workload,
    closed_loop,
    direct_workload,
    in_threads,
    verify,
)
from beampipe.tracking import Hits, Tracks
from tests.serving.load.virtual import workload_of

WORKLOAD = workload_of(3, 0, 700)


def labels_of(body: bytes) -> bytes:
    """What `workload_of` says of the hits in a body: the first coordinate is the number of the event, from 1."""
    hits = np.frombuffer(body, "<f4").reshape(-1, 3)
    first = int(hits[0, 0]) - 1 if len(hits) else 0
    return np.arange(first, first + len(hits), dtype=np.int64).tobytes()


def find(hits: Hits) -> Tracks:
    return Tracks(np.frombuffer(labels_of(hits.position.tobytes()), np.int64))


def test_any_finder_can_be_loaded() -> None:
    def submit(hits: Hits) -> Future[Tracks]:
        future: Future[Tracks] = Future()
        future.set_result(find(hits))
        return future

    for sender in (
        in_threads(find, WORKLOAD, 2),
        FutureSender(submit, WORKLOAD),
    ):
        verify(sender, WORKLOAD)
        run = closed_loop(sender, WORKLOAD, 2, seconds=0.02, warm_up=0.0)
        sender.close()
        assert run.faults == {}
        assert len(run) >= 4


def test_errors_of_a_finder_are_answers() -> None:
    def refuse(hits: Hits) -> Tracks:
        raise NotFiniteError("no")

    def refuse_at_the_door(hits: Hits) -> Future[Tracks]:
        raise NotFiniteError("no")

    def cancel(hits: Hits) -> Future[Tracks]:
        future: Future[Tracks] = Future()
        future.cancel()
        return future

    for sender, words in (
        (in_threads(refuse, WORKLOAD, 1), "NotFiniteError: no"),
        (FutureSender(refuse_at_the_door, WORKLOAD), "NotFiniteError: no"),
        (FutureSender(cancel, WORKLOAD), "cancelled"),
    ):
        sender.send(1, 0)
        (answer,) = sender.answers(10.0)
        sender.close()
        assert (answer.ticket, answer.labels, answer.error) == (1, None, words)


def test_a_workload_knows_what_is_right() -> None:
    workload = direct_workload(WORKLOAD.hits, find)
    for event, labels in enumerate(WORKLOAD.labels):
        assert np.array_equal(workload.labels[event], labels)
        assert workload.difference(event, labels) is None
        assert workload.difference(event, memoryview(labels.tobytes())) is None
    assert workload.difference(0, np.array([0, 1, -1])) == "event 0: 1 of 3 labels differ from the direct ones"
    assert workload.difference(0, np.array([0, 1, 2], np.int32)) == "event 0: got 12 bytes of labels, expected 24"
    with pytest.raises(ConfigError, match="got no event"):
        Workload((), ())
    with pytest.raises(ShapeError, match="one label per hit"):
        Workload(WORKLOAD.hits, WORKLOAD.labels[::-1])
