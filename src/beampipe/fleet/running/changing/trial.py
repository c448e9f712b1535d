"""The evidence for and against new models, gathered from the servers of a fleet that runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from beampipe.errors import ServiceError
from beampipe.fleet.gateway.asking import Replies
from beampipe.fleet.releases.answers import AnswersOfModel, compare_answers
from beampipe.fleet.releases.measured import Measured, ModelTimes, measured_between, together
from beampipe.fleet.releases.requests import Requests, canary_outputs, canary_requests, read_requests
from beampipe.fleet.releases.rule import Compared, Decision, ReleaseRule
from beampipe.fleet.running.changing.canary import Canary
from beampipe.fleet.running.keeper import FleetKeeper
from beampipe.fleet.running.seats import Seat
from beampipe.triton.hosts import authority
from beampipe.triton.monitoring.counters import Counters, read_metrics
from beampipe.triton.server.preflight import check_repository

__all__ = ["Trial"]

_LOOK: Final = 0.2
"""Time [s] between two looks at the counters: the first failure ends a trial no later than that."""


class Trial:
    """Compares a server that has new models with those that have the old ones.

    Args:
        keeper: the keeper of the fleet.
        models: digest and folder of the copy of the new models.
        rule: when they stay.
        events: file of recorded requests; None for the canaries of the old models.

    Raises:
        FileError: the file cannot be read.
        UnknownNameError: the new models lack one that is served, or a recorded request is for another model.
    """

    def __init__(self, keeper: FleetKeeper, models: tuple[str, Path], rule: ReleaseRule, events: Path | None) -> None:
        served = keeper.gateway.plan.models
        check_repository(models[1], served)
        old = keeper.models[1]
        self._keeper = keeper
        self._rule = rule
        self._compared: Compared = "stored canaries" if events is None else "recorded requests"
        self._requests: Requests = canary_requests(old, served) if events is None else read_requests(events, served)
        self._outputs = canary_outputs(old, served)

    def decide(self, canary: Canary) -> Decision:
        """Compare until the rule can say whether the new models stay.

        Args:
            canary: the server with the new models, not started yet.

        Raises:
            ServiceError: the fleet ends.
        """
        answers: tuple[AnswersOfModel, ...] = ()
        try:
            canary.start()
            answers = self._compare(canary)
            if reasons := tuple(self._rule.about_answers(self._compared, answers)):
                return Decision(False, reasons, self._compared, answers)
            return self._watch(canary, answers)
        except ServiceError as error:
            if self._keeper.ended.is_set():
                raise
            return Decision(False, (str(error),), self._compared, answers)

    def _compare(self, canary: Canary) -> tuple[AnswersOfModel, ...]:
        serving = next((seat for seat in canary.old if seat.placed is not None), canary.old[0])
        return compare_answers(self._url(serving), self._url(canary.seat), self._requests, self._outputs)

    def _watch(self, canary: Canary, answers: tuple[AnswersOfModel, ...]) -> Decision:
        """Let clients' requests come, and look until there are enough of them, or one too many has failed."""
        rule = self._rule
        new, old = _Watched(self._keeper, [canary.seat]), _Watched(self._keeper, canary.old)
        before = self._replies(canary)
        canary.open()
        begun = time.monotonic()
        while True:
            seconds = time.monotonic() - begun
            times = _times(old.look(), new.look())
            asked, tried = (now.since(then) for now, then in zip(self._replies(canary), before, strict=True))
            bad = [text for text in (canary.trouble(), *rule.about_failures(asked, tried)) if text]
            if bad or rule.enough(times) or seconds > rule.within:
                reasons = (*bad, *(() if bad else rule.about_times(times)))
                return Decision(not reasons, reasons, self._compared, answers, times, asked, tried, seconds)
            if self._keeper.ended.wait(_LOOK):
                raise ServiceError("release: got the end of the fleet, expected it to go on")

    def _replies(self, canary: Canary) -> tuple[Replies, Replies]:
        """What the old servers and the new one have replied to clients since the trial was prepared."""
        found = self._keeper.gateway.socket.replies()
        old = [replies for name, replies in found.items() if name != canary.seat.name]
        together = Replies(sum(one.given for one in old), sum(one.failed for one in old))
        return together, found.get(canary.seat.name, Replies())

    def _url(self, seat: Seat) -> str:
        record = self._keeper.records.get(seat.name)
        if record is None:
            raise ServiceError(f"{seat.name}: got no address, expected a server that answers")
        return f"http://{authority(record.host, record.http)}"


class _Watched:
    """What some servers have done since this was made.

    Args:
        keeper: the keeper of the fleet.
        seats: the servers.
    """

    def __init__(self, keeper: FleetKeeper, seats: list[Seat]) -> None:
        self._keeper = keeper
        self._seats = seats
        self._first = {seat.name: self._counters(seat) or {} for seat in seats}
        self._last: dict[str, Mapping[str, Counters]] = {}

    def look(self) -> dict[str, Measured]:
        """What they have done until now, by model."""
        for seat in self._seats:
            if counters := self._counters(seat):
                self._last[seat.name] = counters
        models = sorted({model for counters in self._last.values() for model in counters})
        return {
            model: together(
                measured_between(self._first[name].get(model), counters[model])
                for name, counters in self._last.items()
                if model in counters
            )
            for model in models
        }

    def _counters(self, seat: Seat) -> Mapping[str, Counters] | None:
        """The counters of a server, None if it does not answer."""
        record = self._keeper.records.get(seat.name)
        with suppress(ServiceError):
            return None if record is None else read_metrics(authority(record.host, record.metrics))
        return None


def _times(old: Mapping[str, Measured], new: Mapping[str, Measured]) -> tuple[ModelTimes, ...]:
    """What both did, of the models that were asked."""
    names = sorted({*old, *new})
    found = (ModelTimes(name, old.get(name, Measured()), new.get(name, Measured())) for name in names)
    return tuple(times for times in found if times.old.answered or times.new.answered)
