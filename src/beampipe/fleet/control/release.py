"""The trial of new models: one server with them beside those with the old models, and a share of the requests."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from beampipe.errors import ConfigError, ServiceError
from beampipe.fleet import release_rule
from beampipe.fleet.control.managed_server import LocalServer
from beampipe.fleet.gateway.haproxy import Replies
from beampipe.fleet.gateway.plan import CanaryShare
from beampipe.fleet.release_rule import AnswersOfModel, Decision, MeasuredActivity, ModelTimes, ReleaseRule
from beampipe.fleet.server import FleetServerSettings
from beampipe.triton.client.endpoint import authority
from beampipe.triton.metrics import Counters, read_metrics
from beampipe.triton.server.launch import check_repository

if TYPE_CHECKING:
    from beampipe.fleet.control.commands import LocalCommands

_PERIOD: Final = 0.2
"""Time [s] between two readings of the counters; a trial ends at most this long after one failure too many."""


class Trial:
    """A server with new models, compared with those with the old ones until a rule decides.

    The server is in a free slot of the gateway, or in the slot of the last of several servers. No request is lost when
    it starts, is promoted, or is rolled back.

    Args:
        commands: the commands by which the fleet is changed.
        models: digest and folder of the copy of the new models.
        rule: conditions of promotion, and share of clients' requests that the server gets.
        events: file of recorded requests; None for the canaries of the old models.

    Attributes:
        server: the server.

    Raises:
        FileError: the file cannot be read.
        UnknownNameError: the new models lack one that is served, or a recorded request is for another model.
        ConfigError: there is no slot for the server, or another one is drained.
    """

    def __init__(
        self, commands: LocalCommands, models: tuple[str, Path], rule: ReleaseRule, events: Path | None
    ) -> None:
        self._commands, self._rule = commands, rule
        self._reconciler = reconciler = commands.reconciler
        served, old = reconciler.gateway.plan.models, reconciler.models[1]
        check_repository(models[1], served)
        canaries = release_rule.read_canaries(old, served)
        self._outputs = {model: outputs for model, (_, outputs) in canaries.items()}
        if events is None:
            self._compared: release_rule.Compared = "stored canaries"
            self._requests: release_rule.Requests = {model: [request] for model, (request, _) in canaries.items()}
        else:
            self._compared, self._requests = "recorded requests", release_rule.read_requests(events, served)
        if drained := [server.name for server in reconciler.servers.values() if server.desired_state != "serve"]:
            raise ConfigError(
                f"{drained[0]}: got a server without requests, expected all to have some; do: beampipe fleet resume"
            )
        self._before: FleetServerSettings | None = None
        self._starts = 0
        name = next(iter(reconciler.servers.values())).settings.group
        self._old = [server for server in reconciler.servers.values() if server.group == name]
        self.server = self._choose_server(name, models)
        reconciler.canary = CanaryShare(self.server.name, rule.share)

    def decide(self) -> Decision:
        """Compare until the rule promotes the new models or rolls them back.

        First the answers to the same requests are compared, before any client reaches the server; then it gets its
        share of clients' requests until enough are answered, one too many has failed, or `ReleaseRule.within` is over.

        Raises:
            ServiceError: the fleet stops meanwhile.
        """
        answers: tuple[AnswersOfModel, ...] = ()
        try:
            self._start()
            serving = next(filter(self._reconciler.in_service, self._old), self._old[0])
            urls = self._url(serving), self._url(self.server)
            answers = release_rule.compare_answers(*urls, self._requests, self._outputs)
            if reasons := tuple(self._rule.about_answers(self._compared, answers)):
                return Decision(False, reasons, self._compared, answers)
            return self._watch(answers)
        except ServiceError as error:
            if self._reconciler.ended.is_set():
                raise
            return Decision(False, (str(error),), self._compared, answers)

    def leave(self) -> None:
        """Stop the server, if it was started in a free slot."""
        if self._before is None:
            self._commands.end(self.server)

    def take_back(self) -> None:
        """Roll back: serve the old models only."""
        self.leave()
        if self._before is not None:
            self._commands.replace(self.server, self._before)
        self.end()

    def end(self) -> None:
        """End the trial: the server gets requests as any other."""
        self._reconciler.canary = None
        self._commands.configure_gateway(self._reconciler.fleet)

    def _choose_server(self, name: str, models: tuple[str, Path]) -> LocalServer:
        reconciler, commands = self._reconciler, self._commands
        group = reconciler.fleet.servers[name]
        free = commands.free_number(group)
        if free is not None:
            with reconciler.lock:
                server = reconciler.add(group, free)
                server.desired_state = "drain"
                server.settings = server.settings.with_models(models)
            return server
        if len(self._old) == 1:
            raise group.no_slot(name)
        server = self._old.pop()
        self._before = server.settings
        commands.empty(server)
        self._starts = commands.renew(server, server.settings.with_models(models))
        return server

    def _start(self) -> None:
        """Start the server and wait until it answers; it gets no requests of clients yet."""
        reconciler, server = self._reconciler, self.server
        self._commands.configure_gateway(reconciler.fleet)

        def is_ready() -> bool:
            if server.starts > self._starts + 1:
                raise ServiceError(f"{server.name}: does not start with the new models{server.reason()}")
            record = reconciler.records.get(server.name)
            ready = record is not None and server.describes(record) and record.state == "ready"
            return ready and record is not None and record.repository == server.settings.digest

        self._commands.wait(is_ready, reconciler.fleet.start_timeout + 10.0, f"{server.name}: an answer")
        self._starts = server.starts

    def _watch(self, answers: tuple[AnswersOfModel, ...]) -> Decision:
        """Send clients' requests to the server until there are enough answers, or one failure too many."""
        rule, servers = self._rule, [*self._old, self.server]
        first = {server.name: self._counters(server) for server in servers}
        last: dict[str, Mapping[str, Counters]] = {}
        before = self._replies()
        self._commands.serve([self.server])
        begun = time.monotonic()
        while True:
            seconds = time.monotonic() - begun
            last |= {server.name: counters for server in servers if (counters := self._counters(server))}
            times = _times(first, last, self.server.name)
            old, new = (now.since(then) for now, then in zip(self._replies(), before, strict=True))
            bad = [text for text in (self._failure(), *rule.about_failures(old, new)) if text]
            if bad or rule.enough(times) or seconds > rule.within:
                reasons = (*bad, *(() if bad else rule.about_times(times)))
                return Decision(not reasons, reasons, self._compared, answers, times, old, new, seconds)
            if self._reconciler.ended.wait(_PERIOD):
                raise ServiceError("release: got the end of the fleet, expected it to go on")

    def _failure(self) -> str:
        """How the server has failed since its start; empty if it has not."""
        if self.server.starts != self._starts or self.server.pid is None:
            return f"{self.server.name}: has ended{self.server.reason()}"
        slot = self._reconciler.slot_state(self.server)
        return f"{self.server.name}: does not answer" if slot is not None and slot.mode == "maint" else ""

    def _replies(self) -> tuple[Replies, Replies]:
        """Replies to clients since the gateway has the trial, of the old servers together and of the new one."""
        replies = self._reconciler.gateway.replies()
        new = replies.pop(self.server.name, Replies())
        return Replies(sum(old.given for old in replies.values()), sum(old.failed for old in replies.values())), new

    def _url(self, server: LocalServer) -> str:
        record = self._reconciler.records.get(server.name)
        if record is None:
            raise ServiceError(f"{server.name}: got no address, expected a server that answers")
        return f"http://{authority(record.host, record.http)}"

    def _counters(self, server: LocalServer) -> Mapping[str, Counters]:
        """The counters of a server by model, none if it does not answer."""
        record = self._reconciler.records.get(server.name)
        with suppress(ServiceError):
            return {} if record is None else read_metrics(authority(record.host, record.metrics))
        return {}


def _times(
    first: Mapping[str, Mapping[str, Counters]], last: Mapping[str, Mapping[str, Counters]], new: str
) -> tuple[ModelTimes, ...]:
    """Activity of the server `new` and of the others between two readings, for models that answered requests."""
    parts: defaultdict[tuple[str, bool], list[MeasuredActivity]] = defaultdict(list)
    for server, counters in last.items():
        for model, after in counters.items():
            parts[model, server == new].append(release_rule.measured_between(first[server].get(model), after))
    combined = release_rule.combined
    models = sorted({model for model, _ in parts})
    times = (ModelTimes(model, combined(parts[model, False]), combined(parts[model, True])) for model in models)
    return tuple(each for each in times if each.old.answered or each.new.answered)
