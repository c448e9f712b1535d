"""The running fleet of one attempt: Tritons behind a gateway, clients, one hidden fault, and its repair.

The service answers each request after `_WORK` seconds, in `_INSTANCES` instances of each of three servers. The
clients send one request after the other, so that no request waits while nothing is wrong. Then the fault of the
instance is injected: in the specification of the fleet, or in the process of one server, which works `_SLOW` seconds on
each request until it is replaced. Every second, metrics and logs are written into the data of the assessment.

The fleet is stopped when the assessment is over; its processes end with the host's, too, however that ends.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

from beampipe import processes
from beampipe.analysisops.contract import ToolRefusedError, require_name
from beampipe.analysisops.samples.dataset import HiddenTruth
from beampipe.analysisops.tools.data_folder import write_manifest
from beampipe.errors import BeampipeError, ServiceError
from beampipe.files import write_whole
from beampipe.fleet.control.control_socket import send_command
from beampipe.fleet.control.daemon import start_fleet, stop_fleet
from beampipe.fleet.gateway.haproxy import HTTP
from beampipe.fleet.run_folder import RunFolder
from beampipe.triton.engine import find_engine
from beampipe.triton.metrics import ServerWatch
from beampipe.triton.server import management
from beampipe.triton.server.haproxy import RuntimeApi
from beampipe.triton.server.launch import free_port

_INSTANCES: Final = 3
"""Number of instances of the model on each server."""

_WORK: Final = 0.2
"""Time that a server works on a request [s]."""

_SLOW: Final = 1.0
"""Time that the slow process works on a request [s]."""

_WINDOW: Final = 60
"""Number of answers over which the host measures the latency."""

_LONGEST_WINDOW: Final = 90.0
"""Longest time for them [s]."""

_MOST_REQUESTS: Final = 20
"""Largest number of test requests of one call."""

_CLIENT_TIMEOUT: Final = 60.0
"""Longest wait of a client for an answer [s]."""

_INFER: Final = "/v2/models/service/infer"

_REFUSED_PAUSE: Final = 0.2
"""Time after which a client repeats a request that was not answered [s]."""

_CONFIG: Final = """name: "service"
backend: "python"
max_batch_size: 0
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }} ]
instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
parameters {{ key: "slow_processes" value {{ string_value: "{slow}" }} }}
parameters {{ key: "seconds" value {{ string_value: "{seconds}" }} }}
parameters {{ key: "slow_seconds" value {{ string_value: "{slow_seconds}" }} }}
"""

_SPECIFICATION: Final = """name = "service"
repository = "models"
patience = 30.0

[gateway]
port = {port}
balancing = "{balancing}"
in_flight = {in_flight}
queue = {queue}
access_log = true

[monitoring]
prometheus = false
"""

_GROUP: Final = """
[servers.{name}]
count = {count}
most = 2
weight = {weight}
"""

_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "gateway.in_flight": (1, 32),
    "gateway.queue": (16, 256),
    "model.instances": (1, 4),
    "count": (0, 2),
    "weight": (1, 256),
}
"""Smallest and largest value of the settings that may be changed; the last two are of each group of servers."""

_BALANCING: Final = ("round_robin", "least_connections")

_OF_MEMBER: Final = {"server": "server", "group": "group", "process": "state",
                     "gateway": "gateway", "desired": "desired", "in_progress": "running",
                     "waiting": "waiting", "starts": "starts"}  # fmt: skip
"""What agents see of a server -> its name in the status of the fleet."""

Settings = dict[str, int | str]
"""The settings that may be changed, by their dotted names."""


def healthy_settings(hidden: HiddenTruth) -> Settings:
    """The settings before the fault."""
    settings: Settings = {
        "gateway.balancing": "round_robin",
        "gateway.in_flight": int(hidden.analysis["in_flight"]),
        "gateway.queue": int(hidden.analysis["queue"]),
        "model.instances": _INSTANCES,
    }
    for name in hidden.analysis["servers"]:
        settings |= {f"servers.{name}.count": 1, f"servers.{name}.weight": int(hidden.analysis["weight"])}
    return settings


class Clients:
    """Clients that send requests to a gateway until the end, each one after the other.

    Attributes:
        answers: end [s, monotonic] and time [s] of each request, and whether it was answered.
        number: number of clients.
    """

    def __init__(self, port: int, number: int) -> None:
        self.answers: list[tuple[float, float, bool]] = []
        self.number = number
        self._port, self._ended = port, threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(number)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._ended.is_set():
            seconds, answered = send_request(self._port)
            self.answers.append((time.monotonic(), seconds, answered))
            if not answered:
                self._ended.wait(_REFUSED_PAUSE)

    def measure(self) -> dict[str, float]:
        """Latency [ms] of the next `_WINDOW` answers, without those to requests that were sent before; and failures."""
        first = len(self.answers) + 2 * self.number
        deadline = time.monotonic() + _LONGEST_WINDOW
        while len(self.answers) < first + _WINDOW and time.monotonic() < deadline:
            time.sleep(0.05)
        return summary(self.answers[first:])


def summary(answers: list[tuple[float, float, bool]]) -> dict[str, float]:
    """Mean latency of answered requests [ms], its standard error, number of answers, and of requests without one."""
    times = [1e3 * seconds for _, seconds, answered in answers if answered]
    if len(times) < 2:
        return {"latency_ms": 0.0, "latency_error_ms": 0.0, "answers": len(times), "failures": len(answers)}
    return {
        "latency_ms": fmean(times),
        "latency_error_ms": stdev(times) / len(times) ** 0.5,
        "answers": len(times),
        "failures": len(answers) - len(times),
    }


def send_request(port: int) -> tuple[float, bool]:
    """Send one request to the model; its time [s], and whether it was answered."""
    body = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [1.0]}]}
    start, status = time.monotonic(), 0
    with suppress(BeampipeError):
        status, _ = management.request(f"127.0.0.1:{port}", "POST", _INFER, body, _CLIENT_TIMEOUT)
    return time.monotonic() - start, status == 200


def expected_latency(servers: list[dict[str, float]], balancing: str, clients: int) -> float:
    """Latency of the clients [s] in a state of the fleet; `_CLIENT_TIMEOUT` if no server serves.

    By round robin, server i gets the share p_i of the requests, its weight over the sum of all. With time s_i for a
    request and c_i requests at once, N clients see ``max(sum p_i s_i, N max(p_i s_i / c_i))``, the asymptotic bound of
    a closed queueing network. By least connections, n_i = N p_i of them are at server i, and the answers per second are
    the sum of ``min(n_i, c_i) / s_i``.

    Args:
        servers: ``weight``, ``at_once`` and ``seconds`` of each server that serves.
        balancing: policy of the gateway.
        clients: number of clients.
    """
    total = sum(server["weight"] for server in servers)
    if not total:
        return _CLIENT_TIMEOUT
    shares = [(server["weight"] / total, server["seconds"], server["at_once"]) for server in servers]
    if balancing == "round_robin":
        busiest = max(share * seconds / at_once for share, seconds, at_once in shares)
        return max(sum(share * seconds for share, seconds, _ in shares), clients * busiest)
    return clients / sum(min(clients * share, at_once) / seconds for share, seconds, at_once in shares)


class FleetSystem:
    """The fleet of one attempt.

    Args:
        hidden: the hidden truth of the instance, with its fault.
        public: public facts of the instance: number of ``clients`` and ``interval_s`` between points of metrics.
        folder: private folder of the fleet.
        data: folder for metrics and logs, which tools read.
    """

    def __init__(self, hidden: HiddenTruth, public: Mapping[str, Any], folder: Path, data: Path) -> None:
        self.data, self._public, self._interval = data, public, float(public["interval_s"])
        self._cause, self._component = hidden.words["cause"], hidden.words["component"]
        self._folder, self._run = folder, RunFolder(folder / "run")
        self._file, self._slow = folder / "fleet.toml", folder / "slow"
        self.settings = healthy_settings(hidden)
        self._port = free_port()
        self._clients = Clients(self._port, int(public["clients"]))
        self._begin = time.monotonic()
        self._series: dict[tuple[str, str], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
        self._incidents: dict[tuple[float, str], None] = {}
        self._lines_read = 0
        self._watches: dict[int, ServerWatch] = {}
        self._change, self._stopped = threading.Lock(), threading.Event()
        self._measured: dict[str, Any] = {"cause": self._cause, "component": self._component}
        self._slow.write_text("", encoding="ascii")
        self._write(self.settings)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send requests, write metrics, and inject the fault once the healthy fleet was measured."""
        self._sample()
        names = ["metrics.json", "fleet.log", *(f"{row['server']}.log" for row in self._status()["servers"])]
        roles = {".json": "metrics", ".log": "log", ".toml": "specification"}
        files = [{"name": name, "role": roles[Path(name).suffix]} for name in (*names, "fleet.toml")]
        write_manifest(self.data, files, self._public)
        sampler = threading.Thread(target=self._sample_until_stopped, daemon=True)
        with self._clients:
            sampler.start()
            try:
                self._measured["healthy"] = self._clients.measure()
                self._measured["expected_healthy_s"] = self._expected()
                self._break()
                self._measured["broken_at_s"] = self._now()
                self._measured["broken"] = self._clients.measure()
                self._measured["expected_broken_s"] = self._expected()
                yield
            finally:
                self._stopped.set()
        sampler.join()

    def measured(self) -> dict[str, Any]:
        """What the host measured: latency and expected latency of the healthy, the broken and the present fleet."""
        return {**self._measured, "after": self._clients.measure(), "expected_after_s": self._expected()}

    def members(self) -> dict[str, Any]:
        """The servers and the last incidents."""
        status = self._status()
        return {
            "time_s": self._now(),
            "servers": [{name: row[theirs] for name, theirs in _OF_MEMBER.items()} for row in status["servers"]],
            "waiting_at_gateway": status["gateway"]["waiting"],
            "incidents": [text for _, text in list(self._incidents)[-5:]],
        }

    def change(self, changes: Mapping[str, int | str]) -> dict[str, Any]:
        """Apply other values of settings; returns when the fleet runs with them."""
        if not changes:
            raise ToolRefusedError(f"changes: got none, expected some of {', '.join(self.settings)}")
        for name, value in changes.items():
            require_name("changes", name, self.settings)
            if name == "gateway.balancing":
                require_name(name, str(value), _BALANCING)
                continue
            low, high = _RANGES.get(name) or _RANGES[name.rpartition(".")[2]]
            if type(value) is not int or not low <= value <= high:
                raise ToolRefusedError(f"{name}: got {str(value)[:40]!r}, expected an integer from {low} to {high}")
        wanted = {**self.settings, **changes}
        if not any(value for name, value in wanted.items() if name.endswith(".count")):
            raise ToolRefusedError("changes: got no server at all, expected a count of 1 or more in some group")
        with self._change:
            start = self._now()
            self._write(wanted)
            try:
                self._command({"do": "apply", "specification": str(self._file)})
            except ToolRefusedError:
                self._write(self.settings)
                raise
            self.settings = wanted
        return {"start_s": start, "end_s": self._now(), "specification": dict(wanted)}

    def command(self, command: str, server: str) -> dict[str, Any]:
        """Drain, resume or restart a server; returns when that is done."""
        with self._change:
            start = self._now()
            target = {"servers": [server]} if command == "restart" else {"server": server}
            self._command({"do": command, **target})
        return {"start_s": start, "end_s": self._now(), "done": f"{command} {server}"}

    def send(self, number: int) -> dict[str, Any]:
        """Send test requests one after the other, beside those of the clients."""
        if not 2 <= number <= _MOST_REQUESTS:
            raise ToolRefusedError(f"number: got {number}, expected 2 to {_MOST_REQUESTS}")
        start = self._now()
        answers = [(time.monotonic(), *send_request(self._port)) for _ in range(number)]
        return {"start_s": start, "end_s": self._now(), **summary(answers)}

    def _break(self) -> None:
        if self._cause == "slow_process":
            self._slow.write_text(f"{self._triton(f'{self._component}-0')}\n", encoding="ascii")
            return
        self.change(
            {
                "wrong_weight": {f"servers.{self._component}.weight": 200},
                "missing_server": {f"servers.{self._component}.count": 0},
                "few_slots": {"gateway.in_flight": 1},
                "few_instances": {"model.instances": 1},
            }[self._cause]
        )

    def _write(self, settings: Settings) -> None:
        """Write specification and model with these settings."""
        text = _SPECIFICATION.format(
            port=self._port, **{name: settings[f"gateway.{name}"] for name in ("balancing", "in_flight", "queue")}
        )
        for name in sorted({name.split(".")[1] for name in settings if name.startswith("servers.")}):
            count, weight = settings[f"servers.{name}.count"], settings[f"servers.{name}.weight"]
            text += _GROUP.format(name=name, count=count, weight=weight)
        write_whole(self._file, lambda part: part.write_text(text, encoding="utf-8"))
        shown = json.dumps(settings, indent=1)
        write_whole(self.data / "fleet.toml", lambda part: part.write_text(shown, encoding="utf-8"))
        model = self._folder / "models" / "service"
        (model / "1").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(__file__).with_name("served_model.py"), model / "1" / "model.py")
        config = _CONFIG.format(
            instances=settings["model.instances"], slow=self._slow, seconds=_WORK, slow_seconds=_SLOW
        )
        (model / "config.pbtxt").write_text(config, encoding="utf-8")

    def _command(self, command: Mapping[str, Any]) -> None:
        try:
            send_command(self._run.socket, command)
        except BeampipeError as error:
            raise ToolRefusedError(self._masked(str(error))) from error

    def _masked(self, text: str) -> str:
        """A text without the folders of this machine."""
        return re.sub(r"(?<![\w.])/[\w./-]+", lambda match: match[0].rpartition("/")[2], text)

    def _status(self) -> dict[str, Any]:
        return dict(send_command(self._run.socket, {"do": "status"}, 30.0))

    def _now(self) -> float:
        """Time since the start of the metrics [s]."""
        return round(time.monotonic() - self._begin, 3)

    def _triton(self, server: str) -> int:
        """Process id of the Triton of a server."""
        (member,) = (row["pid"] for row in self._status()["servers"] if row["server"] == server)
        for child in processes.children(member):
            if _program(child).endswith("tritonserver"):
                return child
        raise ServiceError(f"{server}: got no Triton below its process, expected one")

    def _expected(self) -> float:
        """Expected latency [s] in the present state, as gateway and processes have it."""
        slow = self._slow.read_text(encoding="ascii").split()
        serving = {row["server"] for row in self._status()["servers"] if str(row["gateway"]).startswith("UP")}
        servers = []
        for row in RuntimeApi(self._run.gateway_socket).statistics(30.0):
            if row["pxname"] != HTTP or row["svname"] not in serving:
                continue
            triton = self._triton(row["svname"])
            stubs = [child for child in processes.children(triton) if "python_backend_stub" in _program(child)]
            at_once = min(int(row["slim"] or 1), len(stubs))
            seconds = _SLOW if str(triton) in slow else _WORK
            servers.append({"weight": float(row["weight"]), "at_once": float(at_once), "seconds": seconds})
        return expected_latency(servers, str(self.settings["gateway.balancing"]), self._clients.number)

    def _sample_until_stopped(self) -> None:
        while not self._stopped.wait(self._interval):
            with suppress(BeampipeError, OSError):  # the next point follows
                self._sample()

    def _sample(self) -> None:
        """Add a point to each series, and write metrics and logs."""
        status, now = self._status(), self._now()
        lines = self._new_lines()
        for row in status["servers"]:
            name = row["server"]
            times = [1e-3 * float(line["time_us"]) for line in lines if line["server"] == name]
            self._add("requests_per_second", name, now, len(times) / self._interval)
            self._add("in_progress", name, now, row["running"])
            if times:
                self._add("latency_ms", name, now, fmean(times))
            if row["metrics"]:
                self._add_rates(name, row["metrics"], now)
            log = Path(row["log"])
            if log.exists():
                text = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:])
                (self.data / f"{name}.log").write_text(self._masked(text) + "\n", encoding="utf-8")
        since = time.monotonic() - self._interval
        answers = [answer for answer in self._clients.answers[-500:] if answer[0] > since]
        total = summary(answers)
        self._add("requests_per_second", "all", now, total["answers"] / self._interval)
        self._add("failures_per_second", "all", now, total["failures"] / self._interval)
        if total["latency_ms"]:
            self._add("latency_ms", "all", now, total["latency_ms"])
        if lines:
            self._add("gateway_wait_ms", "all", now, fmean(max(0.0, float(line["queue_ms"])) for line in lines))
        for moment, text in status["incidents"]:
            self._incidents.setdefault((round(moment, 3), self._masked(text)))
        begin = time.time() - now
        log_text = "".join(f"{moment - begin:9.3f} {text}\n" for moment, text in self._incidents)
        (self.data / "fleet.log").write_text(log_text, encoding="utf-8")
        series = [
            {"name": name, "labels": {"server": server}, "times": times, "values": values}
            for (name, server), (times, values) in self._series.items()
        ]
        metrics = json.dumps({"series": series})
        write_whole(self.data / "metrics.json", lambda part: part.write_text(metrics, encoding="utf-8"))

    def _add(self, name: str, server: str, now: float, value: float) -> None:
        times, values = self._series[name, server]
        times.append(now)
        values.append(round(float(value), 4))

    def _add_rates(self, server: str, port: int, now: float) -> None:
        """Mean times of a server's requests since the last point, from the metrics of its Triton."""
        watch = self._watches.setdefault(port, ServerWatch(f"127.0.0.1:{port}"))
        watch.read()
        rates = watch.rates.get("service")
        if rates is not None and rates.queue is not None and rates.compute is not None:
            self._add("server_queue_ms", server, now, rates.queue)
            self._add("model_ms", server, now, rates.compute)

    def _new_lines(self) -> list[dict[str, Any]]:
        """Requests to the model that the gateway has logged since the last time."""
        if not self._run.access_log.exists():
            return []
        with self._run.access_log.open("rb") as file:
            file.seek(self._lines_read)
            content = file.read()
        content = content[: content.rfind(b"\n") + 1]
        self._lines_read += len(content)
        lines = [json.loads(line) for line in content.splitlines()]
        return [line for line in lines if line["path"] == _INFER and str(line["time_us"]).isdigit()]


def _program(pid: int) -> str:
    """The program of a process; empty if it has ended."""
    return (processes.arguments(pid) or ("",))[0]


@contextmanager
def start(hidden: HiddenTruth, public: Mapping[str, Any], data: Path) -> Iterator[FleetSystem]:
    """Run the fleet of an attempt until the block ends.

    Args:
        hidden: the hidden truth of the instance.
        public: public facts of the instance.
        data: empty folder for metrics and logs, which tools read.

    Raises:
        FileError: no Triton is installed.
        BeampipeError: the fleet does not start.
    """
    find_engine()
    folder = Path(tempfile.mkdtemp(prefix="bp-fleet-"))  # a short path, since it contains sockets
    system = FleetSystem(hidden, public, folder, data)
    with processes.ending_with_this_process():
        try:
            start_fleet(folder / "fleet.toml", folder / "run")
            with system.running():
                yield system
        finally:
            _stop(folder)


def _stop(folder: Path) -> None:
    """Stop the fleet of a folder if it runs, and remove the folder."""
    if (folder / "run").exists():
        with suppress(BeampipeError):
            stop_fleet(folder / "fleet.toml", folder / "run")
    shutil.rmtree(folder, ignore_errors=True)
