"""The tables of the page: the leaderboard, and agents against families; and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import Final

from beampipe.analysisops.report.run_data import RunData
from beampipe.analysisops.runs import Summary


def score(value: float) -> str:
    """A normalised score; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def with_error(value: float, error: float | None) -> str:
    """A score with its standard error; a question mark where it cannot be told.

    >>> with_error(0.94321, 0.0123), with_error(0.5, None)
    ('0.943 ± 0.012', '0.500 ± ?')
    """
    return score(value) if math.isnan(value) else f"{score(value)} ± {'?' if error is None else f'{error:.3f}'}"


def count(value: int | float) -> str:
    """A number of things, short from ten thousand on.

    >>> count(1234), count(23_456), count(7_890_000)
    ('1\\u202f234', '23.5k', '7.89M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= (size if size > 1e3 else 1e4):
            return f"{value / size:.3g}{letter}"
    return f"{value:,.0f}".replace(",", "\u202f")


def cost(value: float) -> str:
    """An amount of money [USD].

    >>> cost(0.0), cost(0.00123), cost(12.345)
    ('$0', '$0.0012', '$12.35')
    """
    if value == 0.0:
        return "$0"
    return f"${value:.2f}" if value >= 1 else f"${value:.{1 - math.floor(math.log10(value))}f}"


def duration(seconds: float) -> str:
    """A time.

    >>> duration(0.25), duration(75.0), duration(7500.0)
    ('0.25 s', '1 min 15 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def share(part: int, whole: int) -> str:
    """A part of a whole in percent; a dash of nothing."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


_SHADES: Final = 10
"""Steps of the colour that stands for a score."""

LEVELS: Final = {1: "told how", 2: "told what", 3: "only asked"}
"""What an agent is told at each level."""

COLOURS: Final = 8
"""Colours of agents; more agents share them."""


def swatch(run: RunData, agent: str) -> str:
    """The dot in the colour of an agent."""
    return f'<i class="dot a{run.agents.index(agent) % COLOURS}"></i>'


def shade(value: float) -> str:
    """The class of the colour that stands for a score.

    >>> shade(0.0), shade(0.949), shade(1.0), shade(math.nan)
    ('h0', 'h9', 'h10', 'h-none')
    """
    return "h-none" if math.isnan(value) else f"h{math.floor(_SHADES * value + 1e-9)}"


def leaderboard(run: RunData) -> str:
    """Who is how good, with errors, and at what cost."""
    levels = "".join(
        f'<th scope="col" class="n">Level {level}<br><small>{LEVELS.get(level, "")}</small></th>'
        for level in run.levels
    )
    heads = (
        '<th scope="col" class="n">#</th><th scope="col">Agent</th><th scope="col">Score</th>'
        f'<th scope="col" class="n">Behind the first</th>{levels}<th scope="col">Passes</th>'
        '<th scope="col">Outcome</th><th scope="col">Judge</th><th scope="col" class="n">Took</th>'
    )
    rows = "\n".join(_agent(run, place, agent) for place, agent in enumerate(run.agents, 1))
    return f'<table class="leaders"><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table>'


def families(run: RunData) -> str:
    """Each family's score for each agent, and below it a bar for each level."""
    heads = "".join(f'<th scope="col">{swatch(run, agent)} {escape(agent)}</th>' for agent in run.agents)
    rows = []
    for family in run.families:
        cells = "".join(_cell(run, agent, family) for agent in run.agents)
        rows.append(f'<tr><th scope="row">{escape(family)}</th>{cells}</tr>')
    body = "\n".join(rows)
    return (
        f'<table class="grid"><thead><tr><th scope="col">Family</th>{heads}</tr></thead>\n<tbody>{body}</tbody></table>'
    )


def _agent(run: RunData, place: int, agent: str) -> str:
    one = run.by_agent[agent]
    behind = "" if place == 1 else _difference(*run.behind(agent))
    levels = "".join(_level(run, agent, level) for level in run.levels)
    passes = "".join(f"<span>{value:.2f} <small>{k}×</small></span>" for k, value in one.pass_hat.items())
    took = (
        f"{_total(cost(one.cost), one.cost_unknown, one)}<small>{_total(count(one.tokens), one.tokens_unknown, one)}"
        f" tokens</small><small>{duration(one.seconds)}</small>"
    )
    cells = [
        f'<td class="n" data-name="Place">{place}</td>',
        f'<th scope="row" title="{escape(agent)}">{swatch(run, agent)} {escape(agent)}</th>',
        f'<td data-name="Score" class="main"><b>{with_error(one.mean, one.error)}</b>{_bar(one)}</td>',
        f'<td class="n" data-name="Behind the first">{behind}</td>',
        levels,
        f'<td data-name="Passes" class="lines">{passes}</td>',
        f'<td data-name="Outcome" class="lines">{"".join(_outcome(one))}</td>',
        f'<td data-name="Judge" class="lines">{_judge(one)}</td>',
        f'<td class="n lines" data-name="Took">{took}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _level(run: RunData, agent: str, level: int) -> str:
    one = run.by_level.get((agent, level))
    value = math.nan if one is None else one.mean
    return f'<td class="n" data-name="Level {level}"><span class="chip {shade(value)}">{score(value)}</span></td>'


def _difference(mean: float, error: float | None) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.3f} ± {'?' if error is None else f'{error:.3f}'}"


def _bar(one: Summary) -> str:
    """The score as a bar, with its error as a whisker."""
    if math.isnan(one.mean):
        return ""
    left, right = (max(0.0, min(1.0, one.mean + sign * (one.error or 0.0))) for sign in (-1, 1))
    whisker = f'<path class="whisker" d="M{100 * left:.2f} 3H{100 * right:.2f}"/>' if one.error else ""
    return (
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="6"/><rect class="fill" width="{100 * one.mean:.2f}" height="6"/>'
        f"{whisker}</svg>"
    )


def _outcome(one: Summary) -> Iterator[str]:
    """How many are done, and what did not go well, each with how often."""
    yield f"<span>{count(one.assessments)} done</span>"
    for number, name, title in (
        (one.failed, "gate closed", "a gate did not hold: counted as 0"),
        (one.errors, "agent failed", "the agent gave no submission: counted as 0"),
        (one.missing, "missing", "not done yet, or the host failed: not in the mean"),
    ):
        if number:
            kind = name.partition(" ")[0]
            yield f'<span class="trouble {kind}" title="{title}">{count(number)} × {name}</span>'


def _judge(one: Summary) -> str:
    unscored = f"<small>{count(one.unscored)} unscored</small>" if one.unscored else ""
    if one.judge is None:
        return unscored or "<small>no judge</small>"
    return f"<span>{with_error(one.judge, one.judge_error)}</span>{unscored}"


def _total(text: str, unknown: int, one: Summary) -> str:
    """A sum, and of how many assessments it is not known."""
    if unknown == one.assessments:
        return "?"
    return f"{text} + {count(unknown)} × ?" if unknown else text


def _cell(run: RunData, agent: str, family: str) -> str:
    one = run.by_family.get((agent, family))
    if one is None:
        return '<td class="soft">–</td>'
    value = score(one.mean)
    error = "" if math.isnan(one.mean) else f"<small>± {'?' if one.error is None else f'{one.error:.3f}'}</small>"
    bad = one.errors + one.missing
    note = f'<small class="flag" title="{one.errors} errors, {one.missing} missing">⚑ {bad}</small>' if bad else ""
    bars = "".join(_level_bar(run, agent, family, level) for level in run.levels)
    return (
        f'<td><button type="button" class="cell {shade(one.mean)}" data-agent="{escape(agent)}"'
        f' data-family="{escape(family)}"><span><b>{value}</b> {error} {note}</span>'
        f'<span class="levels">{bars}</span></button></td>'
    )


def _level_bar(run: RunData, agent: str, family: str, level: int) -> str:
    one = run.by_family_and_level.get((agent, family, level))
    if one is None:
        return ""
    width = 0.0 if math.isnan(one.mean) else 40 * one.mean
    return (
        f'<svg viewBox="0 0 40 4" preserveAspectRatio="none" role="img">'
        f"<title>Level {level}: {with_error(one.mean, one.error)}</title>"
        f'<rect class="track" width="40" height="4" rx="2"/><rect class="fill" width="{width:.2f}" height="4" rx="2"/>'
        "</svg>"
    )
