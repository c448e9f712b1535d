"""Servers that give the metrics of a Triton or of a gateway, as if events came in at a steady rate."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Any

from beampipe.fleet.gateway.access_log import Traffic
from beampipe.fleet.monitoring.prometheus import Prometheus
from beampipe.fleet.registry import Record

STAGES = {"embed": 0.4, "connect": 1.9, "classify": 3.1, "segment": 0.6}
"""Mean time [ms] of each stage."""


class Exporter:
    """A server on loopback that answers ``/metrics``.

    Args:
        lines: gives the lines of the answer, from the time [s] since the start.
    """

    def __init__(self, lines: Callable[[float], Iterator[str]]) -> None:
        begin = time.monotonic()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = "".join(f"{line}\n" for line in lines(time.monotonic() - begin)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Server(HTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: Prometheus ended while it looked."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> Exporter:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def triton(rate: float, waiting: int = 1, model: str = "module_map") -> Callable[[float], Iterator[str]]:
    """Metrics of a Triton that answers events at a steady rate [1/s]: 8 ms each, of which 2 in the queue."""

    def lines(seconds: float) -> Iterator[str]:
        n = int(rate * seconds)
        labels = f'model="{model}",version="1"'
        yield f'beampipe_events_refused_total{{model="{model}",instance="{model}_0"}} 0'
        yield f"nv_inference_request_success{{{labels}}} {n}"
        yield f'nv_inference_request_failure{{{labels},reason="OTHER"}} 0'
        yield f"nv_inference_request_duration_us{{{labels}}} {8000 * n}"
        yield f"nv_inference_queue_duration_us{{{labels}}} {2000 * n}"
        yield f"nv_inference_compute_infer_duration_us{{{labels}}} {5900 * n}"
        yield f"nv_inference_pending_request_count{{{labels}}} {waiting}"
        yield f'beampipe_events_total{{model="{model}",instance="{model}_0"}} {n}'
        for stage, time_ms in STAGES.items():
            total = 1e-3 * time_ms * n
            yield f'beampipe_stage_seconds_total{{model="{model}",instance="{model}_0",stage="{stage}"}} {total}'

    return lines


def gateway(servers: dict[str, str]) -> Callable[[float], Iterator[str]]:
    """Metrics of a gateway that knows servers in the given states, and has 3 requests waiting."""

    def lines(_: float) -> Iterator[str]:
        for server, state in servers.items():
            for known in ("UP", "DOWN", "MAINT", "DRAIN"):
                yield f'haproxy_server_status{{proxy="http",server="{server}",state="{known}"}} {int(known == state)}'
        for proxy in ("grpc", "http"):
            yield f'haproxy_backend_current_queue{{proxy="{proxy}"}} {3 if proxy == "grpc" else 0}'
            yield f'haproxy_backend_retry_warnings_total{{proxy="{proxy}"}} 0'
            yield f'haproxy_backend_redispatch_warnings_total{{proxy="{proxy}"}} 0'
            yield f'haproxy_backend_http_responses_total{{proxy="{proxy}",code="2xx"}} 0'
        for proxy in ("fleet", "status"):
            yield f'haproxy_frontend_intercepted_requests_total{{proxy="{proxy}"}} 0'
            yield f'haproxy_frontend_requests_denied_total{{proxy="{proxy}"}} 0'
            yield f'haproxy_frontend_http_responses_total{{proxy="{proxy}",code="5xx"}} 0'

    return lines


def traffic(servers: Sequence[str], rate: float = 40.0) -> Callable[[float], Iterator[str]]:
    """Metrics of requests of 8 ms at a gateway, at a rate [1/s]; of ten one is refused by its rate, one fails."""
    counted, number = Traffic(), 0

    def lines(seconds: float) -> Iterator[str]:
        nonlocal number
        while number < int(rate * seconds):
            number += 1
            end = {"end": "LR", "refused": "rate"} if number % 10 == 0 else {"end": "--", "refused": "-"}
            place = {"path": "/v2/models/one/infer", "server": servers[number % len(servers)]}
            answer = {"model": "one", "status": 500 if number % 10 == 1 else 200, "grpc_status": "-"}
            counted.add({**place, **end, **answer, "time_us": "8000", "time_ms": 8})
        yield from counted.metrics()

    return lines


def start(prometheus: Prometheus) -> None:
    """Start a Prometheus and wait until it answers."""
    prometheus.launch()
    deadline = time.monotonic() + 120
    while not is_ready(prometheus):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_ready(prometheus: Prometheus) -> bool:
    """Whether it runs and answers queries."""
    try:
        with urllib.request.urlopen(f"{prometheus.url}/-/ready", timeout=1.0) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):  # no answer; it does not run and has no address
        return False


def record(server: str, metrics: int, **other: Any) -> Record:
    """What a server with that port for metrics says of itself."""
    values = {"pid": 1, "state": "ready", "models": ("module_map",), "beat": time.time(), **other}
    return Record(server, server.rpartition("-")[0], "127.0.0.1", 8000, 8001, metrics, **values)
