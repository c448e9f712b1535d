"""`TritonTrackFinder`: hits to tracks, with all that `ModelClient` does when servers fail; its own tests have more."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError, InputError, ServiceError
from beampipe.serving.finders import TritonTrackFinder
from tests.serving.finders.events import hits
from tests.triton.client.servers import CONFIG, SERVERS, Fake, Refusal, Server, grpc_server, labels_of


@pytest.fixture(params=list(SERVERS))
def serve(request: pytest.FixtureRequest) -> Server:
    return SERVERS[request.param]


def assert_right(finder: TritonTrackFinder, n: int = 5) -> None:
    event = hits(n)
    track_id = finder.find(event).track_id
    assert track_id.tobytes() == labels_of(event.position).tobytes()
    assert track_id.flags.writeable


@pytest.mark.parametrize("n", [0, 20_000])
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
        (Fake(lambda features: labels_of(features)[:-1]), r"INT64 \[4\], expected INT64 \[5\]"),
        (Fake(config={**CONFIG, "output": []}), "expected a track finder"),
    ],
    ids=["short", "config"],
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
        ("a:1", {"model": ""}, "model: got ''"),
    ],
)
def test_a_setting_out_of_range_is_refused(urls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TritonTrackFinder(urls, **options)
