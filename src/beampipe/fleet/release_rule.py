"""The rule that promotes new models or rolls them back, with its evidence: compared answers, times and failures.

A file of recorded requests is what `numpy.savez` writes. Its arrays are called MODEL/NUMBER/TENSOR, such as
``module_map/0/FEATURES``: all arrays with the same MODEL and NUMBER are one request.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.errors import (
    BeampipeError,
    ConfigError,
    DeadlineError,
    FileError,
    ServiceUnavailableError,
    UnknownNameError,
)
from beampipe.fleet.gateway.haproxy import Replies
from beampipe.terminal import make_table
from beampipe.triton.client import ModelClient
from beampipe.triton.metrics import Counters, rates_between
from beampipe.triton.model.canary import read_canary

if TYPE_CHECKING:
    from rich.table import Table


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
        model, number, tensor = _parts(path, name)
        if model not in known:
            raise UnknownNameError(f"model in {path}", model, known)
        result.setdefault(model, {}).setdefault(number, {})[tensor] = array
    if not result:
        raise FileError(f"{path}: got no requests, expected arrays called MODEL/NUMBER/TENSOR", path=path)
    return {model: [asked[number] for number in sorted(asked)] for model, asked in result.items()}


def _parts(path: Path, name: str) -> tuple[str, int, str]:
    model, _, rest = name.partition("/")
    number, _, tensor = rest.partition("/")
    if not (model and number.isdecimal() and tensor):
        raise FileError(f"{path}: got an array {name!r}, expected MODEL/NUMBER/TENSOR", path=path, name=name)
    return model, int(number), tensor


def read_canaries(repository: Path, models: Iterable[str]) -> dict[str, tuple[dict[str, ndarray], tuple[str, ...]]]:
    """Request and names of the outputs of the canary of each model that has one, by name of the model.

    Outputs that vary between calls are not stored. The canary is that of the newest version, which Triton serves.

    Args:
        repository: the models.
        models: their names.
    """
    canaries = {}
    for model in models:
        versions = [path for path in (repository / model).iterdir() if path.is_dir() and path.name.isdecimal()]
        newest = max(versions, key=lambda path: int(path.name), default=None)
        if newest is not None and (stored := read_canary(newest)) is not None:
            canaries[model] = stored[0], tuple(stored[1])
    return canaries


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
        answered: number of requests that were answered; of Python models also those that were answered with an error.
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
        old: activity of all servers with the old version together.
        new: activity of the server with the new version.
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
        return any(one.new.answered for one in times) and not list(self._about_numbers(times))

    def about_times(self, times: Sequence[ModelTimes]) -> Iterator[str]:
        """Reasons against promotion from numbers and times of requests, at the end of the trial."""
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
    for time in decision.times:
        old, new = time.old, time.new
        times.add_row(time.model, "answered", str(old.answered), str(new.answered))
        times.add_row("", "in the server [ms]", *_cells(old.latency, new.latency))
        times.add_row("", "in the model [ms]", *_cells(old.compute, new.compute))
        for stage in sorted({*old.stages, *new.stages}):
            times.add_row("", f"stage {stage} [ms]", *_cells(old.stages.get(stage), new.stages.get(stage)))
    return answers, times


def _cells(old: float | None, new: float | None) -> tuple[str, str, str]:
    ratio = "-" if not old or new is None else f"{new / old:.2f}"
    return *("-" if time is None else f"{time:.3g}" for time in (old, new)), ratio  # type: ignore[return-value]
