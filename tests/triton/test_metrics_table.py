from __future__ import annotations

from rich.console import Console

from beampipe.triton.metrics import Counters, ServerWatch, rates_between, rates_table, status_line
from beampipe.triton.server.server import TritonServer
from beampipe.triton.supervision.stubs import memory_of_stubs
from tests.triton.doublers import ask


def test_a_running_server_is_watched(doubler_server: TritonServer) -> None:
    watch = ServerWatch(doubler_server.metrics_url)
    watch.read()
    assert watch.rates == {}
    for _ in range(3):
        assert ask(doubler_server.http_url, "one", 0.01)[0] == 200
    watch.read()
    assert watch.error is None
    assert watch.rates["one"].requests > 0
    assert watch.rates["one"].batch == 1.0
    assert (watch.rates["one"].compute or 0.0) > 10.0, "it slept for 10 ms"
    assert watch.rates["two"].requests == 0
    line = status_line(watch)
    assert "one" in line
    assert "two" not in line, "idle models are left out"
    memory = memory_of_stubs(doubler_server.metrics_url)
    assert set(memory) == {"one", "two"}
    assert all(5 < value < 2000 for value in memory.values())
    console = Console(width=160)
    with console.capture() as captured:
        console.print(rates_table([watch]))
    assert doubler_server.metrics_url in captured.get()


def test_a_server_that_does_not_answer_is_a_row() -> None:
    watch = ServerWatch("127.0.0.1:1")
    watch.read()
    assert watch.error is not None
    assert "expected the metrics port of a Triton" in watch.error
    assert status_line(watch) == "no answer from the server"
    console = Console(width=160)
    with console.capture() as captured:
        console.print(rates_table([watch]))
    assert "no answer" in captured.get()


def test_steps_are_shown_below_the_model() -> None:
    watch = ServerWatch("127.0.0.1:1")
    watch.rates = {
        "exatrkx": rates_between(
            None, Counters({"answered": 10.0}, {"events": 10.0, "hits": 3120.0}, {"gnn": 0.5}), 1.0
        )
    }
    console = Console(width=160)
    with console.capture() as captured:
        console.print(rates_table([watch], per_event=("hits", "tracks")))
    output = captured.get()
    assert "gnn 50.00 ms" in output
    assert "312" in output
    assert "tracks" in output
