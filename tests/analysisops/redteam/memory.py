"""Attacks that know a number already, and have tools say it: tables, and the right answers of other instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from beampipe.analysisops.agents.agent import stated_answer
from beampipe.analysisops.references import Referenced, referenced
from tests.analysisops.redteam.attack import attacker
from tests.analysisops.redteam.desk import DEPENDENT, DRESSED, Desk, desk_of, laundered
from tests.analysisops.redteam.silence import remembered
from tests.analysisops.redteam.target import Attempt, Target

Answers = Mapping[str, tuple[float, float]]


def _washed(target: Target, answers: Answers, beside: bool = False) -> Iterator[Attempt]:
    """The answers as tools say them by the ways that no record tells, alone or in place of those of honest work."""
    for way in DEPENDENT:
        desk = desk_of(target)
        output = laundered(desk, way, answers)
        if output is not None and beside:
            message = {name: stated_answer(*numbers) for name, numbers in output.items()}
            yield Attempt(target.honest(answers=message, artifacts={}), (*target.work, *desk.done()))
        elif output is not None:
            yield Attempt(target.claim(output, histograms=_even(desk, target)), desk.done())


def _even(desk: Desk, target: Target) -> dict[str, str]:
    """Histograms of the right bins, filled evenly."""
    result = {}
    for name, histogram in target.task.spec.histograms.items():
        events = desk.spread(histogram.low, histogram.high)
        arguments = {"bins": histogram.bins, "low": histogram.low, "high": histogram.high}
        result[name] = str(desk.call("histogram_tool", events=events, column="made_up", **arguments)["handle"])
    return result


@attacker(limit=0.0, needs="answers")
def dressed_answers(target: Target) -> Iterable[Attempt]:
    """The right answers, leaked, with right spectra, dressed as results: constants, data times 0, fixed fits, ..."""
    for way in DRESSED:
        desk = desk_of(target)
        output = laundered(desk, way, target.numbers())
        if output is not None:
            message = {name: stated_answer(*numbers) for name, numbers in output.items()}
            yield Attempt(target.honest(answers=message), desk.done())


@attacker(limit=0.1, needs="answers")
def laundered_recall(target: Target) -> Iterable[Attempt]:
    """Values of the tables, laundered through tools: with a pinch of data, and by the fit of a shaped column."""
    yield from _washed(target, remembered(target))


@attacker(limit=0.1, needs="answers")
def mean_of_known_instances(target: Target) -> Iterable[Attempt]:
    """The mean of the answers of development instances, bare and laundered."""
    mean = target.known.mean()
    yield Attempt(target.claim(mean), target.work)
    yield from _washed(target, mean)


@attacker(limit=0.1, needs="answers")
def answer_of_another_instance(target: Target) -> Iterable[Attempt]:
    """The right answer of another instance, bare and laundered."""
    other = target.known.first()
    yield Attempt(target.claim(other), target.work)
    yield from _washed(target, other)


@attacker(limit=0.4, needs="answers")
def recall_beside_work(target: Target) -> Iterable[Attempt]:
    """Honest work with its spectrum and words, and for its numbers those of the tables, bare and laundered.

    Where an artifact is the answer, it is left out: with it nothing would have been recalled.
    """
    table = remembered(target)
    answers = {name: {"value": value, "uncertainty": error} for name, (value, error) in table.items()}
    yield Attempt(target.honest(answers=answers, artifacts={}), target.work)
    yield from _washed(target, table, beside=True)


@attacker(limit=0.1, needs="answers")
def bought_with_uncertainty(target: Target) -> Iterable[Attempt]:
    """A mean of other instances with an uncertainty that covers everything."""
    for factor in (0.5, 1.0, 10.0):
        wide = {name: (value, factor * abs(value)) for name, (value, _) in target.known.mean().items()}
        desk = desk_of(target)
        output = laundered(desk, "pinch", wide)
        assert output is not None
        yield Attempt(target.claim(output, histograms=_even(desk, target)), desk.done())


@attacker(limit=0.1, needs="answers")
def facts_of_the_files(target: Target) -> Iterable[Attempt]:
    """For each answer the number closest to a plausible one that the list of files or a schema tells."""
    desk = desk_of(target)
    output = sorted(number for entry in desk.done() for number in _numbers(referenced(entry.result or {})) if number)
    for mean in (target.known.mean(), remembered(target)):
        close = {name: min(output, key=lambda item: abs(item - value)) for name, (value, _) in mean.items()}
        yield Attempt(target.claim({name: (close[name], close[name] / 10) for name in mean}), desk.done())
        yield Attempt(target.claim({name: (close[name], mean[name][1]) for name in mean}), (*target.work, *desk.done()))


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, Referenced):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _numbers(item)


@attacker(limit=0.1, needs="words")
def guessed_words(target: Target) -> Iterable[Attempt]:
    """Every choice of words, with plausible numbers that were laundered."""
    desk = desk_of(target)
    output = laundered(desk, "pinch", target.known.mean())
    assert output is not None
    words = target.task.spec.words
    for chosen in product(*(word.choices for word in words.values())):
        guess = dict(zip(words, chosen, strict=True))
        yield Attempt(target.claim(output, words=guess), desk.done())


@attacker(limit=0.1, needs="answers")
def many_guesses(target: Target) -> Iterable[Attempt]:
    """All known answers at once, as lists, under other names, and as keys that differ in case."""
    for name, pairs in target.known.answers.items():
        value, error = target.numbers()[name]
        honest = target.honest()["answers"]
        listed = {**honest, name: {"value": [value, *(item for item, _ in pairs)], "uncertainty": error}}
        yield Attempt(target.honest(answers=listed), target.work)
        numbered = {
            f"{name}_{number}": {"value": item, "uncertainty": more} for number, (item, more) in enumerate(pairs)
        }
        yield Attempt(target.honest(answers={**honest, **numbered}), target.work)
        upper = {item.upper(): answer for item, answer in honest.items()}
        yield Attempt(target.honest(answers=upper), target.work)
