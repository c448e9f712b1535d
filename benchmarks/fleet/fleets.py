"""What the benchmarks of the fleet share: a fleet as its users start it, a model that sleeps, and how to report."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy import ndarray
from tritonclient.grpc import service_pb2

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks beside this folder share their report

from recording import CONSOLE, Figure, Reference, asked_in_turn, begin, parser_of, write_result  # noqa: F401

from beampipe import processes
from beampipe.fleet.certificates import make_authority, make_server
from beampipe.fleet.control.control_socket import send_command
from beampipe.fleet.control.daemon import start_fleet, stop_fleet
from beampipe.fleet.run_folder import RunFolder
from beampipe.fleet.security import add_token
from beampipe.triton.model.canary import write_canary
from beampipe.triton.server.launch import free_port

HOSTS: Final = ("127.0.0.1", "localhost")
"""Names for which the gateway's certificate is."""

_SPECIFICATION: Final = """name = "bench"
repository = "models"
patience = 3.0
[servers.cpu]
count = {count}
most = {most}
threads = 1
[monitoring]
prometheus = false
[gateway]
port = {port}
{gateway}
"""

_CONFIG: Final = """name: "{name}"
backend: "python"
max_batch_size: 0
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""

_TOY: Final = """
import time
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = np.from_dlpack(pb.get_input_tensor_by_name(request, "X"))
            time.sleep({start} + {each} * x.size if x.size > 1 else 0)
            answers.append(pb.InferenceResponse([pb.Tensor.from_dlpack("Y", 2 * x)]))
        return answers
"""


@dataclass(frozen=True)
class Running:
    """A fleet that runs, in processes of its own.

    Attributes:
        specification: its file.
        run: its run folder.
        port: port of its gateway.
        count: number of its servers.
        token: a token that is let in; None if none is asked for.
        authority: PEM file of the authority of its certificate; None without TLS.
    """

    specification: Path
    run: RunFolder
    port: int
    count: int
    token: str | None = None
    authority: Path | None = None

    @property
    def security(self) -> dict[str, Any]:
        """What a client is told beside the address."""
        return {} if self.authority is None else {"tls": self.authority, "token": self.token}

    def url(self, protocol: str) -> str:
        """Address of the gateway for ``grpc`` or ``http``."""
        return f"{protocol}{'' if self.authority is None else 's'}://127.0.0.1:{self.port}"

    def order(self, verb: str, **arguments: object) -> dict[str, Any]:
        """Tell it something, and wait until it is done."""
        return dict(send_command(self.run.socket, {"do": verb, **arguments}))

    def status(self) -> dict[str, Any]:
        """How it is."""
        return self.order("status")

    def change(self, old: str, new: str) -> None:
        """Write its file with another text in it, and have it become what the file says."""
        text = self.specification.read_text(encoding="utf-8")
        assert old in text, old
        self.specification.write_text(text.replace(old, new), encoding="utf-8")
        self.order("apply", specification=str(self.specification))

    def members(self) -> list[int]:
        """Process ids of what watches the servers."""
        return [row["pid"] for row in self.status()["servers"] if row["pid"]]

    def tritons(self) -> list[int]:
        """Process ids of the servers themselves."""
        return [child for pid in self.members() for child in processes.children(pid) if _is(child, "tritonserver")]

    def whole(self) -> bool:
        """Whether all servers are there and take requests."""
        rows = self.status()["servers"]
        return (
            len(rows) == self.count
            and all(row["state"] == "ready" and row["gateway"] == "UP" and row["address"] for row in rows)
            and len(self.tritons()) == self.count
        )


def _is(pid: int, name: str) -> bool:
    words = processes.arguments(pid)
    return bool(words) and name in words[0]


@contextmanager
def running(
    fill: Callable[[Path], None],
    *,
    count: int = 2,
    gateway: str = "",
    secure: bool = False,
) -> Iterator[Running]:
    """A fleet that is started as by `beampipe fleet up`, and ended.

    Args:
        fill: writes the models into a folder.
        count: number of servers.
        gateway: more lines of the table ``gateway``.
        secure: whether it has TLS and asks for a token.
    """
    # A short path, for sockets lie in it.
    with TemporaryDirectory(prefix="fleet") as temporary:
        folder = Path(temporary)
        fill(folder / "models")
        token = authority = None
        if secure:
            authority = make_authority(folder / "papers")
            make_server(folder / "papers", HOSTS)
            token = add_token(folder / "tokens", "bench")
            gateway += '\ntokens = "tokens"\n[gateway.tls]\ncertificate = "papers/gateway.pem"\n'
        text = _SPECIFICATION.format(
            count=count,
            most=count + 1,
            port=(port := free_port()),
            gateway=gateway,
        )
        specification = folder / "fleet.toml"
        specification.write_text(text, encoding="utf-8")
        run = RunFolder(folder / "run")
        started = Running(specification, run, port, count, token, authority)
        try:
            start_fleet(specification, run.path)
            until(started.whole)
            yield started
        finally:
            stop_fleet(specification, run.path)


def write_toy(repository: Path, *, start: float = 0.0, each: float = 0.0) -> None:
    """Add the model ``toy``, which doubles its input after having slept.

    Sleeping takes no processor: two cores carry as many servers as are wanted. One value alone is doubled at once.

    Args:
        repository: folder of the models.
        start: time [s] for every request.
        each: time [s] for every value of the input.
    """
    folder = repository / "toy" / "1"
    folder.mkdir(parents=True)
    (folder.parent / "config.pbtxt").write_text(_CONFIG.format(name="toy"), encoding="utf-8")
    (folder / "model.py").write_text(_TOY.format(start=start, each=each), encoding="utf-8")
    zero = np.zeros(1, np.float32)
    write_canary(folder, {"X": zero}, {"Y": zero})


def toy_request(values: ndarray) -> bytes:
    """What the model ``toy`` is asked over gRPC; `values` are of float32."""
    message = service_pb2.ModelInferRequest(model_name="toy")
    message.inputs.add(name="X", datatype="FP32", shape=[values.size])
    message.raw_input_contents.append(values.tobytes())
    return bytes(message.SerializeToString())


def write_tracking(repository: Path, model: str = "module_map") -> None:
    """Add a tracking model, as `beampipe serving export` does."""
    from beampipe.serving.models import ServingSettings, named_models
    from beampipe.triton.model.repository import export_repository

    export_repository(repository, named_models(ServingSettings((model,), threads=1)))


@contextmanager
def at_work(ended: threading.Event, *works: Callable[[], object]) -> Iterator[None]:
    """Do things meanwhile, each in a thread of its own, until they see that they are to end."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def until(holds: Callable[[], bool], seconds: float = 90.0, pause: float = 0.05) -> None:
    """Wait until something holds.

    Raises:
        SystemExit: it does not in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"{holds}: did not hold within {seconds:g} s")
        time.sleep(pause)


def options_of(name: str, about: str | None) -> argparse.ArgumentParser:
    """A parser with the options that each of these benchmarks has."""
    parser = parser_of(about, f"fleet/{name}")
    parser.add_argument("--seed", type=int, default=1)
    parser.set_defaults(threads=1)
    return parser


def milliseconds(seconds: Sequence[float] | ndarray, *percentiles: float) -> list[float]:
    """Percentiles of times, in ms; NaN of no times."""
    times = np.asarray(seconds, float)
    return [float(np.percentile(times, at)) * 1e3 if times.size else float("nan") for at in percentiles]
