"""What traces add to a small event: the same event with a server that makes none, and with others that do.

    python benchmarks/serving/traces.py [--repeats 200] [--output FILE]

Servers of one model run side by side: without traces; with a trace of each request; of one request in 100. The client
is `TritonTrackFinder`, once without and once with a span of the program. The events of all ways alternate, in an order
that is drawn anew each time; the added time is the median of the differences to the first way. The collector is a small
server in this process, on the same cores.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np

from beampipe.serving import TritonTrackFinder
from beampipe.serving.models import ServingSettings, named_models
from beampipe.serving.tracking_model import small_event
from beampipe.triton import ServerSettings, TelemetrySettings, TritonServer, export_repository, traced

sys.path.insert(0, str(Path(__file__).parents[1]))
from recording import Figure, begin, write_result
from tests.triton.collector import collecting

PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OFF: Final = ("off", False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200, help="events by each way")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/traces.json"))
    options = parser.parse_args()
    hits = small_event()
    begun = begin("traces of requests")
    figures = []
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        repository = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "models"
        export_repository(repository, named_models(ServingSettings(("module_map",), threads=1)))
        telemetry = {
            "off": None,
            "each request": TelemetrySettings(collector.url),
            "one in 100": TelemetrySettings(collector.url, 100),
        }
        servers = {
            name: stack.enter_context(TritonServer(ServerSettings(repository, telemetry=settings, supervise=False)))
            for name, settings in telemetry.items()
        }
        ways = [(name, span) for name in servers for span in (False, True)]
        for scheme in ("grpc", "http"):
            finders = {
                name: stack.enter_context(
                    TritonTrackFinder(
                        f"{scheme}://{server.grpc_url if scheme == 'grpc' else server.http_url}", "module_map"
                    )
                )
                for name, server in servers.items()
            }
            times: dict[tuple[str, bool], list[float]] = {way: [] for way in ways}
            for _ in range(options.repeats + 10):
                for name, span in random.sample(ways, len(ways)):
                    asked = time.perf_counter()
                    with traced(PARENT) if span else nullcontext():
                        finders[name].find(hits)
                    times[name, span].append(1000 * (time.perf_counter() - asked))
            off = np.array(times[OFF][10:])
            for way, taken in times.items():
                title = f"{scheme}: {way[0]}, {'with a' if way[1] else 'without'} span: added"
                figures.append(Figure(title, float(np.median(np.array(taken[10:]) - off)), "ms"))
    write_result(options.output, begun, figures)


if __name__ == "__main__":
    main()
