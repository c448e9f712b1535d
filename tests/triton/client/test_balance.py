"""Several servers of one model: behind one name, and which of them gets a request."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from beampipe.errors import DeadlineError, InputError, ServiceError, ServiceUnavailableError
from beampipe.triton.client import ModelClient
from beampipe.triton.client.endpoint import Endpoint, parse_endpoint
from beampipe.triton.client.servers import LoadBalancer, RemoteModel, Servers, addresses_of
from tests.triton.client.servers import MODEL, Fake, Server, ask, assert_right, make_certificate
from tests.triton.waiting import wait_until


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(balance: LoadBalancer[str], server: str) -> None:
    with pytest.raises(ServiceUnavailableError), balance.in_flight(server):
        raise ServiceUnavailableError("down")


def be_late(balance: LoadBalancer[str], server: str, clock: Clock, seconds: float) -> None:
    def wait() -> None:
        clock.now += seconds
        raise DeadlineError("late")

    with pytest.raises(DeadlineError), balance.in_flight(server):
        wait()


def test_the_least_busy_is_asked() -> None:
    balance = LoadBalancer(["a", "b"])
    with balance.in_flight("a"):
        assert [balance.pick() for _ in range(3)] == ["b", "b", "b"]
    assert balance.pick() == "a"


def test_a_server_that_failed_is_left_out_longer_each_time() -> None:
    clock = Clock()
    balance = LoadBalancer(["a", "b"], clock)
    pauses = []
    for _ in range(7):
        fail(balance, "a")
        start = clock.now
        while {balance.pick(), balance.pick()} == {"b"}:
            clock.now += 0.125
        pauses.append(clock.now - start)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    with balance.in_flight("a"):
        pass
    fail(balance, "a")
    clock.now += 0.25
    assert "a" in {balance.pick() for _ in range(9)}


def test_a_server_that_kept_one_waiting_is_left_out_for_as_long() -> None:
    clock = Clock()
    balance = LoadBalancer(["a", "b"], clock)
    be_late(balance, "a", clock, 30.0)
    clock.now = 59.0
    assert {balance.pick(), balance.pick()} == {"b"}
    clock.now = 60.0
    assert balance.pick() == "a"


def test_servers_are_replaced_and_what_is_known_of_those_that_stay_is_kept() -> None:
    clock = Clock()
    balance = LoadBalancer(["a", "b"], clock)
    fail(balance, "b")
    with balance.in_flight("a"):
        balance.replace(["b", "c"])
    assert balance.servers == ("b", "c")
    assert {balance.pick(), balance.pick()} == {"c"}


def test_what_was_tried_comes_last_and_the_first_to_be_back_if_all_are_down() -> None:
    clock = Clock()
    balance = LoadBalancer(["a", "b"], clock)
    assert balance.pick(["a"]) == "b"
    assert balance.pick(["a", "b"]) in ("a", "b")
    fail(balance, "b")
    clock.now += 0.1
    fail(balance, "a")
    assert balance.pick() == "b"
    assert balance.pick(["b"]) == "a"


def test_a_server_may_fail_for_ever() -> None:
    clock = Clock()
    balance = LoadBalancer(["a", "b"], clock)
    for _ in range(200):  # a hundred requests in flight get there within a minute
        fail(balance, "a")
    assert balance.pick() == "b"
    clock.now += 5.1
    assert {balance.pick() for _ in range(4)} == {"a", "b"}, "left out for 5 s at most"


def test_bad_data_says_nothing_of_the_server() -> None:
    balance = LoadBalancer(["a", "b"])
    with pytest.raises(InputError), balance.in_flight("a"):
        raise InputError("NaN")
    assert {balance.pick(), balance.pick()} == {"a", "b"}


NAME = "cluster.example"


class Names:
    """A resolver of one name; the machine's own for all others."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != NAME:
            return self._real(host, port, *args, **options)
        self.asked += 1
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.addresses
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names("127.0.0.1", "127.0.0.2")
    monkeypatch.setattr(socket, "getaddrinfo", names)
    return names


def same_port(stack: ExitStack, serve: Server, fakes: Sequence[Fake], **options: Any) -> tuple[str, int]:
    """Start servers at 127.0.0.1, 127.0.0.2, ... with the same port; gives the scheme and the port."""
    url = stack.enter_context(serve(fakes[0], **options))
    port = int(url.rpartition(":")[2])
    for last, fake in enumerate(fakes[1:], 2):
        stack.enter_context(serve(fake, address=f"127.0.0.{last}:{port}", **options))
    return url.partition(":")[0], port


@pytest.mark.parametrize("one_is_dead", [False, True])
def test_requests_go_to_all_addresses_of_a_name(serve: Server, names: Names, one_is_dead: bool) -> None:
    names.addresses += ["127.0.0.3"] * one_is_dead
    fakes = [Fake(), Fake()]
    with ExitStack() as stack:
        scheme, port = same_port(stack, serve, fakes)
        with ModelClient(f"{scheme}://{NAME}:{port}", MODEL, retries=1) as client:
            for _ in range(10):
                assert_right(client)
    assert sum(fake.asked for fake in fakes) == 10
    assert one_is_dead or [fake.asked for fake in fakes] == [5, 5]
    assert names.asked == 1 or one_is_dead


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_a_certificate_must_be_for_the_name_and_not_for_the_address(
    serve: Server, names: Names, tmp_path: Path
) -> None:
    for host, trusted in ((NAME, True), ("other.example", False)):
        (folder := tmp_path / host).mkdir()
        pair = make_certificate(folder, host)
        fakes = [Fake(), Fake()]
        with ExitStack() as stack:
            scheme, port = same_port(stack, serve, fakes, certificate=pair)
            with ModelClient(f"{scheme}://{NAME}:{port}", MODEL, tls=pair[0]) as client:
                if trusted:
                    for _ in range(4):
                        assert_right(client)
                else:
                    with pytest.raises(ServiceError, match=f"certificate of another host, expected one for {NAME}"):
                        ask(client)
        assert [fake.asked for fake in fakes] == ([2, 2] if trusted else [0, 0])


def test_a_name_without_an_address_is_asked_for_until_the_time_is_over(serve: Server, names: Names) -> None:
    names.addresses = []
    scheme = "grpc" if serve.__name__.startswith("grpc") else "http"
    client = ModelClient(f"{scheme}://{NAME}:1", MODEL, timeout=0.3)
    with client, pytest.raises(ServiceUnavailableError, match=f"got no address for {NAME}"):
        ask(client)


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        (["10.0.0.2", "10.0.0.1"], ["10.0.0.1", "10.0.0.2"]),
        (["10.0.0.1", "::1"], [""]),  # one machine, two families: the transport tries both
        (["fd00::1", "fd00::2", "10.0.0.1"], ["fd00::1", "fd00::2"]),
        (["10.0.0.1"], [""]),
    ],
)
def test_several_addresses_of_one_family_are_several_servers(
    names: Names, addresses: list[str], found: list[str]
) -> None:
    names.addresses = addresses
    assert [item.address for item in addresses_of(parse_endpoint(f"grpc://{NAME}:8001"))] == found


def test_what_is_no_name_is_not_looked_up(names: Names) -> None:
    for host in ("127.0.0.1", "[::1]", "localhost"):
        endpoint = parse_endpoint(f"grpc://{host}:8001")
        assert addresses_of(endpoint) == (endpoint,)


def test_names_are_looked_up_again(names: Names) -> None:
    now = 0.0
    closed = []

    class Remote(RemoteModel):
        def __init__(self, endpoint: Endpoint) -> None:
            self.address = endpoint.address

        def close(self, limit: float = 0.5) -> None:
            closed.append(self.address)

    def addresses() -> list[str]:
        return [remote.address for remote in servers.balance().servers if isinstance(remote, Remote)]

    servers = Servers([parse_endpoint(f"grpc://{NAME}:1")], Remote, longest=60.0, clock=lambda: now)
    first = servers.balance().servers
    names.addresses = ["127.0.0.2", "127.0.0.3"]
    now = 29.0
    assert addresses() == ["127.0.0.1", "127.0.0.2"]
    now = 30.0
    wait_until(lambda: addresses() == ["127.0.0.2", "127.0.0.3"], 10)
    assert servers.balance().servers[0] is first[1], "what stays, stays connected"
    assert not closed, "a request may still be on its way"
    names.addresses = []
    servers.failed()
    now = 91.0
    servers.refresh()
    assert addresses() == ["127.0.0.2", "127.0.0.3"], "a resolver that fails takes no server away"
    assert closed == ["127.0.0.1"]
    servers.close(0.1)
    assert sorted(closed) == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert threading.active_count() < 50
