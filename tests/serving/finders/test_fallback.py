from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Self

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import InputError, ServiceError, ServiceUnavailableError
from beampipe.events import Hits, Tracks
from beampipe.serving.finders import FallbackTrackFinder, TritonTrackFinder
from beampipe.triton.client import FakeTransport
from beampipe.triton.model.contract import TensorSpec
from tests.serving.finders.events import hits


class Stub:
    """Answers with its number, or fails as told; futures are done at once or never."""

    def __init__(self, label: int, fails: Callable[[], Exception] | None = None, *, hangs: bool = False) -> None:
        self.label, self.fails, self.hangs = label, fails, hangs
        self.asked = 0
        self.closed = False
        self.pending: list[Future[Tracks]] = []

    def find(self, hits: Hits) -> Tracks:
        self.asked += 1
        if self.fails is not None:
            raise self.fails()
        return Tracks(np.full(len(hits), self.label, np.int64))

    def submit(self, hits: Hits) -> Future[Tracks]:
        future: Future[Tracks] = Future()
        self.pending.append(future)
        if self.hangs:
            return future
        try:
            future.set_result(self.find(hits))
        except Exception as error:
            future.set_exception(error)
        return future

    async def find_async(self, hits: Hits) -> Tracks:
        return self.find(hits)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def down() -> Exception:
    return ServiceUnavailableError("down")


def ask(finder: FallbackTrackFinder, how: str) -> int:
    event = hits(1)
    if how == "find":
        return int(finder.find(event).track_id[0])
    if how == "submit":
        return int(finder.submit(event).result(60).track_id[0])
    return int(asyncio.run(finder.find_async(event)).track_id[0])


@pytest.fixture(params=["find", "submit", "find_async"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_first_that_answers_is_counted(how: str) -> None:
    first, second, third = Stub(0, down), Stub(1, down), Stub(2)
    with FallbackTrackFinder(first, second, third) as finder:
        assert [ask(finder, how) for _ in range(4)] == [2] * 4
        assert finder.answered == (0, 0, 4)
    assert first.asked == second.asked == 1  # and then left out for a while
    assert first.closed
    assert third.closed


def test_the_first_is_asked_again_after_a_while(how: str) -> None:
    first, output = Stub(0, down), list[ServiceError]()
    finder = FallbackTrackFinder(first, Stub(1), pause=0.0, on_failure=output.append)
    assert ask(finder, how) == 1
    first.fails = None
    assert ask(finder, how) == 0
    assert finder.answered == (1, 1)
    assert [str(error) for error in output] == ["down"]


def test_others_are_made_when_needed_and_once(how: str) -> None:
    made = []

    def maker() -> Stub:
        made.append(Stub(7))
        return made[-1]

    first = Stub(0)
    finder = FallbackTrackFinder(first, maker)
    assert ask(finder, how) == 0
    assert not made
    first.fails = down
    assert [ask(finder, how), ask(finder, how)] == [7, 7]
    assert len(made) == 1


def test_bad_data_is_bad_everywhere(how: str) -> None:
    second = Stub(1)
    finder = FallbackTrackFinder(Stub(0, lambda: InputError("NaN")), second)
    with pytest.raises(InputError, match="NaN"):
        ask(finder, how)
    assert second.asked == 0


def test_the_last_error_is_told_if_none_answers(how: str) -> None:
    last = Stub(1, lambda: ServiceError("also down"))
    finder = FallbackTrackFinder(Stub(0, down), last)
    for _ in range(2):
        with pytest.raises(ServiceError, match="also down"):
            ask(finder, how)
    assert last.asked == 2  # the last one is never left out


def test_cancelling_reaches_the_finder_that_is_asked() -> None:
    second = Stub(1, hangs=True)
    finder = FallbackTrackFinder(Stub(0, down), second)
    future = finder.submit(hits(1))
    assert not future.done()
    assert future.cancel()
    assert second.pending[0].cancelled()
    with pytest.raises(CancelledError):
        future.result(1)


def test_only_the_last_finder_waits_for_its_servers() -> None:
    request = []

    def answer(arrays: dict[str, ndarray]) -> dict[str, ndarray]:
        request.append(len(arrays["FEATURES"]))
        raise ServiceUnavailableError("down")

    features, labels = (
        TensorSpec("FEATURES", "FP32", np.float32, (-1, 3)),
        TensorSpec("LABELS", "INT64", np.int64, (-1,)),
    )
    with FallbackTrackFinder(
        TritonTrackFinder("fake:1", transport=FakeTransport(answer, [features], [labels])), Stub(1)
    ) as finder:
        assert finder.find(hits(3)).track_id.tolist() == [1, 1, 1]
    assert request == [3, 3]
    served = TritonTrackFinder("fake:1", transport=FakeTransport(answer, [features], [labels]), timeout=1.0)
    with FallbackTrackFinder(Stub(0, down), served) as finder, pytest.raises(ServiceError, match="down"):
        finder.find(hits(4))
    assert request.count(4) > 2
