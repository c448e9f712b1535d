"""Prometheus metrics from inside a model, on Triton's own metrics port.

    beampipe_events_total           {model, instance}           by every model that observes it
    beampipe_stage_seconds_total    {model, instance, stage}    likewise
    beampipe_NAME_total             {model, instance}           for each NAME in the `counters` of a model

Each call into the server costs tens of microseconds, so amounts are added up here and handed over once a second.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["COMMON_COUNTERS", "InstanceMetrics"]

COMMON_COUNTERS: Final = {"events": "Events answered.", "stage_seconds": "Wall time of each stage [s]."}
"""What any model may observe, with the description of its counter."""

_PERIOD: Final = 1.0
"""Time [s] between two times at which the amounts are handed over."""


class InstanceMetrics:
    """The counters of one instance of a model.

    Args:
        pb: Triton's module `triton_python_backend_utils`.
        model: name of the model.
        instance: name of the instance.
        counters: descriptions by name of what the model may observe besides `COMMON_COUNTERS`. Other names are ignored.
    """

    def __init__(self, pb: Any, model: str, instance: str, counters: Mapping[str, str]) -> None:
        self._labels = {"model": model, "instance": instance}
        # Families must live as long as their metrics are used.
        self._families = {
            name: pb.MetricFamily(name=f"beampipe_{name}_total", description=text, kind=pb.MetricFamily.COUNTER)
            for name, text in {**COMMON_COUNTERS, **counters}.items()
        }
        self._metrics: dict[tuple[str, str], Any] = {}
        self._amounts: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._hand_over_for_ever, name="metrics", daemon=True)

    def start(self) -> None:
        """Forget what the canary has added, and begin to hand amounts over to Triton."""
        self._take()
        self._thread.start()

    def stop(self) -> None:
        """Hand over the amounts that are left, and end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def observe(self, name: str, amount: int | float, stage: str) -> None:
        """Add to a counter.

        Args:
            name: name of the counter; one that was not declared is ignored.
            amount: what is added, in the unit of the counter.
            stage: label of the stage that the amount belongs to; empty for none.
        """
        if name in self._families:
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
