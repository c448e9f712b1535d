"""Prometheus and the page of a fleet that runs: started with it, started again when they end, and never in its way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from beampipe.fleet.registry import Record
from beampipe.fleet.running.folder import RunFolder
from beampipe.fleet.specification import Fleet
from beampipe.fleet.watching.prometheus import Prometheus, wanted_prometheus
from beampipe.fleet.watching.settings import write_targets
from beampipe.fleet.watching.watch_server import WatchServer
from beampipe.triton.pausing import RestartPause

__all__ = ["Watch"]


class Watch:
    """Whoever watches a fleet.

    Args:
        fleet: the fleet.
        folder: its run folder.
        status_port: port of the gateway's metrics.
        note: function that is told what happens.

    Raises:
        ConfigError: Prometheus was asked for, and is not installed.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder, status_port: int, note: Callable[[str], None]) -> None:
        program = wanted_prometheus(fleet.monitoring)
        self._folder = folder.prometheus
        self._note = note
        self._pause = RestartPause()
        self._from = 0.0
        self._launched = False
        self._page = WatchServer(fleet, folder.registry, lambda: self.prometheus_url, events=folder.events)
        self._prometheus = None
        if program is not None:
            self._prometheus = Prometheus(
                program, fleet, folder.prometheus, status_port=status_port, page_port=self._page.port
            )

    @property
    def page_url(self) -> str:
        """Address of the page."""
        return self._page.url

    @property
    def prometheus_url(self) -> str | None:
        """Address of Prometheus, None while there is none."""
        running = self._prometheus is not None and self._prometheus.pid is not None
        return self._prometheus.url if running and self._prometheus is not None else None

    @property
    def prometheus_pid(self) -> int | None:
        """Process id of Prometheus, None if it does not run."""
        return None if self._prometheus is None else self._prometheus.pid

    def start(self) -> None:
        """Hand out the page. Prometheus is started at the first look: the fleet does not wait for it."""
        self._page.start()

    def look(self, records: Mapping[str, Record]) -> None:
        """See to it that Prometheus runs and knows the servers."""
        prometheus, now = self._prometheus, time.monotonic()
        if prometheus is None:
            return
        write_targets(self._folder, {name: record for name, record in records.items() if record.metrics})
        if prometheus.pid is None and now >= self._from:
            if self._launched:
                self._note(f"prometheus: has ended ({' / '.join(prometheus.last_words())}); starting another")
            self._from = now + self._pause.before_next(now)
            prometheus.launch()
            self._launched = True
            self._pause.started(time.monotonic())

    def renew(self, fleet: Fleet) -> None:
        """Watch the fleet as it is wanted now, with the models that it has now."""
        if self._prometheus is not None:
            self._prometheus.renew(fleet)

    def stop(self) -> None:
        """End both; may be called twice."""
        self._page.stop()
        if self._prometheus is not None:
            self._prometheus.stop()
