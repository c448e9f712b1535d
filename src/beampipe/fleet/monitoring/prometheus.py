"""Prometheus for a fleet: settings, rules, targets, its process, and the dashboard for Grafana.

The scraped servers are in a file of their own that Prometheus reads again when it changes, so servers can come and go
without a restart. The fleet does not depend on Prometheus: it neither waits for it nor fails with it.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from beampipe import processes
from beampipe.errors import ConfigError, FileError
from beampipe.files import write_whole
from beampipe.fleet.gateway.access_log import BOUNDS
from beampipe.fleet.generated_files import first_line, render_documents, render_yaml
from beampipe.fleet.registry import Record
from beampipe.fleet.specification import AlertSettings, Fleet, MonitoringSettings
from beampipe.processes import ManagedProcess
from beampipe.triton.backoff import RestartedProgram, RestartPause
from beampipe.triton.client.endpoint import LOOPBACK, authority
from beampipe.triton.server.haproxy import PublicPort
from beampipe.triton.server.launch import free_port

_LOOKS: Final = 4
"""Number of scrapes in the window of a rate: one or two of them may fail."""

_SHORTEST: Final = 10
"""Shortest window of a rate [s]; over shorter ones rates fluctuate too much."""


def window(interval: float) -> int:
    """The window of rates [s].

    Args:
        interval: time between two scrapes of each server [s].
    """
    return max(math.ceil(_LOOKS * interval), _SHORTEST)


def interval_text(interval: float) -> str:
    """The scrape interval in the syntax of Prometheus, such as ``2000ms``.

    Args:
        interval: that time [s].
    """
    return f"{round(1000 * interval)}ms"


_HEARTBEAT: Final = """
  - name: heartbeat
    rules:
      - alert: Heartbeat
        expr: vector(1)
        labels: {severity: none}
        annotations:
          summary: Prometheus and Alertmanager work.
"""
"""An alert that always fires; others see when it stops."""


def rules_text(monitoring: MonitoringSettings, alerts: AlertSettings | None = None) -> str:
    """Recording and alerting rules as YAML.

    Args:
        monitoring: the time between two scrapes of each server, and the objective of the service.
        alerts: whether there is a heartbeat; None for none.
    """
    text = (files("beampipe.fleet.monitoring") / "rules.yml").read_text(encoding="utf-8")
    head, groups = text.split("groups:\n")
    objective = monitoring.objective
    bound = max(bound for bound in BOUNDS if bound <= 1e3 * objective.within) / 1e3
    values = {
        "[window]": f"[{window(monitoring.interval)}s]",
        "[within]": f"{bound:g}(.0)?",  # Prometheus 3 writes 1.0 for 1
        "[share]": f"{objective.share:g}",
    }
    for name, value in values.items():
        groups = groups.replace(name, value)
    return f"{head}groups:\n{groups}{_HEARTBEAT if alerts and alerts.heartbeat else ''}"


def grafana_dashboard(name: str = "fleet") -> dict[str, Any]:
    """The dashboard for import into Grafana 9 or later.

    Its Prometheus needs the recording rules that `beampipe fleet rules` prints (`rules.yml`).

    Args:
        name: name of the fleet.
    """
    (dashboard,) = render_documents("monitoring/grafana.yaml.j2", name=name, **dashboard_contents())
    return dashboard


def dashboard_contents() -> dict[str, list[dict[str, Any]]]:
    """The tiles (current numbers, red above 0 if ``bad``) and the panels (plots over time) of `dashboard.yml`."""
    import yaml

    text = (files("beampipe.fleet.monitoring") / "dashboard.yml").read_text(encoding="utf-8")
    contents: dict[str, list[dict[str, Any]]] = yaml.safe_load(text)
    return contents


_MODEL_NAME: Final = re.compile(r'model_name:\s*"([^"]+)"')


def role_relabelings(repository: Path) -> list[dict[str, object]]:
    """Rules of ``metric_relabel_configs`` that mark ensembles (chains of models) and their steps by the label ``role``.

    Triton counts a request to an ensemble once for the ensemble and once for each step; the label allows to count it
    once. Its value is "chain" for the ensemble, "first" for the first step, "step" for later steps; other models have
    no such label.

    Args:
        repository: the served models; without ensembles, or if the folder does not exist, there are no rules.

    Raises:
        FileError: the configuration of a model cannot be read.
    """
    roles = _roles_of(repository)
    return [
        {
            "source_labels": ["model"],
            "regex": "|".join(re.escape(name) for name in sorted(roles) if roles[name] == role),
            "target_label": "role",
            "replacement": role,
        }
        for role in sorted(set(roles.values()))
    ]


def _roles_of(repository: Path) -> dict[str, str]:
    chains: dict[str, list[str]] = {}
    for path in sorted(repository.glob("*/config.pbtxt")):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(
                f"{path}: cannot be read ({error}), expected the configuration of a model", path=path
            ) from error
        if "ensemble_scheduling" in text:
            chains[path.parent.name] = _MODEL_NAME.findall(text.partition("ensemble_scheduling")[2])
    roles: dict[str, str] = {}
    roles |= dict.fromkeys((steps[0] for steps in chains.values() if len(steps) > 1), "first")
    roles |= dict.fromkeys((step for steps in chains.values() for step in steps[1:]), "step")
    return roles | dict.fromkeys(chains, "chain")


SETTINGS: Final = "prometheus.yml"
"""Name of the file of settings."""

RULES: Final = "rules.yml"
"""Name of the file of rules, beside the settings."""

_TARGETS: Final = "servers.json"

_FORGOTTEN: Final = 600.0
"""Time [s] after which a silent server is no longer scraped; until then it counts as down."""


def prometheus_settings(
    fleet: Fleet,
    rules: Path,
    servers: Sequence[Mapping[str, Any]] | str,
    *,
    gateway: str | None = None,
    page: str | None = None,
    times: str | None = None,
    alertmanager: str | None = None,
) -> str:
    """The settings of Prometheus for a fleet, as YAML.

    Args:
        fleet: the fleet that is watched.
        rules: file of the rules.
        servers: address (``target``) and ``labels`` of each server; or the file of `write_targets`, which Prometheus
            reads again when it changes.
        gateway: address of the gateway's metrics; None if there is no gateway.
        page: address of the metrics of requests, usually the page's; None if there are none.
        times: path of these metrics; None for the usual one.
        alertmanager: address of Alertmanager; None if alerts are not sent.
    """
    return render_yaml(
        "monitoring/prometheus.yml.j2",
        fleet=fleet,
        interval=interval_text(fleet.monitoring.interval),
        rules=rules,
        roles=role_relabelings(fleet.repository),
        servers=servers,
        gateway=gateway,
        page=page,
        times=times,
        alertmanager=alertmanager,
    )


def write_settings(
    fleet: Fleet,
    folder: Path,
    *,
    status_port: int | None = None,
    page_port: int | None = None,
    alertmanager_port: int | None = None,
) -> Path:
    """Write settings and rules into a folder, and an empty list of servers if there is none yet.

    Args:
        fleet: the fleet that is watched.
        folder: folder to write to; made if it does not exist.
        status_port: port on loopback for the gateway's metrics; None if there is no gateway.
        page_port: port on loopback of the page; None for no page.
        alertmanager_port: port on loopback of Alertmanager, if the specification sends alerts.

    Returns:
        The file of settings.

    Raises:
        FileError: something cannot be written.
    """
    absolute = folder.resolve()
    ports = {"gateway": status_port, "page": page_port, "alertmanager": alertmanager_port if fleet.alerts else None}
    addresses = {name: None if port is None else f"{LOOPBACK}:{port}" for name, port in ports.items()}
    settings = prometheus_settings(fleet, absolute / RULES, str(absolute / _TARGETS), **addresses)
    text, rules = first_line("beampipe fleet up") + settings, rules_text(fleet.monitoring, fleet.alerts)
    write_whole(folder / RULES, lambda part: part.write_text(rules, encoding="utf-8"))
    if not (folder / _TARGETS).exists():
        write_targets(folder, {})
    return write_whole(folder / SETTINGS, lambda part: part.write_text(text, encoding="utf-8"))


def write_targets(folder: Path, records: Mapping[str, Record]) -> Path:
    """Write the file of the servers that Prometheus scrapes, if it changes.

    A server that is starting or ending is left out. A silent server is kept for ten minutes and counts as down.

    Args:
        folder: folder of the settings.
        records: the registry's records, by name of the server.

    Returns:
        The file of servers.

    Raises:
        FileError: it cannot be written.
    """
    now = time.time()
    targets = [
        {
            "targets": [authority(record.host, record.metrics)],
            "labels": {"server": record.server, "group": record.group},
        }
        for _, record in sorted(records.items())
        if record.metrics and record.state != "ending" and now - record.beat < _FORGOTTEN
    ]
    path, text = folder / _TARGETS, json.dumps(targets, indent=1) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return path
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


RESEND: Final = "10s"
"""Time after which an alert is sent to Alertmanager again; what fires as Prometheus starts is not sent at once."""

_START_TIMEOUT: Final = 30.0
"""Time limit [s] for Prometheus to replay its stored data and answer."""

_PROBE_PERIOD: Final = 1.0
"""Time [s] between two probes of Prometheus."""

_SILENCE: Final = 10.0
"""Time [s] without an answer after which it hangs."""

_STOP_GRACE: Final = 10.0
"""Time limit [s] for Prometheus to write its memory to disk at its end."""


def prometheus_program(settings: MonitoringSettings) -> Path | None:
    """The system's program `prometheus`, None if it is disabled or not installed.

    Raises:
        ConfigError: it is required by the settings but not installed.
    """
    if settings.prometheus is False:
        return None
    program = installed_program("prometheus")
    if program is None and settings.prometheus:
        raise ConfigError(
            "monitoring.prometheus: got true, but no program prometheus is installed; on Debian and Ubuntu:"
            " apt-get install prometheus. Without it the fleet runs unwatched: monitoring.prometheus = false"
        )
    return program


def installed_program(*names: str) -> Path | None:
    """The first of these programs that is installed; None if none is."""
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/local/bin"
    return next((Path(found) for name in names if (found := shutil.which(name, path=path))), None)


class MonitoringProgram(ABC):
    """A program of Prometheus's family on loopback. It may be started again after its end.

    Args:
        name: its name in messages and of its log.
        program: its path; None if it is not installed, so that nothing is done.
        folder: folder for its files.
        port: its port.
        note: called with the text of each incident.
    """

    def __init__(
        self, name: str, program: Path | None, folder: Path, port: int, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self._program, self._folder, self.port = program, folder, port
        self._public = PublicPort(LOOPBACK, port, grpc=False, tls=False, path="/-/ready")
        self._process = ManagedProcess(folder / f"{name}.log")
        self._probe_at = self._hangs_at = 0.0  # times of the next probe, and from which on it hangs
        self._restarted = RestartedProgram(name, self._process, self.launch, self._hangs, note, RestartPause())

    @abstractmethod
    def launch(self) -> None:
        """Write its settings and start it unless it runs, without waiting until it answers."""

    @property
    def pid(self) -> int | None:
        """Its process id, None if it does not run."""
        return self._process.pid

    @property
    def address(self) -> str:
        """Its host and port, the same after a restart."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str | None:
        """Its address, ``http://127.0.0.1:PORT``, the same after a restart; None while it does not run."""
        return None if self.pid is None else f"http://{self.address}"

    def stop(self) -> None:
        """Stop it; may be called twice."""
        self._process.stop(_STOP_GRACE)

    def _start(self, *options: str) -> None:
        if self._program is not None:
            self._process.start([self._program, *options])
            self._hangs_at = time.monotonic() + _START_TIMEOUT

    def _keep_running(self) -> None:
        if self._program is not None:
            self._restarted.update()

    def _hangs(self) -> bool:
        """Whether it has not answered for a while; it is probed once a second."""
        now = time.monotonic()
        if now < self._probe_at:
            return False
        self._probe_at = now + _PROBE_PERIOD
        if self._public.answers():
            self._hangs_at = now + _SILENCE
        return now >= self._hangs_at


class Prometheus(MonitoringProgram):
    """Prometheus for one fleet, on loopback. It may be started again after its end, and continues with its stored data.

    The fleet does not wait for it: `update` starts it. Where it is disabled or not installed, nothing is done.

    Args:
        fleet: the fleet that is watched.
        folder: folder for settings, rules, log and stored data; `write_targets` writes the servers' file there.
        status_port: port on loopback for the gateway's metrics; None if there is no gateway.
        page_port: port on loopback of the page; None for no page.
        alertmanager_port: port on loopback of Alertmanager; None for none.
        note: called with the text of each incident.

    Raises:
        ConfigError: it is required but not installed.
    """

    def __init__(
        self,
        fleet: Fleet,
        folder: Path,
        *,
        status_port: int | None = None,
        page_port: int | None = None,
        alertmanager_port: int | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        port = fleet.monitoring.prometheus_port or free_port()
        super().__init__("prometheus", prometheus_program(fleet.monitoring), folder, port, note)
        self._fleet = fleet
        self._ports = {"status_port": status_port, "page_port": page_port, "alertmanager_port": alertmanager_port}

    def launch(self) -> None:
        """Write its settings and start it unless it runs, without waiting until it answers.

        A Prometheus that an earlier process has left running is stopped first: two cannot share one data folder.

        Raises:
            FileError: the settings cannot be written.
        """
        if self.pid is not None or self._program is None:
            return
        settings = write_settings(self._fleet, self._folder, **self._ports)
        for leftover in prometheus_processes(self._folder):
            leftover.stop(_STOP_GRACE)
        self._start(
            f"--config.file={settings}",
            _storage(self._folder),
            f"--storage.tsdb.retention.time={self._fleet.monitoring.retention}d",
            f"--web.listen-address={self.address}",
            f"--rules.alert.resend-delay={RESEND}",
            "--web.cors.origin=none",  # by default every web page in a local browser could read all data
            "--log.level=warn",
        )

    def update(self, records: Mapping[str, Record]) -> None:
        """Update the scraped servers; start Prometheus again if it has ended, and kill it if it does not answer."""
        if self._program is not None:
            write_targets(self._folder, records)
            self._keep_running()

    def reconfigure(self, fleet: Fleet) -> None:
        """Apply a changed specification, and the current models of its repository, to the running Prometheus.

        Changes of port and retention take effect at its next start only.

        Raises:
            FileError: the settings cannot be written.
        """
        self._fleet = fleet
        if self._program is not None:
            write_settings(fleet, self._folder, **self._ports)
            self._process.signal(signal.SIGHUP)


def prometheus_processes(folder: Path) -> list[ManagedProcess]:
    """The processes of Prometheus with their data in a folder, also of one started by another process.

    Args:
        folder: the folder that was given to `Prometheus`.
    """
    return processes.with_argument(_storage(folder))


def _storage(folder: Path) -> str:
    return f"--storage.tsdb.path={folder.absolute() / 'data'}"
