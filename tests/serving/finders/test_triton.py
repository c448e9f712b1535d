"""`TritonTrackFinder`: hits to tracks, with all that `ModelClient` does when servers fail; its own tests have more."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError, InputError, ServiceError, ServiceUnavailableError
from beampipe.serving.finders import TritonTrackFinder
from tests.serving.finders.events import hits
from tests.triton.client.servers import CONFIG, SERVERS, Fake, Held, Refusal, Server, grpc_server, labels_of


@pytest.fixture(params=list(SERVERS))
def serve(request: pytest.FixtureRequest) -> Server:
    return SERVERS[request.param]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        yield taken.getsockname()[1]


def assert_right(finder: TritonTrackFinder, n: int = 5) -> None:
    event = hits(n)
    track_id = finder.find(event).track_id
    assert track_id.tobytes() == labels_of(event.position).tobytes()
    assert track_id.flags.writeable


@pytest.mark.parametrize("n", [0, 1, 300, 20_000])
def test_labels_come_back_by_each_way_of_asking(serve: Server, n: int) -> None:
    event = hits(n)
    with serve(Fake()) as url, TritonTrackFinder(url) as finder:
        expected = labels_of(event.position).tobytes()
        assert finder.find(event).track_id.tobytes() == expected
        assert finder.submit(event).result(60).track_id.tobytes() == expected
        assert asyncio.run(finder.find_async(event)).track_id.tobytes() == expected


def test_a_batching_model_gets_its_axis_and_exatrkx_units(serve: Server) -> None:
    config = {**CONFIG, "max_batch_size": 8, "parameters": {"FEATURE_SCALE": {"string_value": "exatrkx"}}}
    shapes = []

    def answer(features: ndarray) -> ndarray:
        shapes.append(features.shape)
        labels: ndarray = np.rint(features[..., 0] * 3000).astype(np.int64)
        return labels

    event = hits(4)
    with serve(Fake(answer, config)) as url, TritonTrackFinder(url) as finder:
        assert finder.find(event).track_id.tolist() == np.rint(event.position[:, 0]).tolist()
    assert shapes == [(1, 4, 3)]


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        (Fake(datatype="INT32"), "gave LABELS INT32"),
        (Fake(lose=True), "0 bytes of LABELS, expected 5 values"),
        (Fake(lambda features: labels_of(features)[:-1]), r"INT64 \[4\], expected INT64 \[5\]"),
        (Fake(config={**CONFIG, "output": []}), "expected a track finder"),
    ],
    ids=["type", "empty", "short", "config"],
)
def test_an_answer_that_cannot_be_right_is_an_error(serve: Server, fake: Fake, message: str) -> None:
    with serve(fake) as url, TritonTrackFinder(url) as finder, pytest.raises(ServiceError, match=message):
        finder.find(hits())


def test_bad_hits_are_refused_once(serve: Server) -> None:
    def refuse(features: ndarray) -> ndarray:
        raise Refusal("INVALID_ARGUMENT", "hits: got NaN at row 3", 400)

    fake = Fake(refuse)
    with serve(fake) as url, TritonTrackFinder(url, retries=3) as finder, pytest.raises(InputError, match="NaN"):
        finder.find(hits())
    assert fake.asked == 1


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_nobody_there(scheme: str, closed_port: int) -> None:
    with TritonTrackFinder(f"{scheme}://127.0.0.1:{closed_port}", timeout=0.5) as finder:
        with pytest.raises(ServiceUnavailableError, match="is a server running there"):
            finder.find(hits())
        assert isinstance(finder.submit(hits()).exception(60), ConnectionError)


def test_an_asyncio_task_that_is_cancelled_cancels_its_request() -> None:
    held = Held()
    fake = Fake(held)

    async def give_up(finder: TritonTrackFinder) -> None:
        task = asyncio.create_task(finder.find_async(hits()))
        await asyncio.to_thread(held.arrived.acquire, timeout=60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with grpc_server(fake) as url, TritonTrackFinder(url) as finder:
        asyncio.run(give_up(finder))
        assert fake.gone.wait(60)
        held.release.set()


def test_the_token_is_sent(serve: Server) -> None:
    fake = Fake()
    with serve(fake) as url, TritonTrackFinder(url, token="t0ken") as finder:
        assert_right(finder)
    assert [headers["authorization"] for headers in fake.headers] == ["Bearer t0ken"]


def test_a_server_that_cannot_map_our_memory_gets_events_sent(serve: Server) -> None:
    # The fakes refuse every region: like a server in a container.
    fake = Fake()
    with serve(fake) as url:
        with TritonTrackFinder(url, protocol="auto") as finder:
            assert_right(finder, 20_000)
        with TritonTrackFinder(url, protocol="shm") as finder, pytest.raises(ServiceError, match=r"map|implement"):
            finder.find(hits(20_000))
    assert fake.asked == 1
    assert not list(Path("/dev/shm").glob(f"beampipe_client_{os.getpid()}_*"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_another_process_makes_connections_of_its_own(serve: Server, method: Any) -> None:
    context = multiprocessing.get_context(method)
    fake = Fake()
    with serve(fake) as url, TritonTrackFinder(url) as finder:
        assert_right(finder)
        child = context.Process(target=finder.find, args=(hits(),))
        child.start()
        child.join(120)
        assert child.exitcode == 0
        assert fake.asked == 2
        assert_right(finder)


def test_a_pickled_finder_asks_the_same() -> None:
    with grpc_server(Fake()) as url, TritonTrackFinder(url) as finder:
        assert_right(finder)
        with pickle.loads(pickle.dumps(finder)) as copy:
            assert_right(copy)
        assert_right(finder)


@pytest.mark.parametrize(
    ("urls", "options", "message"),
    [
        ([], {}, "urls: got"),
        (["a:1", "a:1"], {}, "distinct URLs"),
        ("a:1", {"timeout": 0.0}, "timeout: got 0.0, expected seconds"),
        ("a:1", {"retries": -1}, "retries: got -1"),
        ("a:1", {"in_flight": 0}, "in_flight: got 0"),
        ("a:1", {"model": ""}, "model: got ''"),
        ("http://a:1", {"protocol": "grpc"}, "leave one out"),
    ],
)
def test_a_setting_out_of_range_is_refused(urls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TritonTrackFinder(urls, **options)
