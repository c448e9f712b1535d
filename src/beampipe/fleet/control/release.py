"""The trial of new models: one server with them beside those with the old models, and a share of the requests."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, ServiceError
from beampipe.fleet.control.managed_server import LocalServer
from beampipe.fleet.control.reconciler import LocalReconciler
from beampipe.fleet.control.steps import Steps, no_slot
from beampipe.fleet.gateway.haproxy import Replies
from beampipe.fleet.gateway.plan import CanaryShare
from beampipe.fleet.registry import Record
from beampipe.fleet.release_rule import (
    AnswersOfModel,
    Compared,
    Decision,
    MeasuredActivity,
    ModelTimes,
    ReleaseRule,
    Requests,
    canary_outputs,
    canary_requests,
    combined,
    compare_answers,
    measured_between,
    read_requests,
)
from beampipe.fleet.server import FleetServerSettings
from beampipe.triton.client.endpoint import authority
from beampipe.triton.metrics import Counters, read_metrics
from beampipe.triton.server.launch import check_repository


class Canary:
    """A server with new models, in a free slot of the gateway, or in the slot of the last of several servers.

    No request is lost when it starts, is promoted, or is rolled back.

    Args:
        steps: the steps by which the fleet is changed.
        models: digest and folder of the copy of the new models.
        share: share of clients' requests that it gets after `open`.

    Attributes:
        server: the server.
        old: the servers of its group with the old models.

    Raises:
        ConfigError: there is no slot for it, or a server is drained.
    """

    def __init__(self, steps: Steps, models: tuple[str, Path], share: float) -> None:
        self._steps = steps
        self.reconciler = reconciler = steps.reconciler
        self._before: FleetServerSettings | None = None
        self._starts = 0
        if drained := [server.name for server in reconciler.servers.values() if server.desired_state != "serve"]:
            raise ConfigError(
                f"{drained[0]}: got a server without requests, expected all to have some; do: beampipe fleet resume"
            )
        group = next(iter(reconciler.servers.values())).settings.group
        self.old = [server for server in reconciler.servers.values() if server.settings.group == group]
        self.server = self._choose_server(group, models)
        reconciler.canary = CanaryShare(self.server.name, share)

    def start(self) -> None:
        """Start the server and wait until it answers; it gets no requests of clients yet.

        Raises:
            ServiceError: it does not start.
        """
        reconciler, server = self.reconciler, self.server
        self._steps.configure_gateway(reconciler.fleet)

        def there() -> bool:
            if server.starts > self._starts + 1:
                raise ServiceError(f"{server.name}: does not start with the new models{server.reason()}")
            return self._record() is not None

        self._steps.wait(there, reconciler.fleet.start_timeout + 10.0, f"{server.name}: an answer")
        self._starts = server.starts

    def open(self) -> None:
        """Send the canary's share of clients' requests to the server.

        Raises:
            ServiceError: the server does not take requests in time.
        """
        self._steps.serve([self.server])

    def failure(self) -> str:
        """How the server has failed since its start; empty if it has not."""
        if self.server.starts != self._starts or self.server.pid is None:
            return f"{self.server.name}: has ended{self.server.reason()}"
        slot = self.reconciler.slot_state(self.server)
        return f"{self.server.name}: does not answer" if slot is not None and slot.mode == "maint" else ""

    def leave(self) -> None:
        """Stop the server, if it was started in a free slot."""
        if self._before is None:
            self._steps.end(self.server)

    def take_back(self) -> None:
        """Roll back: serve the old models only."""
        if self._before is None:
            self._steps.end(self.server)
        else:
            self._steps.replace(self.server, self._before)
        self.end_trial()

    def end_trial(self) -> None:
        """End the trial: the server gets requests as any other."""
        self.reconciler.canary = None
        self._steps.configure_gateway(self.reconciler.fleet)

    def _record(self) -> Record | None:
        """The server's record once it is ready with the new models, else None."""
        record = self.reconciler.records.get(self.server.name)
        there = record is not None and self.server.describes(record) and record.state == "ready"
        return record if there and record is not None and record.repository == self.server.settings.digest else None

    def _choose_server(self, name: str, models: tuple[str, Path]) -> LocalServer:
        reconciler = self.reconciler
        group = reconciler.fleet.servers[name]
        free = self._steps.free_number(group)
        if free is None and len(self.old) == 1:
            raise no_slot(name, group)
        if free is not None:
            with reconciler.lock:
                server = reconciler.add(group, free)
                server.desired_state = "drain"
                server.settings = replace(server.settings, digest=models[0], repository=models[1])
            return server
        server = self.old.pop()
        self._before = server.settings
        self._steps.drain(server)
        self._starts = self._steps.renew(server, replace(server.settings, digest=models[0], repository=models[1]))
        return server


_LOOK: Final = 0.2
"""Time [s] between two readings of the counters; a trial ends at most this long after one failure too many."""


class Trial:
    """Compares a server with new models with the servers with the old ones, and decides by a rule.

    Args:
        reconciler: the reconciler of the fleet.
        models: digest and folder of the copy of the new models.
        rule: conditions of promotion.
        events: file of recorded requests; None for the canaries of the old models.

    Raises:
        FileError: the file cannot be read.
        UnknownNameError: the new models lack one that is served, or a recorded request is for another model.
    """

    def __init__(
        self, reconciler: LocalReconciler, models: tuple[str, Path], rule: ReleaseRule, events: Path | None
    ) -> None:
        served = reconciler.gateway.plan.models
        check_repository(models[1], served)
        old = reconciler.models[1]
        self.reconciler = reconciler
        self._rule = rule
        self._compared: Compared = "stored canaries" if events is None else "recorded requests"
        self._requests: Requests = canary_requests(old, served) if events is None else read_requests(events, served)
        self._outputs = canary_outputs(old, served)

    def decide(self, canary: Canary) -> Decision:
        """Compare until the rule promotes the new models or rolls them back.

        First the answers to the same requests are compared, before any client reaches the server; then it gets its
        share of clients' requests until enough are answered, one too many has failed, or `ReleaseRule.within` is over.

        Args:
            canary: the server with the new models, not started yet.

        Raises:
            ServiceError: the fleet stops meanwhile.
        """
        answers: tuple[AnswersOfModel, ...] = ()
        try:
            canary.start()
            answers = self._compare(canary)
            if reasons := tuple(self._rule.about_answers(self._compared, answers)):
                return Decision(False, reasons, self._compared, answers)
            return self._watch(canary, answers)
        except ServiceError as error:
            if self.reconciler.ended.is_set():
                raise
            return Decision(False, (str(error),), self._compared, answers)

    def _compare(self, canary: Canary) -> tuple[AnswersOfModel, ...]:
        serving = next(filter(self.reconciler.in_service, canary.old), canary.old[0])
        return compare_answers(self._url(serving), self._url(canary.server), self._requests, self._outputs)

    def _watch(self, canary: Canary, answers: tuple[AnswersOfModel, ...]) -> Decision:
        """Send clients' requests to the server until there are enough answers, or one failure too many."""
        rule = self._rule
        new, old = _Watched(self.reconciler, [canary.server]), _Watched(self.reconciler, canary.old)
        before = self._replies(canary)
        canary.open()
        begun = time.monotonic()
        while True:
            seconds = time.monotonic() - begun
            times = _times(old.reconcile(), new.reconcile())
            asked, tried = (now.since(then) for now, then in zip(self._replies(canary), before, strict=True))
            bad = [text for text in (canary.failure(), *rule.about_failures(asked, tried)) if text]
            if bad or rule.enough(times) or seconds > rule.within:
                reasons = (*bad, *(() if bad else rule.about_times(times)))
                return Decision(not reasons, reasons, self._compared, answers, times, asked, tried, seconds)
            if self.reconciler.ended.wait(_LOOK):
                raise ServiceError("release: got the end of the fleet, expected it to go on")

    def _replies(self, canary: Canary) -> tuple[Replies, Replies]:
        """Replies to clients since the gateway has the trial, of the old servers together and of the new one."""
        result = self.reconciler.gateway.replies()
        old = [replies for name, replies in result.items() if name != canary.server.name]
        together = Replies(sum(one.given for one in old), sum(one.failed for one in old))
        return together, result.get(canary.server.name, Replies())

    def _url(self, server: LocalServer) -> str:
        record = self.reconciler.records.get(server.name)
        if record is None:
            raise ServiceError(f"{server.name}: got no address, expected a server that answers")
        return f"http://{authority(record.host, record.http)}"


class _Watched:
    """Activity of some servers since this object was made.

    Args:
        reconciler: the reconciler of the fleet.
        servers: the servers.
    """

    def __init__(self, reconciler: LocalReconciler, servers: list[LocalServer]) -> None:
        self.reconciler = reconciler
        self._seats = servers
        self._first = {server.name: self._counters(server) or {} for server in servers}
        self._last: dict[str, Mapping[str, Counters]] = {}

    def reconcile(self) -> dict[str, MeasuredActivity]:
        """Read the counters; activity until now, by model."""
        for server in self._seats:
            if counters := self._counters(server):
                self._last[server.name] = counters
        models = sorted({model for counters in self._last.values() for model in counters})
        return {
            model: combined(
                measured_between(self._first[name].get(model), counters[model])
                for name, counters in self._last.items()
                if model in counters
            )
            for model in models
        }

    def _counters(self, server: LocalServer) -> Mapping[str, Counters] | None:
        """The counters of a server, None if it does not answer."""
        record = self.reconciler.records.get(server.name)
        with suppress(ServiceError):
            return None if record is None else read_metrics(authority(record.host, record.metrics))
        return None


def _times(old: Mapping[str, MeasuredActivity], new: Mapping[str, MeasuredActivity]) -> tuple[ModelTimes, ...]:
    """Activity of old and new servers, for models that answered requests."""
    names = sorted({*old, *new})
    result = (ModelTimes(name, old.get(name, MeasuredActivity()), new.get(name, MeasuredActivity())) for name in names)
    return tuple(times for times in result if times.old.answered or times.new.answered)
