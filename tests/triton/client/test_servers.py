"""`ModelClient` against servers that fail in every way that a test can tell them to."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from numpy import ndarray

from beampipe.errors import (
    ConfigError,
    DeadlineError,
    InputError,
    RegionRefusedError,
    ServiceError,
    ServiceUnavailableError,
)
from beampipe.triton.client import ModelClient
from beampipe.triton.connection_file import new_connection, write_connection
from tests.triton.client.servers import (
    CONFIG,
    MODEL,
    SERVERS,
    Fake,
    Held,
    Refusal,
    Server,
    ask,
    assert_right,
    event,
    grpc_server,
    http_server,
    labels_of,
    make_certificate,
    wanted,
)


class Once:
    """Fails with each of some refusals, then answers."""

    def __init__(self, *refusals: Refusal) -> None:
        self.refusals = list(refusals)

    def __call__(self, features: ndarray) -> ndarray:
        if self.refusals:
            raise self.refusals.pop(0)
        return labels_of(features)


@pytest.mark.parametrize("n", [0, 20_000])
def test_labels_come_back_by_each_way_of_asking(serve: Server, n: int) -> None:
    features = event(n)
    arrays, due = {"FEATURES": features}, wanted(features)
    expected = labels_of(features).tobytes()
    with serve(Fake()) as url, ModelClient(url, MODEL) as client:
        assert client.infer(arrays, due)["LABELS"].tobytes() == expected
        assert client.submit(arrays, due).result(60)["LABELS"].tobytes() == expected
        assert asyncio.run(client.infer_async(arrays, due))["LABELS"].tobytes() == expected
        assert client.infer(arrays)["LABELS"].tobytes() == expected


def test_a_batching_model_gets_its_axis(serve: Server) -> None:
    shapes = []

    def answer(features: ndarray) -> ndarray:
        shapes.append(features.shape)
        return labels_of(features)

    with serve(Fake(answer, {**CONFIG, "max_batch_size": 8})) as url, ModelClient(url, MODEL) as client:
        assert ask(client, 4).tolist() == labels_of(event(4)).tolist()
    assert shapes == [(1, 4, 3)]


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("UNAVAILABLE", "Exceeds maximum queue size", 503),
        Refusal("INTERNAL", "Stub process 'exatrkx_0_0' is not healthy."),
        Refusal("NOT_FOUND", "Request for unknown model: 'exatrkx' has no available versions", 404),
    ],
    ids=lambda refusal: refusal.code,
)
def test_what_may_pass_is_tried_again(serve: Server, refusal: Refusal) -> None:
    fake = Fake(Once(refusal))
    with serve(fake) as url, ModelClient(url, MODEL) as client:
        assert_right(client)
    assert fake.asked == 2
    fake = Fake(Once(refusal, refusal))
    with serve(fake) as url, ModelClient(url, MODEL, retries=1) as client:
        with pytest.raises(ServiceUnavailableError, match=refusal.message[:10]):
            ask(client)
        assert fake.asked == 2
        assert_right(client)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal("INVALID_ARGUMENT", "hits: got NaN at row 3", 400), InputError),
        (Refusal("INTERNAL", "internal error of the model", 500), ServiceError),
        (Refusal("UNAUTHENTICATED", "unauthenticated", 401), ServiceError),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_what_will_not_pass_is_not_repeated(serve: Server, refusal: Refusal, kind: type[Exception]) -> None:
    fake = Fake(Once(refusal, refusal))
    with serve(fake) as url, ModelClient(url, MODEL, retries=3) as client, pytest.raises(kind, match=refusal.message):
        ask(client)
    assert fake.asked == 1


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        (Fake(datatype="INT32"), "gave LABELS INT32"),
        (Fake(lose=True), "0 bytes of LABELS, expected 5 values"),
        (Fake(lambda features: labels_of(features)[:-1]), r"INT64 \[4\], expected INT64 \[5\]"),
        (Fake(config={**CONFIG, "output": [{"name": "LABELS"}]}), "got a configuration of 'exatrkx' with 'data_type'"),
    ],
    ids=["type", "empty", "short", "config"],
)
def test_an_answer_that_cannot_be_right_is_an_error(serve: Server, fake: Fake, message: str) -> None:
    with serve(fake) as url, ModelClient(url, MODEL) as client, pytest.raises(ServiceError, match=message):
        ask(client)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_never_answers_is_given_up(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        with ModelClient(url, MODEL, timeout=0.3) as client, pytest.raises((DeadlineError, ServiceUnavailableError)):
            ask(client)


def test_a_connection_that_the_server_closed_is_made_anew() -> None:
    fake = Fake()
    with http_server(fake) as url:
        client = ModelClient(url, MODEL, retries=0)
        assert_right(client)
    # The same port, another server; the old connection is dead.
    with http_server(fake, address=f"127.0.0.1:{url.rpartition(':')[2]}"):
        assert_right(client)
    client.close()


def test_of_several_servers_a_dead_one_costs_no_event(serve: Server, closed_port: int) -> None:
    first, second = Fake(), Fake()
    with serve(first) as one, serve(second) as two:
        dead = f"{one.partition(':')[0]}://127.0.0.1:{closed_port}"
        with ModelClient([dead, one, two], MODEL) as client:
            for _ in range(20):
                assert_right(client)
    assert first.asked + second.asked == 20
    assert abs(first.asked - second.asked) <= 2


def test_a_server_that_hangs_leaves_time_for_the_others(serve: Server) -> None:
    held, fake = Held(), Fake()
    with serve(Fake(held)) as hanging, serve(fake) as well:
        with ModelClient([hanging, well], MODEL, timeout=2.0) as client:
            for _ in range(6):
                assert_right(client)
        assert fake.asked == 6
        assert held.arrived.acquire(timeout=0)
        hasty = ModelClient([hanging, well], MODEL, timeout=0.5, retries=0)
        with hasty, pytest.raises(DeadlineError):
            ask(hasty)
        held.release.set()


def test_no_more_than_in_flight_are_sent_and_order_is_kept(serve: Server) -> None:
    def slow(features: ndarray) -> ndarray:
        time.sleep(0.02)
        return labels_of(features)

    fake = Fake(slow)
    events = [event(3, seed) for seed in range(12)]
    with serve(fake) as url, ModelClient(url, MODEL, in_flight=3) as client:
        futures = [client.submit({"FEATURES": features}) for features in events]
        for features, future in zip(events, futures, strict=True):
            assert future.result(60)["LABELS"].tolist() == labels_of(features).tolist()
    assert fake.most == 3


def test_the_token_is_sent(serve: Server) -> None:
    fake = Fake()
    with serve(fake) as url, ModelClient(url, MODEL, token="t0ken") as client:
        assert_right(client)
    assert [headers["authorization"] for headers in fake.headers] == ["Bearer t0ken"]


def test_a_token_in_a_file_goes_to_another_process(serve: Server, tmp_path: Path) -> None:
    (file := tmp_path / "token").write_text("t0ken\n")
    fake = Fake()
    with serve(fake) as url, ModelClient(url, MODEL, token=file) as client:
        assert b"t0ken" not in pickle.dumps(client)
        with pickle.loads(pickle.dumps(client)) as copy:
            assert_right(copy)
    assert [headers["authorization"] for headers in fake.headers] == ["Bearer t0ken"]
    with ModelClient(url, MODEL, token="t0ken") as client, pytest.raises(ConfigError, match="stays out of pickles"):
        pickle.dumps(client)


def test_a_token_over_an_open_line_is_warned_of_once() -> None:
    urls = ["grpc://node7:8001", "grpcs://node8:8001", "http://127.0.0.1:8000", "http://node9:8000"]
    with pytest.warns(
        UserWarning, match=r"grpc://node7:8001, http://node9:8000: got a token .* not encrypted"
    ) as output:
        ModelClient(urls, MODEL, token="t0ken").close()
    assert len(output) == 1
    assert "t0ken" not in str(output[0].message)
    ModelClient(urls, MODEL).close()
    ModelClient(urls[1:3], MODEL, token="t0ken").close()  # warnings are errors here


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_an_encrypted_server_is_trusted_by_its_certificate_only(serve: Server, tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    fake = Fake()
    with serve(fake, pair) as url:
        with ModelClient(url, MODEL, tls=pair[0]) as client:
            assert_right(client)
        with ModelClient(url, MODEL) as client, pytest.raises(ServiceError, match=r"(?i)certificate|handshake|connect"):
            ask(client)
    assert fake.asked == 1


def test_only_a_server_of_this_user_is_asked_to_map_memory(serve: Server) -> None:
    """Gateways, and servers of other users, refuse it and count the refusal, which raises an alarm."""
    fake = Fake()
    with serve(fake) as url, ModelClient(url, MODEL, protocol="auto") as client:
        assert_right(client, 20_000)
    assert (fake.mapped, fake.asked) == (0, 1)


@pytest.mark.parametrize("restricted", [False, True])
def test_a_server_that_cannot_or_will_not_map_our_memory_gets_events_sent(
    serve: Server, restricted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The fakes refuse every region: like a server in a container, or one that keeps this to its own user.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    fake = Fake(restricted=restricted)
    with serve(fake) as url:
        port = int(url.rpartition(":")[2])
        write_connection(new_connection("127.0.0.1", port, port, port, port))
        with ModelClient(url, MODEL, protocol="auto") as client:
            for _ in range(3):
                assert_right(client, 20_000)
            assert fake.mapped == 1, "a refusal is remembered"
        with ModelClient(url, MODEL, protocol="shm") as client:
            with pytest.raises(RegionRefusedError, match=r"cannot map memory .* protocol='auto'") as caught:
                ask(client, 20_000)
            assert ("restricted" in str(caught.value)) is restricted
            assert "beampipe_client_" not in str(caught.value)
    assert fake.asked == 3
    assert not list(Path("/dev/shm").glob(f"beampipe_client_{os.getpid()}_*"))


@pytest.mark.parametrize(("scheme", "method"), [("grpc", "spawn"), ("http", "fork")])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_another_process_makes_connections_of_its_own(scheme: str, method: Any) -> None:
    context = multiprocessing.get_context(method)
    fake = Fake()
    with SERVERS[scheme](fake) as url, ModelClient(url, MODEL) as client:
        assert_right(client)
        child = context.Process(target=ask, args=(client,))
        child.start()
        child.join(120)
        assert child.exitcode == 0
        assert fake.asked == 2
        assert_right(client)


def test_a_pickled_client_asks_the_same() -> None:
    with grpc_server(Fake()) as url, ModelClient(url, MODEL) as client:
        assert_right(client)
        with pickle.loads(pickle.dumps(client)) as copy:
            assert_right(copy)
        assert_right(client)


@pytest.mark.parametrize(
    ("urls", "options", "message"),
    [
        ([], {}, "urls: got"),
        (["a:1", "a:1"], {}, "distinct URLs"),
        ("a:1", {"timeout": 0.0}, "timeout: got 0.0, expected seconds"),
        ("a:1", {"retries": -1}, "retries: got -1"),
        ("a:1", {"in_flight": 0}, "in_flight: got 0"),
        ("http://a:1", {"protocol": "grpc"}, "leave one out"),
    ],
)
def test_a_setting_out_of_range_is_refused(urls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelClient(urls, MODEL, **options)


def test_what_is_no_triton_is_no_service() -> None:
    for config in ("hello", {"html": "<html>"}, [1]):
        fake = Fake(config=config)  # type: ignore[arg-type]
        with http_server(fake) as url, ModelClient(url, MODEL) as client, pytest.raises(ServiceError, match="expected"):
            ask(client)


def test_many_threads_share_one_client(serve: Server) -> None:
    wrong: list[BaseException] = []

    def ask(client: ModelClient, seed: int) -> None:
        try:
            for n in range(20):
                features = event(10 + n, seed)
                assert client.infer({"FEATURES": features})["LABELS"].tolist() == labels_of(features).tolist()
        except BaseException as error:
            wrong.append(error)

    with serve(Fake()) as url, ModelClient(url, MODEL) as client:
        threads = [threading.Thread(target=ask, args=(client, seed)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
