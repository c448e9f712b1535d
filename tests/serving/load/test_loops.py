from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError
from beampipe.serving.load import Arrival, closed_loop, latencies, open_loop, poisson_arrivals, summarise
from tests.serving.load.virtual import VirtualServer, workload_of

WORKLOAD = workload_of(3, 5, 0)


@pytest.mark.parametrize(("concurrency", "servers"), [(1, 1), (4, 1), (16, 2), (2, 4)])
def test_closed_loop_measures_a_server_of_known_speed(concurrency: int, servers: int) -> None:
    """c requests at k servers of D seconds: c D / min(c, k) each, min(c, k) / D per second."""
    server = VirtualServer(WORKLOAD, lambda n: 0.25, servers)
    run = closed_loop(server, WORKLOAD, concurrency, seconds=20.0, warm_up=2.0, clock=server.clock)
    result = summarise(run)
    assert server.most == concurrency
    busy = min(concurrency, servers)
    assert result.throughput == pytest.approx(busy / 0.25)
    for value in (result.mean, result.p50, result.p95, result.p99, result.worst):
        assert value == pytest.approx(concurrency * 0.25 / busy)
    assert result.requests >= 20.0 * busy / 0.25 - concurrency
    assert (result.failed, result.faults, result.wrong) == (0, 0, 0)


def test_few_long_requests_give_the_same_throughput_as_many_short_ones() -> None:
    """A count in the span would give 2 or 3 answers in 5 s, thus 0.4 or 0.6 per second."""
    server = VirtualServer(WORKLOAD, lambda n: 2.0)
    run = closed_loop(server, WORKLOAD, 3, seconds=5.0, warm_up=0.0, clock=server.clock)
    assert len(run) >= 6  # prolonged until each place was taken twice
    assert summarise(run).throughput == pytest.approx(0.5)


def test_warm_up_is_left_out_and_load_stays_until_the_last_answer() -> None:
    server = VirtualServer(WORKLOAD, lambda n: 5.0 if n < 4 else 0.1)
    run = closed_loop(server, WORKLOAD, 4, seconds=1.0, warm_up=1.0, clock=server.clock)
    result = summarise(run)
    # Slow ones at the start are gone; were the load to stop with the span, the last would be faster than 0.4 s.
    assert result.worst == pytest.approx(0.4)
    assert latencies(run)[-4:] == pytest.approx(0.4)
    assert run.n_all > len(run) + 4
    assert set(run.event) == {0, 1, 2}


def test_open_loop_below_saturation_agrees_with_the_queue_m_m_1() -> None:
    """Poisson arrivals, exponential service: sojourn is exponential with rate (service rate - arrival rate)."""
    random = np.random.default_rng(5)
    service = random.exponential(0.1, 30_000)
    server = VirtualServer(WORKLOAD, lambda n: float(service[n]))
    run = open_loop(server, WORKLOAD, 7.0, seconds=3_000.0, warm_up=100.0, in_flight=10_000, clock=server.clock)
    result = summarise(run)
    assert result.requests == pytest.approx(21_000, rel=0.03)
    assert result.throughput == pytest.approx(7.0, rel=0.03)
    # Correlated over about 100 requests: the standard error of the mean is near 4 %.
    assert result.mean == pytest.approx(1 / 3, rel=0.1)
    assert result.p50 == pytest.approx(np.log(2) / 3, rel=0.1)
    assert result.p95 == pytest.approx(np.log(20) / 3, rel=0.1)
    assert result.p99 == pytest.approx(np.log(100) / 3, rel=0.15)
    assert result.lateness < 1e-6


def test_open_loop_with_fixed_service_agrees_with_pollaczek_and_khinchine() -> None:
    """M/D/1: mean wait is rho D / (2 (1 - rho))."""
    server = VirtualServer(WORKLOAD, lambda n: 0.1)
    run = open_loop(server, WORKLOAD, 8.0, seconds=2_000.0, warm_up=100.0, in_flight=10_000, clock=server.clock)
    assert summarise(run).mean == pytest.approx(0.1 + 0.8 * 0.1 / (2 * 0.2), rel=0.05)


def test_a_stall_is_charged_for_all_that_arrived_meanwhile() -> None:
    """No coordinated omission: one stall of 10 s, one connection, about 100 events due in it."""
    server = VirtualServer(WORKLOAD, lambda n: 10.0 if n == 200 else 1e-3)
    run = open_loop(server, WORKLOAD, 10.0, seconds=100.0, warm_up=0.0, in_flight=1, clock=server.clock)
    late = latencies(run)
    assert (late > 0.5).sum() == pytest.approx(95, abs=30)
    assert summarise(run).p99 > 5.0
    # Counted from when they were sent, only one would look slow.
    assert (run.finished - run.sent > 0.5).sum() == 1


def test_open_loop_beyond_saturation_gives_the_speed_of_the_server() -> None:
    server = VirtualServer(WORKLOAD, lambda n: 0.1)
    result = summarise(open_loop(server, WORKLOAD, 20.0, seconds=50.0, warm_up=5.0, in_flight=8, clock=server.clock))
    assert server.most == 8
    assert result.throughput == pytest.approx(10.0, rel=0.1)
    assert result.lateness > 20.0


def test_arrivals_are_poisson() -> None:
    arrivals = poisson_arrivals(50.0, 1000.0, seed=3)
    assert np.array_equal(arrivals, poisson_arrivals(50.0, 1000.0, seed=3))
    gaps = np.diff(arrivals)
    assert (gaps >= 0).all()
    assert arrivals[0] >= 0
    assert arrivals[-1] < 1000.0
    assert gaps.mean() == pytest.approx(0.02, rel=0.03)
    assert gaps.std() == pytest.approx(0.02, rel=0.05)


def test_errors_and_wrong_labels_are_counted_and_kept_out_of_the_figures() -> None:
    workload = workload_of(3, 5, 2)

    class Faulty(VirtualServer):
        def answer(self, ticket: int, event: int, finished: float) -> Arrival:
            if ticket % 10 == 3:
                return Arrival(ticket, finished, None, "HTTP 500")
            if ticket % 10 == 6:
                return Arrival(ticket, finished, np.full(len(workload.hits[event]), 99, np.int64))
            return super().answer(ticket, event, finished)

    server = Faulty(workload, lambda n: 0.1 if n % 10 not in (3, 6) else 9.0, servers=10)
    run = closed_loop(server, workload, 1, seconds=500.0, warm_up=0.0, clock=server.clock)
    result = summarise(run)
    assert [result.p50, result.worst] == pytest.approx([0.1, 0.1])
    assert run.faults["HTTP 500"] == pytest.approx(run.n_all / 10, abs=2)
    assert result.wrong == pytest.approx(run.n_all / 10, abs=2)
    assert result.faults == result.wrong + run.faults["HTTP 500"]
    assert result.failed == len(run) - len(latencies(run)) > 0
    assert "event 0: 3 of 3 labels differ from the direct ones" in run.faults
    n_good = int(run.good.sum())
    assert result.throughput == pytest.approx(n_good / (run.finished - run.sent).sum())


def test_a_silent_server_ends_the_wait() -> None:
    server = VirtualServer(WORKLOAD, lambda n: 1e9)
    with pytest.raises(TimeoutError, match="no answer for 7 s, 3 requests in flight"):
        closed_loop(server, WORKLOAD, 3, patience=7.0, clock=server.clock)
    server = VirtualServer(WORKLOAD, lambda n: 1e9)
    with pytest.raises(TimeoutError, match="no answer for 7 s"):
        open_loop(server, WORKLOAD, 3.0, patience=7.0, in_flight=2, clock=server.clock)


@pytest.mark.parametrize("name", ["seconds", "patience"])
def test_settings_that_cannot_be_are_refused(name: str) -> None:
    nothing: dict[str, Any] = {name: 0.0}
    server = VirtualServer(WORKLOAD, lambda n: 1.0)
    with pytest.raises(ConfigError, match=f"{name}: got 0.0"):
        closed_loop(server, WORKLOAD, 1, **nothing)
    with pytest.raises(ConfigError, match=f"{name}: got 0.0"):
        open_loop(server, WORKLOAD, 1.0, **nothing)
    with pytest.raises(ConfigError, match="concurrency: got 0"):
        closed_loop(server, WORKLOAD, 0)
