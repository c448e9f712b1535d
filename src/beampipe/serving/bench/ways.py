"""The ways to have tracks found: here, or by a model of a server over one protocol."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from beampipe.errors import UnknownNameError
from beampipe.serving.bench.plan import BenchPlan
from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.load import FutureSender, HttpSender, Sender, Workload, in_threads, kserve_requests
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.loading import load_pipeline
from beampipe.triton.server import control
from beampipe.triton.server.server import TritonServer

__all__ = ["PROTOCOLS", "direct_sender", "model_of", "open_way"]

PROTOCOLS: Final = ("http", "grpc", "shm")
"""`http`: requests made ahead of time over keep-alive connections, the cheapest client. `grpc`, `shm`: our client."""


def model_of(way: str) -> str:
    """The name of the model that a way asks, or ``direct``."""
    return way.split()[0]


def open_way(way: str, server: TritonServer, workload: Workload, concurrency: int) -> Sender:
    """A sender to a model.

    Args:
        way: model and protocol, ``MODEL PROTOCOL``.
        server: server that holds the model.
        workload: events that will be sent.
        concurrency: largest number of requests in flight.

    Raises:
        UnknownNameError: no protocol has that name.
    """
    model, _, protocol = way.partition(" ")
    if protocol == "http":
        batches = control.model_config(server.http_url, model).get("max_batch_size", 0) > 0
        requests = kserve_requests(workload, server.http_url, model, batching=batches)
        return HttpSender(server.http_url, requests, workload, concurrency)
    if protocol in ("grpc", "shm"):
        finder = TritonTrackFinder(
            f"grpc://{server.grpc_url}", model, protocol="grpc" if protocol == "grpc" else "shm", in_flight=concurrency
        )
        return FutureSender(finder.submit, workload, finder.close)
    raise UnknownNameError("protocol", protocol, PROTOCOLS)


def direct_sender(plan: BenchPlan, workload: Workload, workers: int) -> Sender:
    """A sender to a pipeline in this process.

    Args:
        plan: what says which pipeline it is, on what device and with how many threads.
        workload: events that will be sent.
        workers: number of pipelines side by side.
    """
    made: SimpleQueue[Callable[[Hits], Tracks]] = SimpleQueue()
    threads = plan.threads_of(workers)
    for _ in range(workers):
        made.put(load_pipeline(plan.pipeline, device=plan.device, threads=threads, model=plan.tracker_model).find)

    def find(hits: Hits) -> Tracks:
        one = made.get()
        try:
            return one(hits)
        finally:
            made.put(one)

    return in_threads(find, workload, workers)
