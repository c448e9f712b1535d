"""Load generator: closed and open loop against anything that finds tracks, with every answer compared."""

from beampipe.serving.load.closed_loop import closed_loop
from beampipe.serving.load.http_sender import HttpSender, kserve_requests, raw_requests
from beampipe.serving.load.open_loop import open_loop, poisson_arrivals
from beampipe.serving.load.recording import LoadRun
from beampipe.serving.load.sending import (
    Arrival,
    FutureSender,
    Sender,
    Workload,
    direct_workload,
    in_event_loop,
    in_threads,
)
from beampipe.serving.load.statistics import Summary, latencies, summarise
from beampipe.serving.load.verifying import verify

__all__ = [
    "Arrival",
    "FutureSender",
    "HttpSender",
    "LoadRun",
    "Sender",
    "Summary",
    "Workload",
    "closed_loop",
    "direct_workload",
    "in_event_loop",
    "in_threads",
    "kserve_requests",
    "latencies",
    "open_loop",
    "poisson_arrivals",
    "raw_requests",
    "summarise",
    "verify",
]
