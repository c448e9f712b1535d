"""Prometheus metrics from inside a model, on Triton's own metrics port.

    beampipe_events_total, beampipe_hits_total, beampipe_edges_total, beampipe_tracks_total   {model, instance}
    beampipe_stage_seconds_total                                                              {model, instance, stage}

Each call into the server costs tens of microseconds, so amounts are added up here and handed over once a second.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any, Final

__all__ = ["METRICS", "StageMetrics"]

METRICS: Final = {
    "events": "Events answered.",
    "hits": "Hits of the events answered.",
    "edges": "Edges that were left to label.",
    "tracks": "Tracks found.",
    "stage_seconds": "Wall time of each stage [s].",
}
"""What may be observed; other names are ignored."""

_PERIOD: Final = 1.0  # s


class StageMetrics:
    """The counters of one instance.

    Args:
        pb: Triton's `triton_python_backend_utils`.
        model: name of the model.
        instance: name of the instance.
    """

    def __init__(self, pb: Any, model: str, instance: str) -> None:
        self._labels = {"model": model, "instance": instance}
        # Families must live as long as their metrics are used.
        self._families = {
            name: pb.MetricFamily(name=f"beampipe_{name}_total", description=text, kind=pb.MetricFamily.COUNTER)
            for name, text in METRICS.items()
        }
        self._metrics: dict[tuple[str, str], Any] = {}
        self._amounts: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._hand_over_for_ever, name="metrics", daemon=True)

    def start(self) -> None:
        """Forget what the canary left, and begin to hand over."""
        self._take()
        self._thread.start()

    def stop(self) -> None:
        """Hand over the rest and end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def observe(self, name: str, amount: int | float, stage: str) -> None:
        """Add to the counter of that name (and stage)."""
        if name in METRICS:
            with self._lock:
                self._amounts[name, stage] += amount

    def _take(self) -> dict[tuple[str, str], float]:
        with self._lock:
            taken = dict(self._amounts)
            self._amounts.clear()
        return taken

    def _hand_over_for_ever(self) -> None:
        while not self._stopped.wait(_PERIOD):
            self._hand_over()
        self._hand_over()

    def _hand_over(self) -> None:
        for (name, stage), amount in self._take().items():
            if (name, stage) not in self._metrics:
                labels = {**self._labels, **({"stage": stage} if stage else {})}
                self._metrics[name, stage] = self._families[name].Metric(labels=labels)
            self._metrics[name, stage].increment(amount)
