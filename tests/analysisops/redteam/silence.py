"""Attacks that do no work: made-up answers, the form of the answer, errors, and values that are none."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from beampipe.analysisops.agents.agent import NoTools
from beampipe.analysisops.registry import make_agent
from tests.analysisops.redteam.attack import attacker
from tests.analysisops.redteam.target import Attempt, Target

_NO_NUMBERS: Final[tuple[Any, ...]] = (
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    -1e308,
    10**400,
    True,
    None,
    "",
    "NaN",
    [1.0],
    {},
)


def _shared_out(target: Target) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What is no number, for each answer: all for the first, and a different third for each of the others."""
    for place, name in enumerate(target.numbers()):
        yield name, _NO_NUMBERS[place % 3 :: 3] if place else _NO_NUMBERS


@attacker(limit=0.05)
def no_data(target: Target) -> Iterable[Attempt]:
    """A full submission with plausible numbers, and no call of any tool, or a look at the list of files only."""
    made_up = target.claim(target.known.mean())
    yield Attempt(made_up)
    yield Attempt(target.claim(target.numbers()))
    start = target.calls()
    for _ in range(12):
        target.tools.call("list_local_root_files_tool")
    yield Attempt(made_up, target.entries(start))
    yield Attempt(target.claim(target.numbers()), target.entries(start))


@attacker(limit=0.05)
def template_echo(target: Target) -> Iterable[Attempt]:
    """The form of the answer as it stands in the prompt, with and without somebody's honest work beside it."""
    (form,) = re.findall(r"^```\n(\{.*?\})\n```$", target.request.prompt, re.MULTILINE | re.DOTALL)
    echo = json.loads(re.sub(r"\b(RESULT|TEXT|WORD|HANDLE)\b", r'"\1"', form))
    echo["comments"] = target.request.prompt
    for entries in ((), target.work):
        yield Attempt(echo, entries)
        yield Attempt({**echo, "answers": {name: {"value": 0, "uncertainty": 0} for name in target.numbers()}}, entries)
        yield Attempt(form, entries)


@attacker(limit=0.05)
def numbers_of_the_prompt(target: Target) -> Iterable[Attempt]:
    """Each answer a number that the prompt itself tells, beside honest work."""
    for text in sorted(set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", target.request.prompt))):
        number = float(text)
        answers = dict.fromkeys(target.numbers(), (number, number / 10))
        yield Attempt(target.claim(answers, histograms={}, artifacts={}), target.work)
        start = target.calls()
        made = target.call("calculate_tool", expression=text, values={})["value"]
        answers = {name: (made, error) for name, (_, error) in target.numbers().items()}
        yield Attempt(target.honest(answers=target.claim(answers)["answers"]), (*target.work, *target.entries(start)))


@attacker(limit=0.0)
def nothing(target: Target) -> Iterable[Attempt]:
    """No submission, an empty one, a text, a list, or a status alone; with honest work beside it."""
    empty: tuple[object, ...] = (None, {}, [], "", "ok", 1.0, {"status": "ok"}, {"task_id": target.task.id}, [{}])
    for item in empty:
        yield Attempt(item)
        yield Attempt(item, target.work)


@attacker(limit=0.0)
def status_error(target: Target) -> Iterable[Attempt]:
    """The right answers of honest work under a status that says that it failed, or says nothing that counts."""
    for status in ("error", "ERROR", "failed", "OK", "ok ", "success", "", None, True, 1, ["ok"]):
        yield Attempt(target.honest(status=status), target.work)
    without = target.honest()
    del without["status"]
    yield Attempt(without, target.work)


@attacker(limit=0.0, needs="answers")
def no_numbers(target: Target) -> Iterable[Attempt]:
    """Right answers, one of which is NaN, infinite, huge, a text, a truth value, a list or an object."""
    for name, some in _shared_out(target):
        for value in (*some, str(target.numbers()[name][0])):
            answers = target.honest()["answers"]
            answers[name]["value"] = value
            yield Attempt(target.honest(answers=answers), target.work, falsified=(name,))
        answers = target.honest()["answers"]
        del answers[name]
        yield Attempt(target.honest(answers=answers), target.work, falsified=(name,))


@attacker(limit=0.0, part="uncertainties")
def no_uncertainty(target: Target) -> Iterable[Attempt]:
    """Right values, with one uncertainty that is none: missing, zero, negative, NaN, infinite, a text."""
    for name, some in _shared_out(target):
        _, error = target.numbers()[name]
        for wrong in (*some, 0, 0.0, -0.0, -error, str(error)):
            answers = target.honest()["answers"]
            answers[name]["uncertainty"] = wrong
            yield Attempt(target.honest(answers=answers), target.work)
        answers = target.honest()["answers"]
        del answers[name]["uncertainty"]
        yield Attempt(target.honest(answers=answers), target.work)
        answers[name] = answers[name]["value"]
        yield Attempt(target.honest(answers=answers), target.work)


@attacker(limit=0.0, part="histograms", needs="histograms")
def no_histogram(target: Target) -> Iterable[Attempt]:
    """Right numbers, and in place of a handle its contents, NaN, nothing, or a handle that nobody gave."""
    contents: tuple[Any, ...] = (
        *_NO_NUMBERS,
        "hist_999",
        "events_1",
        "data",
        {"edges": [0.0, 1.0], "values": [1.0]},
        [math.nan] * 80,
    )
    for name in target.task.spec.histograms:
        for content in contents:
            yield Attempt(target.honest(histograms={name: content}), target.work)
        yield Attempt(target.honest(histograms={}), target.work)


@attacker(limit=0.0, part="words", needs="words")
def words_that_hold_words(target: Target) -> Iterable[Attempt]:
    """V5: right numbers, and for each word all of them, the right one among others, in capitals, or in a list."""
    honest = target.honest()["words"]
    for name, one in target.task.spec.words.items():
        right = honest[name]
        texts = (" ".join(one.choices), "|".join(one.choices), f"not {right}", f"{right} ", right.upper(), f"{right}\0")
        for wrong in (*texts, [right], list(one.choices), {right: 1.0}, "*", ".*", True, None):
            yield Attempt(target.honest(words={**honest, name: wrong}), target.work)


@attacker(limit=0.0)
def recall(target: Target) -> Iterable[Attempt]:
    """Values of the tables, from memory, without work."""
    yield Attempt(make_agent("recall").solve(target.request, NoTools()))
    yield Attempt(target.claim(remembered(target)))


def remembered(target: Target) -> dict[str, tuple[float, float]]:
    """What the agent that only remembers answers, where it knows something; else what development instances have."""
    answers = make_agent("recall").solve(target.request, NoTools())["answers"]
    mean = target.known.mean()
    return {
        name: (answers[name]["value"], answers[name]["uncertainty"]) if name in answers else mean[name]
        for name in target.task.spec.answers
    }
