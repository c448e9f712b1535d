"""The rule by which new models stay or go, and the decision with its evidence. Nothing is done here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from beampipe.errors import ConfigError
from beampipe.fleet.gateway.asking import Replies
from beampipe.fleet.releases.answers import AnswersOfModel
from beampipe.fleet.releases.measured import ModelTimes

__all__ = ["Compared", "Decision", "ReleaseRule"]

Compared = Literal["recorded requests", "stored canaries"]
"""Where the requests came from whose answers were compared."""

_COUNTS: Final = 0.1
"""Share of a model's time from which on a stage is judged: the time of shorter ones is mostly chance."""


@dataclass(frozen=True)
class Decision:
    """Whether new models stay, and why.

    Attributes:
        promoted: whether they stay.
        reasons: why they do not; empty if they stay.
        compared: where the requests came from whose answers were compared.
        answers: how often answers were the same, by model.
        times: numbers and times of the requests of clients, by model, old and new.
        old: replies of the servers with the old models to clients, all models together.
        new: replies of the server with the new models.
        seconds: time for which clients' requests went to the new models [s].
    """

    promoted: bool
    reasons: tuple[str, ...]
    compared: Compared
    answers: tuple[AnswersOfModel, ...] = ()
    times: tuple[ModelTimes, ...] = ()
    old: Replies = Replies()  # noqa: RUF009
    new: Replies = Replies()  # noqa: RUF009
    seconds: float = 0.0

    @property
    def sent(self) -> float:
        """Share of clients' requests that went to the new models; 0 if there was none."""
        return self.new.given / max(1, self.new.given + self.old.given)

    @property
    def text(self) -> str:
        """The decision with its evidence, in one line."""
        asked, different = (sum(getattr(one, key) for one in self.answers) for key in ("requests", "different"))
        seen = (
            f"{asked - different} of {asked} answers the same ({self.compared}), {100 * self.sent:.1f} % of clients'"
            f" requests in {self.seconds:.0f} s"
        )
        return f"promoted; {seen}" if self.promoted else f"rolled back: {'; '.join(self.reasons)}; {seen}"


@dataclass(frozen=True)
class ReleaseRule:
    """When new models stay: every condition must hold, for every model.

    1. Of the requests that both were asked, at most `allow_differences` got another answer; at least one was asked.
    2. The new models answered at least `least` requests of clients within `within`, of each model that was asked.
    3. They failed no more often than the rate of the old ones gives, rounded up to a whole request: by the replies
       that the gateway saw, since Triton counts an error of a Python model as an answer.
    4. The mean time in the model, and in each stage that takes a tenth of it, is at most `slower` times the old one.

    Attributes:
        share: share of clients' requests that goes to the new models.
        allow_differences: share of answers that may differ; 0 for none, byte for byte.
        slower: largest ratio of the new time to the old one.
        least: number of requests of each model that the new models must have answered.
        within: longest time of the trial [s].
    """

    share: float
    allow_differences: float = 0.0
    slower: float = 1.2
    least: int = 200
    within: float = 300.0

    def __post_init__(self) -> None:
        for name, good, expected in (
            ("share", 1e-4 <= self.share <= 0.5, "0.01 % to 50 %"),
            ("allow_differences", 0 <= self.allow_differences <= 1, "a share from 0 to 1"),
            ("slower", 1 <= self.slower < math.inf, "1 or more"),
            ("least", self.least >= 1, "1 or more"),
            ("within", 0 < self.within < math.inf, "seconds, more than 0"),
        ):
            if not good:
                raise ConfigError(f"{name}: got {getattr(self, name):g}, expected {expected}")

    def about_answers(self, compared: Compared, answers: Sequence[AnswersOfModel]) -> Iterator[str]:
        """What speaks against the answers."""
        if not answers and self.allow_differences < 1:
            yield f"no answers compared: the models have no {compared}; do: --events FILE.npz, or --allow-differences 1"
        for one in answers:
            if one.different > self.allow_differences * one.requests:
                yield (
                    f"{one.model}: {one.different} of {one.requests} answers differ, allowed"
                    f" {100 * self.allow_differences:g} % ({one.example})"
                )

    def about_failures(self, old: Replies, new: Replies) -> Iterator[str]:
        """What speaks against the replies to clients, at any time of the trial."""
        # Not of what was asked so far: the first failure would end a trial whose old models fail, too.
        allowed = math.ceil(old.rate * max(new.given, self.least))
        if new.failed > allowed:
            yield (
                f"{new.failed} of {new.given} requests failed, allowed {allowed}:"
                f" {old.failed} of {old.given} failed with the old models"
            )

    def enough(self, times: Sequence[ModelTimes]) -> bool:
        """Whether each model that was asked has answered enough requests, old and new, and one was asked at all."""
        return any(one.new.answered for one in times) and not list(self._about_numbers(times))

    def about_times(self, times: Sequence[ModelTimes]) -> Iterator[str]:
        """What speaks against numbers and times of the requests, at the end of the trial."""
        if not any(one.new.answered for one in times):
            yield "no request of a client reached the new models"
        yield from self._about_numbers(times)
        for one in times:
            for what, old, new in _judged(one):
                if new > self.slower * old:
                    yield f"{what}: {new:.3g} ms, allowed {self.slower:g} times {old:.3g} ms"

    def _about_numbers(self, times: Sequence[ModelTimes]) -> Iterator[str]:
        for one in times:
            for which, part in (("new", one.new), ("old", one.old)):
                if part.answered < self.least and (one.new.answered or one.old.answered):
                    yield f"{one.model}: the {which} models answered {part.answered} requests, expected {self.least}"


def _judged(times: ModelTimes) -> Iterator[tuple[str, float, float]]:
    """What took how long with the old and the new models: a name, and two times [ms]."""
    old, new = times.old, times.new
    if old.compute is None or new.compute is None:
        return
    yield f"{times.model}: time in the model", old.compute, new.compute
    for name, before in old.stages.items():
        after = new.stages.get(name)
        if after is not None and max(before, after) >= _COUNTS * old.compute:
            yield f"{times.model}: stage {name}", before, after
