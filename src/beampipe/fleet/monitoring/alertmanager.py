"""Alertmanager for a fleet: who gets which alert, one message for one cause, and its process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.files import replacing
from beampipe.fleet.generated_files import first_line, render_yaml
from beampipe.fleet.monitoring.prometheus import MonitoringProgram, installed_program
from beampipe.fleet.specification import AlertSettings, Fleet
from beampipe.triton.server.launch import free_port

SETTINGS: Final = "alertmanager.yml"
"""Name of the file of settings."""

PROGRAMS: Final = ("prometheus-alertmanager", "alertmanager")
"""Names of the program: in Debian, and in the release of the project."""

_TITLE: Final = (
    '{{ .CommonLabels.fleet }}: {{ .CommonLabels.alertname }}{{ if eq .Status "resolved" }} is over{{ end }}'
)
_TEXT: Final = "{{ range .Alerts }}{{ .Annotations.summary }} {{ .Annotations.action }}\n{{ end }}"

_STOP_GRACE: Final = 5.0
"""Time limit [s] for Alertmanager to write which messages it has sent."""


def alertmanager_settings(alerts: AlertSettings, files: Mapping[str, Path] | None = None) -> str:
    """The settings of Alertmanager, as YAML.

    Args:
        alerts: where alerts are sent.
        files: files with secrets, by the names of `AlertSettings.files`; None for those of `alerts`.
    """
    secrets = alerts.files if files is None else files
    return render_yaml("monitoring/alertmanager.yml.j2", alerts=alerts, files=secrets, title=_TITLE, text=_TEXT)


class Alertmanager(MonitoringProgram):
    """Alertmanager for one fleet, on loopback; it does not run while the specification has no table `[alerts]`.

    Args:
        fleet: the fleet.
        folder: folder for settings, log and its data: which messages it has sent.
        note: called with the text of each incident.
    """

    def __init__(self, fleet: Fleet, folder: Path, note: Callable[[str], None] = lambda text: None) -> None:
        super().__init__("alertmanager", installed_program(*PROGRAMS), folder, free_port(), note)
        self._alerts = fleet.alerts

    def launch(self) -> None:
        """Write its settings and start it, without waiting until it answers; one left by an earlier process is stopped.

        Raises:
            FileError: the settings cannot be written.
        """
        if self.pid is not None or self._alerts is None:
            return
        storage = f"--storage.path={self._folder.absolute() / 'alertmanager'}"
        for leftover in processes.with_argument(storage):
            leftover.stop(_STOP_GRACE)
        options = [f"--web.listen-address={self.address}", "--cluster.listen-address=", "--log.level=warn"]
        self._start(f"--config.file={self._write(self._alerts)}", storage, *options)

    def update(self) -> None:
        """Start it again if it has ended, and kill it if it does not answer."""
        if self._alerts is not None:
            self._keep_running()

    def reconfigure(self, fleet: Fleet) -> None:
        """Apply a changed specification.

        Raises:
            FileError: the settings cannot be written.
        """
        self._alerts = fleet.alerts
        if self._alerts is None:
            self.stop()
        else:
            self._write(self._alerts)
            self._process.signal(signal.SIGHUP)

    def _write(self, alerts: AlertSettings) -> Path:
        with replacing(self._folder / SETTINGS) as part:
            part.touch(mode=0o600)  # an address may be a secret
            part.write_text(first_line("beampipe fleet up") + alertmanager_settings(alerts), encoding="utf-8")
        return self._folder / SETTINGS
