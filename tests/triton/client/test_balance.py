from __future__ import annotations

import pytest

from beampipe.errors import DeadlineError, InputError, ServiceUnavailableError
from beampipe.triton.client.servers import LoadBalancer


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

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
