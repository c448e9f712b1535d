"""The release of new models: a trial on a share of the requests, and the rule that promotes them or rolls them back.

The evidence of the rule is compared answers, times and failures. A file of recorded requests is what `numpy.savez`
writes. Its arrays are called MODEL/NUMBER/TENSOR, such as ``module_map/0/FEATURES``: all arrays with the same MODEL and
NUMBER are one request.
"""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.errors import (
    BeampipeError,
    ConfigError,
    DeadlineError,
    FileError,
    ServiceError,
    ServiceUnavailableError,
    UnknownNameError,
)
from beampipe.fleet.control.managed_server import LocalServer
from beampipe.fleet.gateway.haproxy import Replies
from beampipe.fleet.gateway.plan import CanaryShare
from beampipe.fleet.server import FleetServerSettings
from beampipe.terminal import make_table
from beampipe.triton.client import ModelClient
from beampipe.triton.client.endpoint import authority
from beampipe.triton.metrics import Counters, rates_between, read_metrics
from beampipe.triton.model.canary import read_canaries
from beampipe.triton.server.launch import check_repository

if TYPE_CHECKING:
    from rich.table import Table

    from beampipe.fleet.control.commands import LocalCommands

Requests = Mapping[str, Sequence[Mapping[str, ndarray]]]
"""Requests by name of the model; each is arrays by name of the tensor."""


def read_requests(path: Path, models: Iterable[str]) -> dict[str, list[dict[str, ndarray]]]:
    """The recorded requests of a file.

    Args:
        path: the file.
        models: names of the models that are served.

    Raises:
        FileError: the file cannot be read, or holds something else or nothing.
        UnknownNameError: a request is for a model that is not served.
    """
    result: dict[str, dict[int, dict[str, ndarray]]] = {}
    known = tuple(models)
    try:
        # Opened here, since numpy does not reliably close a file that is no zip archive.
        with path.open("rb") as stream:
            arrays = np.load(stream, allow_pickle=False)
            names = getattr(arrays, "files", ())  # a file of one array without name has none
            whole = {name: arrays[name] for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(
            f"{path}: got {error}, expected recorded requests, written by numpy.savez", path=path
        ) from error
    for name, array in whole.items():
        model, _, rest = name.partition("/")
        number, _, tensor = rest.partition("/")
        if not (model and number.isdecimal() and tensor):
            raise FileError(f"{path}: got an array {name!r}, expected MODEL/NUMBER/TENSOR", path=path, name=name)
        if model not in known:
            raise UnknownNameError(f"model in {path}", model, known)
        result.setdefault(model, {}).setdefault(int(number), {})[tensor] = array
    if not result:
        raise FileError(f"{path}: got no requests, expected arrays called MODEL/NUMBER/TENSOR", path=path)
    return {model: [asked[number] for number in sorted(asked)] for model, asked in result.items()}


@dataclass(frozen=True)
class AnswersOfModel:
    """How often two versions of a model gave the same answer.

    Attributes:
        model: name of the model.
        requests: number of requests that were sent to both versions.
        different: number of requests to which the new version gave a different answer, or none.
        outputs: names of the outputs that were compared; empty for all of them.
        example: description of the first difference; empty if there was none.
    """

    model: str
    requests: int
    different: int
    outputs: tuple[str, ...] = ()
    example: str = ""


def compare_answers(
    old: str, new: str, requests: Requests, outputs: Mapping[str, Sequence[str]], timeout: float = 60.0
) -> tuple[AnswersOfModel, ...]:
    """Send the same requests to both servers, one after the other, and compare the answers.

    Two answers are the same if every array has the same type, shape and bytes, or if both are errors of the same
    class.

    Args:
        old: URL of the server with the old version.
        new: URL of the server with the new version.
        requests: the requests.
        outputs: names of the outputs to compare, by name of the model; all outputs of models that are not named.
        timeout: longest wait for one answer [s].

    Raises:
        ServiceUnavailableError: the old server does not answer.
        DeadlineError: the old server does not answer in time.
    """
    return tuple(
        _compare_model(old, new, model, asked, tuple(outputs.get(model, ())), timeout)
        for model, asked in requests.items()
    )


def difference(old: Mapping[str, ndarray], new: Mapping[str, ndarray], outputs: Sequence[str] = ()) -> str:
    """Description of the first difference of two answers; empty if they are the same, byte for byte.

    Args:
        old: arrays of the old version, by name of the tensor.
        new: arrays of the new version.
        outputs: names of the arrays to compare; all of the old version if there are none.
    """
    for name in outputs or old:
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            return f"{name}: {'new' if one is None else 'missing'}"
        if one.dtype != other.dtype or one.shape != other.shape:
            return f"{name}: {one.dtype} {list(one.shape)} has become {other.dtype} {list(other.shape)}"
        if one.tobytes() != other.tobytes():
            return f"{name}: other values"
    return ""


def _compare_model(
    old: str, new: str, model: str, asked: Sequence[Mapping[str, ndarray]], outputs: tuple[str, ...], timeout: float
) -> AnswersOfModel:
    with (
        ModelClient(old, model, protocol="http", timeout=timeout) as before,
        ModelClient(new, model, protocol="http", timeout=timeout) as after,
    ):
        compared = enumerate(_compare(before, after, request, outputs) for request in asked)
        differences = [f"request {number}: {text}" for number, text in compared if text]
    return AnswersOfModel(model, len(asked), len(differences), outputs, differences[0] if differences else "")


def _compare(before: ModelClient, after: ModelClient, request: Mapping[str, ndarray], outputs: Sequence[str]) -> str:
    """How two answers to a request differ, or the error in place of one; empty if they do not."""
    old, new = _answer(before, request), _answer(after, request)
    if isinstance(old, ServiceUnavailableError | DeadlineError):
        raise old
    if isinstance(old, BeampipeError):
        return "" if type(new) is type(old) else f"was refused ({old}), which has changed"
    return str(new) if isinstance(new, BeampipeError) else difference(old, new, outputs)


def _answer(client: ModelClient, request: Mapping[str, ndarray]) -> dict[str, ndarray] | BeampipeError:
    try:
        return client.infer(request)
    except BeampipeError as error:
        return error


@dataclass(frozen=True)
class MeasuredActivity:
    """Requests and times of one model, on one server or on several together.

    Attributes:
        answered: number of requests that were answered; by Triton's counters, the supervisor's own canaries are among
            them, and of Python models also what was answered with an error.
        latency: mean time of a request in the server [ms]; None if none was answered.
        compute: mean time of a request in the model [ms]; None if none was answered.
        stages: mean time of an event in each stage [ms], by name; empty for models that do not report stages.
    """

    answered: int = 0
    latency: float | None = None
    compute: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelTimes:
    """Activity of the old and the new version of a model in the same time.

    Attributes:
        model: name of the model.
        old: activity of all servers with the old version together; its number of requests is that of clients, as the
            gateway counts them.
        new: activity of the server with the new version; the same holds for its number of requests.
    """

    model: str
    old: MeasuredActivity
    new: MeasuredActivity


def measured_between(before: Counters | None, after: Counters) -> MeasuredActivity:
    """Activity of a model between two readings of its server's counters.

    Args:
        before: counters at the earlier reading; None if all were zero.
        after: counters at the later reading.
    """
    gained = rates_between(before, after, 1.0)  # rates over 1 s equal the numbers themselves
    return MeasuredActivity(round(gained.requests), gained.latency, gained.compute, gained.stages)


def combined(parts: Iterable[MeasuredActivity]) -> MeasuredActivity:
    """Activity of several servers together; each mean is weighted by its number of requests."""
    results = [part for part in parts if part.answered]
    stages = {name for part in results for name in part.stages}
    return MeasuredActivity(
        sum(part.answered for part in results),
        _mean([(part.latency, part.answered) for part in results]),
        _mean([(part.compute, part.answered) for part in results]),
        {
            name: mean
            for name in sorted(stages)
            if (mean := _mean([(part.stages.get(name), part.answered) for part in results])) is not None
        },
    )


def _mean(values: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None and weight]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


Compared = Literal["recorded requests", "stored canaries"]
"""Origin of the requests whose answers were compared."""

_COUNTS: Final = 0.1
"""Smallest share of a model's time that a stage must take to be compared; shorter stages fluctuate too much."""


@dataclass(frozen=True)
class Decision:
    """The decision on new models, with its evidence.

    Attributes:
        promoted: whether the new models are served from now on.
        reasons: why they are rolled back; empty if they are promoted.
        compared: origin of the requests whose answers were compared.
        answers: the comparison of answers, by model.
        times: numbers and times of clients' requests, by model, old and new.
        old: replies of the servers with the old models to clients, all models together.
        new: replies of the server with the new models.
        seconds: duration in which clients' requests went to the new models [s].
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
    """New models are promoted if all of these conditions hold, for every model.

    1. Of the requests sent to both versions, at most the share `allow_differences` got different answers, and at
       least one request was compared (unless `allow_differences` is 1).
    2. Each model that clients used answered at least `least` of their requests within `within`, old and new.
    3. The new models failed no more often than the failure rate of the old ones predicts, rounded up to a whole
       request. Failures are counted from the replies that the gateway saw, since Triton counts an error of a Python
       model as an answer.
    4. The mean time in the model, and in each stage that takes at least a tenth of it, is at most `slower` times the
       old one.

    Attributes:
        share: share of clients' requests that goes to the new models.
        allow_differences: share of answers that may differ; 0 for none, byte for byte.
        slower: largest ratio of the new time to the old one.
        least: number of requests of each model that old and new models must have answered.
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
        """Reasons against promotion from the comparison of answers."""
        if not answers and self.allow_differences < 1:
            yield f"no answers compared: the models have no {compared}; do: --events FILE.npz, or --allow-differences 1"
        for one in answers:
            if one.different > self.allow_differences * one.requests:
                yield (
                    f"{one.model}: {one.different} of {one.requests} answers differ, allowed"
                    f" {100 * self.allow_differences:g} % ({one.example})"
                )

    def about_failures(self, old: Replies, new: Replies) -> Iterator[str]:
        """Reasons against promotion from failed replies to clients, at any time of the trial."""
        # At least `least` requests: with few replies so far, a first failure would end the trial although the old
        # models fail as often.
        allowed = math.ceil(old.rate * max(new.given, self.least))
        if new.failed > allowed:
            yield (
                f"{new.failed} of {new.given} requests failed, allowed {allowed}:"
                f" {old.failed} of {old.given} failed with the old models"
            )

    def enough(self, times: Sequence[ModelTimes]) -> bool:
        """Whether every model that clients use has answered enough requests, old and new, and at least one was used."""
        return not list(self._about_numbers(times))

    def about_times(self, times: Sequence[ModelTimes]) -> Iterator[str]:
        """Reasons against promotion from numbers and times of requests, at the end of the trial."""
        if few := list(self._about_numbers(times)):
            yield f"not enough traffic to judge: {'; '.join(few)}"
        for one in times:
            for what, old, new in _judged(one):
                if new > self.slower * old:
                    yield f"{what}: {new:.3g} ms, allowed {self.slower:g} times {old:.3g} ms"

    def _about_numbers(self, times: Sequence[ModelTimes]) -> Iterator[str]:
        if not any(one.new.answered for one in times):
            yield "no request of a client reached the new models"
        for one in times:
            for which, part in (("new", one.new), ("old", one.old)):
                if part.answered < self.least and (one.new.answered or one.old.answered):
                    yield (
                        f"{one.model}: the {which} models answered {part.answered} requests of clients, expected"
                        f" {self.least}"
                    )


def _judged(times: ModelTimes) -> Iterator[tuple[str, float, float]]:
    """The compared times: name, time of the old and of the new model [ms]."""
    old, new = times.old, times.new
    if old.compute is None or new.compute is None:
        return
    yield f"{times.model}: time in the model", old.compute, new.compute
    for name, before in old.stages.items():
        after = new.stages.get(name)
        if after is not None and max(before, after) >= _COUNTS * old.compute:
            yield f"{times.model}: stage {name}", before, after


def decision_of(table: Mapping[str, Any]) -> Decision:
    """The decision in a table made by `dataclasses.asdict` and read back from JSON."""
    answers = (AnswersOfModel(**{**each, "outputs": tuple(each["outputs"])}) for each in table["answers"])
    times = (
        ModelTimes(each["model"], MeasuredActivity(**each["old"]), MeasuredActivity(**each["new"]))
        for each in table["times"]
    )
    replies = {name: Replies(**table[name]) for name in ("old", "new")}
    parts = {"reasons": tuple(table["reasons"]), "answers": tuple(answers), "times": tuple(times)}
    return Decision(**{**table, **parts, **replies})


def decision_tables(decision: Decision) -> tuple[Table, Table]:
    """The evidence of a decision: the answers that were compared, and the times of clients' requests."""
    answers = make_table(f"answers to {decision.compared}", ("model", "outputs"), ("requests", "different"))
    for one in decision.answers:
        answers.add_row(one.model, ", ".join(one.outputs) or "all", str(one.requests), str(one.different))
    title = f"requests of clients: {100 * decision.sent:.1f} % to the new models, for {decision.seconds:.0f} s"
    heads = ("old", "new", "new / old")
    times = make_table(title, ("model", ""), heads, importance=("",))
    times.add_row("all", "replies to clients", str(decision.old.given), str(decision.new.given))
    times.add_row("", "of these, failed", str(decision.old.failed), str(decision.new.failed))
    for activity in decision.times:
        old, new = activity.old, activity.new
        times.add_row(activity.model, "answered", str(old.answered), str(new.answered))
        times.add_row("", "in the server [ms]", *_cells(old.latency, new.latency))
        times.add_row("", "in the model [ms]", *_cells(old.compute, new.compute))
        for stage in sorted({*old.stages, *new.stages}):
            times.add_row("", f"stage {stage} [ms]", *_cells(old.stages.get(stage), new.stages.get(stage)))
    return answers, times


def _cells(old: float | None, new: float | None) -> tuple[str, str, str]:
    ratio = "-" if not old or new is None else f"{new / old:.2f}"
    return *("-" if time is None else f"{time:.3g}" for time in (old, new)), ratio  # type: ignore[return-value]


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
        canaries = read_canaries(old, served)
        self._outputs = {model: tuple(answer) for model, (_, answer) in canaries.items()}
        if events is None:
            self._compared: Compared = "stored canaries"
            self._requests: Requests = {model: [request] for model, (request, _) in canaries.items()}
        else:
            self._compared, self._requests = "recorded requests", read_requests(events, served)
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
            answers = compare_answers(*urls, self._requests, self._outputs)
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
        before, served = self._replies(), self._reconciler.traffic.served.copy()
        self._commands.serve([self.server])
        begun = time.monotonic()
        while True:
            seconds = time.monotonic() - begun
            last |= {server.name: counters for server in servers if (counters := self._counters(server))}
            times = _times(first, last, self._reconciler.traffic.served - served, self.server.name)
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
    first: Mapping[str, Mapping[str, Counters]],
    last: Mapping[str, Mapping[str, Counters]],
    served: Mapping[tuple[str, str], int],
    new: str,
) -> tuple[ModelTimes, ...]:
    """Activity of the server `new` and of the others between two readings, for models that clients used.

    Args:
        first: counters by server and model at the earlier reading.
        last: those at the later one.
        served: number of clients' requests by model and server that were answered in between.
        new: name of the server.
    """

    def activity(model: str, servers: Iterable[str]) -> MeasuredActivity:
        readings = [(first[server].get(model), last[server][model]) for server in servers if model in last[server]]
        answered = sum(number for (name, server), number in served.items() if name == model and server in servers)
        return replace(combined(measured_between(*reading) for reading in readings), answered=answered)

    old = [server for server in last if server != new]
    models = sorted({model for model, _ in served})
    return tuple(ModelTimes(model, activity(model, old), activity(model, [new])) for model in models)
