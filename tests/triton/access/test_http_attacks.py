"""Attacks over HTTP: refused, the server unharmed, other clients answered rightly."""

from __future__ import annotations

import resource
import socket
import struct
import time
from contextlib import ExitStack

import pytest

from beampipe.triton.server import management
from beampipe.triton.server.haproxy import PublicPort
from beampipe.triton.server.server import TritonServer
from tests.triton.access.attacks import ATTACKS, CLOSED, Attack, post, raw_answer, status_of, tensor
from tests.triton.access.bystander import request_without_secret, unharmed


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_an_attack_is_refused_and_nobody_else_notices(proxied: TritonServer, attack: Attack) -> None:
    with unharmed(proxied):
        answer = raw_answer(proxied.ports.http, attack.sent)
        assert status_of(answer) in attack.answers, answer[:300]
        if status_of(answer) >= 400:
            # Of what is no HTTP at all HAProxy says so in its own words.
            assert b'{"error":' in answer or answer.startswith(b"HTTP/1.1 400 Bad request")


def test_what_is_refused_before_the_server_says_so_as_the_server_does(proxied: TritonServer) -> None:
    answer = raw_answer(proxied.ports.http, post(b"{}", "/v2/repository/index"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert body.startswith(b'{"error":"proxy: got a path that is not for everybody, expected')


def test_behind_the_proxy_nothing_is_open_without_the_secret(proxied: TritonServer) -> None:
    inner = proxied.access.connection.inner_http
    for attack in ATTACKS[:6]:
        assert status_of(raw_answer(inner, attack.sent)) in (403, CLOSED), attack.name
    assert status_of(raw_answer(inner, post(tensor()))) == 403
    assert request_without_secret(proxied.ports.http, 0.0, 2.5)


def test_many_idle_connections_hold_nobody_up(proxied: TritonServer) -> None:
    """They are closed after five seconds, for which nobody else waits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with unharmed(proxied), ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for port in (proxied.ports.http, proxied.ports.grpc):
            for _ in range(1500):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        begin = time.monotonic()
        assert request_without_secret(proxied.ports.http, 0.0, 7.5)
        assert PublicPort("127.0.0.1", proxied.ports.grpc, True, False, "/").answers()
        assert time.monotonic() - begin < 2.5


def test_resets_in_the_middle_are_survived(proxied: TritonServer) -> None:
    with unharmed(proxied):
        for end in range(20, 220, 2):
            connection = socket.create_connection(("127.0.0.1", proxied.ports.http), timeout=60)
            connection.sendall(post(tensor())[:end])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by a reset
            connection.close()


def test_abandoned_requests_do_not_pile_up_in_the_server(proxied: TritonServer) -> None:
    """Clients that send and go: the server has at most as many requests as the reverse proxy lets in at once."""
    limit = proxied.settings.access.limits.in_flight
    slow = post(tensor(shape=[1], data=[0.01]))
    for _ in range(3 * limit):
        with socket.create_connection(("127.0.0.1", proxied.ports.http), timeout=60) as connection:
            connection.sendall(slow)
    _, metrics = management.request(proxied.metrics_url, "GET", "/metrics")
    waiting = [line for line in metrics.decode().splitlines() if line.startswith("nv_inference_pending_request_count{")]
    assert 0 < sum(float(line.rpartition(" ")[2]) for line in waiting) <= limit
    assert request_without_secret(proxied.ports.http, 0.0, 3.5)
