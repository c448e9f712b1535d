"""Servers for comparison: each starts as a process group of its own on free loopback ports, and is ended with it."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from http_sender import HttpSender, kserve_requests, raw_requests

from beampipe.errors import BeampipeError
from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.load import FutureSender, Sender, Workload

__all__ = ["HOSTS", "Host", "Running", "SenderMaker", "Settings"]

_PEERS: Final = Path(__file__).parent / "peers"
_PATH: Final = "/find"
_START: Final = 90.0  # s
_STOP: Final = 15.0  # s

SenderMaker = Callable[[Workload, int], Sender]
"""From a workload and a concurrency."""


@dataclass(frozen=True)
class Settings:
    """What every server is to hold.

    Attributes:
        pipeline: name of the pipeline.
        replicas: number of processes with the pipeline, one thread each.
        python: path of the interpreter with the peers installed.
    """

    pipeline: str
    replicas: int
    python: Path


@dataclass(frozen=True)
class Running:
    """A server that runs.

    Attributes:
        clients: ways to ask the server, by name.
        pid: id of the process that all others of the server descend from.
    """

    clients: Mapping[str, SenderMaker]
    pid: int


@dataclass(frozen=True)
class Host:
    """A server and how it batches.

    Attributes:
        ours: it is Triton with our model.
        batching: several events in one call of the pipeline.
        start: a context in which the server runs.
        packages: what has to be installed for it.
    """

    ours: bool
    batching: bool
    start: Callable[[Settings], contextlib.AbstractContextManager[Running]]
    packages: tuple[str, ...] = ()


def _triton(batching: bool) -> Host:
    @contextlib.contextmanager
    def start(settings: Settings) -> Iterator[Running]:
        from beampipe.serving.models import ServingSettings, named_models
        from beampipe.serving.variants import variants_of
        from beampipe.tracking.catalogue import pipeline_spec
        from beampipe.triton.model.repository import export_repository
        from beampipe.triton.server.launch import ServerSettings
        from beampipe.triton.server.server import TritonServer

        model = variants_of(pipeline_spec(settings.pipeline))["ragged" if batching else "plain"].name
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            repository = Path(folder) / "repository"
            export_repository(
                repository, named_models(ServingSettings((model,), instances=settings.replicas, threads=1))
            )
            with TritonServer(ServerSettings(repository, (model,))) as server:
                address = server.http_url

                def raw(workload: Workload, concurrency: int) -> Sender:
                    requests = kserve_requests(workload, address, model, batching=batching)
                    return HttpSender(address, requests, workload, concurrency)

                def finder(workload: Workload, concurrency: int) -> Sender:
                    client = TritonTrackFinder(f"grpc://{server.grpc_url}", model, timeout=300.0, in_flight=concurrency)
                    return FutureSender(client.submit, workload, client.close)

                assert server.pid is not None
                yield Running({"http": raw, "TrackFinder": finder}, server.pid)

    return Host(ours=True, batching=batching, start=start)


def _peer(script: str, *packages: str, batching: bool = False, environment: Mapping[str, str] | None = None) -> Host:
    @contextlib.contextmanager
    def start(settings: Settings) -> Iterator[Running]:
        port = _free_port()
        command = [str(settings.python), str(_PEERS / script), "--pipeline", settings.pipeline, "--port", str(port)]
        command += ["--replicas", str(settings.replicas), *(["--batching"] if batching else [])]
        with _process(command, port, environment or {}) as pid:
            address = f"127.0.0.1:{port}"

            def raw(workload: Workload, concurrency: int) -> Sender:
                return HttpSender(address, raw_requests(workload, address, _PATH), workload, concurrency)

            yield Running({"http": raw}, pid)

    return Host(ours=False, batching=batching, start=start, packages=packages)


@contextlib.contextmanager
def _process(command: list[str], port: int, environment: Mapping[str, str]) -> Iterator[int]:
    # A home of its own: the peers leave tokens, settings and sessions there.
    with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as home:
        log = Path(home) / "log"
        quiet = {
            "HOME": home,
            "BENTOML_HOME": home,
            "BENTOML_DO_NOT_TRACK": "True",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": home,
            "OMP_NUM_THREADS": "1",
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=home,
                env={**os.environ, **quiet, **environment},
                start_new_session=True,
            )
        try:
            _await(process, port, log)
            yield process.pid
        finally:
            _end(process)


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until an event without hits is answered."""
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("POST", _PATH, b"", {"Content-Type": "application/octet-stream"})
            status = connection.getresponse().status
            connection.close()
            if status == 200:
                return
        time.sleep(0.2)
    tail = log.read_text(errors="replace")[-2000:]
    raise BeampipeError(f"{process.args!r}: got no answer on port {port} in {_START:g} s; its log ends in:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask for an end, then end it with everything it started, groups of their own included."""
    import psutil

    family = []
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP)
    _, alive = psutil.wait_procs(family, timeout=2.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for child in alive:
        with contextlib.suppress(psutil.Error):
            child.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_FAST_RAY: Final = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}

HOSTS: Final[dict[str, Host]] = {
    "triton": _triton(False),
    "triton batching": _triton(True),
    "ray": _peer("on_ray.py", "ray", environment=_FAST_RAY),
    "ray batching": _peer("on_ray.py", "ray", batching=True, environment=_FAST_RAY),
    "ray default": _peer("on_ray.py", "ray"),
    "litserve": _peer("on_litserve.py", "litserve"),
    "litserve batching": _peer("on_litserve.py", "litserve", batching=True),
    "bentoml": _peer("on_bentoml.py", "bentoml"),
}
"""Servers by name."""
