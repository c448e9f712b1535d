"""One name, several addresses: each of them is a server."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from beampipe.errors import ServiceError, ServiceUnavailableError
from beampipe.triton.client import ModelClient
from beampipe.triton.client.endpoint import Endpoint, parse_endpoint
from beampipe.triton.client.servers import RemoteModel, Servers, addresses_of
from tests.triton.client.servers import MODEL, Fake, Server, ask, assert_right, make_certificate
from tests.triton.waiting import wait_until

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


def test_requests_go_to_all_addresses_of_a_name(serve: Server, names: Names) -> None:
    fakes = [Fake(), Fake()]
    with ExitStack() as stack:
        scheme, port = same_port(stack, serve, fakes)
        with ModelClient(f"{scheme}://{NAME}:{port}", MODEL) as client:
            for _ in range(10):
                assert_right(client)
    assert [fake.asked for fake in fakes] == [5, 5]
    assert names.asked == 1


def test_an_address_that_is_dead_costs_no_request(serve: Server, names: Names) -> None:
    names.addresses.append("127.0.0.3")
    fakes = [Fake(), Fake()]
    with ExitStack() as stack:
        scheme, port = same_port(stack, serve, fakes)
        with ModelClient(f"{scheme}://{NAME}:{port}", MODEL, retries=1) as client:
            for _ in range(10):
                assert_right(client)
    assert sum(fake.asked for fake in fakes) == 10


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


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_what_is_no_name_is_not_looked_up(names: Names, host: str) -> None:
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
