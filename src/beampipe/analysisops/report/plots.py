"""The figures of the page, as SVG with colours from the style of the page, light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean, stdev
from typing import Final

from markupsafe import Markup

from beampipe.analysisops.report.formatting import cost, count, duration, with_error
from beampipe.analysisops.report.run_data import RunData
from beampipe.analysisops.runs.statistics import Summary


@dataclass(frozen=True)
class Axis:
    """A quantity on the x axis of a plot of scores.

    Attributes:
        name: its name.
        label: label of the axis.
        value: the quantity for the assessments of an agent; None if unknown.
        text: a value as text.
    """

    name: str
    label: str
    value: Callable[[Summary], float | None]
    text: Callable[[float], str]


AXES: Final = {
    "cost": Axis(
        "Cost",
        "Mean cost of an assessment [USD]",
        lambda agent: None if agent.cost_unknown else agent.cost / max(1, agent.assessments),
        cost,
    ),
    "tokens": Axis(
        "Tokens",
        "Mean number of tokens",
        lambda agent: None if agent.tokens_unknown else agent.tokens / max(1, agent.assessments),
        count,
    ),
    "seconds": Axis(
        "Time", "Mean time of an assessment", lambda agent: agent.seconds / max(1, agent.assessments), duration
    ),
    "calls": Axis(
        "Tool calls", "Mean number of tool calls", lambda agent: agent.tool_calls / max(1, agent.assessments), count
    ),
}
"""Quantities on the x axis of plots of scores."""

_WIDTH, _HEIGHT = 520, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 504.0, 14.0, 274.0
_EDGE: Final = 5.0
"""Larger pulls are counted at the edges."""

_BINS: Final = 20
_FEWEST: Final = 10
"""Minimum number of pulls: fewer show no distribution, and could reveal the truth of an instance."""


def price_plot(run: RunData, name: str) -> Markup:
    """Score against a cost: a point with its error for each agent, and the Pareto frontier."""
    axis = AXES[name]
    points = [
        (agent, value, summary)
        for agent, summary in run.by_agent.items()
        if not math.isnan(summary.mean) and (value := axis.value(summary)) is not None
    ]
    lacking = [agent for agent in run.agents if agent not in {name for name, _, _ in points}]
    note = f'<p class="soft">Not known: {escape(", ".join(lacking))}</p>' if lacking else ""
    if not points:
        return Markup(f'<p class="empty">No agent tells this.</p>{note}')
    x_of = _scale([value for _, value, _ in points])
    inside = [
        f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>',
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 12}" class="middle">{escape(axis.label)}</text>',
    ]
    for score in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y_of(score)
        inside.append(f'<path class="rule" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>')
        inside.append(f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" class="end">{score:g}</text>')
    inside += _ticks_along([value for _, value, _ in points], x_of, axis.text)
    inside.append(f'<path class="frontier" d="{_frontier(points, x_of)}"/>')
    taken: list[tuple[float, float]] = []
    for agent, value, summary in sorted(points, key=lambda item: -item[2].mean):
        title = f"{agent}: {with_error(summary.mean, summary.error)}, {axis.text(value)}"
        inside.append(_point(run.colour(agent), x_of(value), summary, title))
        inside.append(_name(agent, x_of(value), _y_of(summary.mean), taken))
    return Markup(_svg(f"Score against {axis.label.lower()}", inside) + note)


def pull_plot(run: RunData, agent: str) -> Markup:
    """Pulls: distances of an agent's numbers to the truth, in units of its quoted uncertainties."""
    pulls = run.pulls.get(agent, ())
    if len(pulls) < _FEWEST:
        return Markup(f'<p class="empty">{len(pulls)} numbers with uncertainties: too few for a distribution.</p>')
    width, height, base, side = 300, 150, 120, 12
    counts = [0] * _BINS
    inside_edges = [pull for pull in pulls if abs(pull) <= _EDGE]
    for pull in inside_edges:
        counts[min(_BINS - 1, int((pull + _EDGE) / (2 * _EDGE) * _BINS))] += 1
    step = (width - 2 * side) / _BINS
    normal = len(pulls) * 2 * _EDGE / _BINS / math.sqrt(2 * math.pi)
    unit = (base - 8) / max(*counts, normal)
    bars = "".join(
        f'<rect class="a{run.colour(agent)}" x="{side + index * step + 0.5:.1f}" y="{base - unit * number:.1f}"'
        f' width="{step - 1:.1f}" height="{unit * number:.1f}"/>'
        for index, number in enumerate(counts)
    )
    across = (width - 2 * side) / (2 * _EDGE)
    points = [
        (side + (x + _EDGE) * across, base - unit * normal * math.exp(-x * x / 2))
        for x in (-_EDGE + 0.1 * index for index in range(int(20 * _EDGE) + 1))
    ]
    curve = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    ticks = "".join(
        f'<text class="middle" x="{side + (x + _EDGE) * across:.1f}" y="{base + 15}">{x}</text>'
        for x in (-4, -2, 0, 2, 4)
    )
    beyond = len(pulls) - len(inside_edges)
    caption = f"{len(pulls)} numbers, {beyond or 'none'} beyond ± {_EDGE:g}"
    if len(inside_edges) > 1:
        mean = f"{fmean(inside_edges):.2f}".replace("-", "−")
        caption = f"mean {mean}, width {stdev(inside_edges):.2f}; {caption}"
    axis = f'<path class="axis" d="M{side} {base}H{width - side}"/>'
    svg = _svg(
        f"Pulls of {agent}: {caption}", [bars, axis, f'<path class="normal" d="{curve}"/>', ticks], width, height
    )
    return Markup(f'{svg}<figcaption class="soft">{caption}</figcaption>')


def _svg(title: str, inside: Sequence[str], width: int = _WIDTH, height: int = _HEIGHT) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>'
        f"{''.join(inside)}</svg>"
    )


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    """x as a function of the value: logarithmic if values differ much, with 0 at the left."""
    positive = [value for value in values if value > 0]
    if not positive or max(positive) < 8 * min(positive):
        most = 1.15 * max(values) or 1.0
        return lambda value: _LEFT + 14 + (_RIGHT - _LEFT - 14) * value / most
    low, high = math.log10(min(positive)) - 0.25, math.log10(max(positive)) + 0.25
    start = _LEFT + (40.0 if len(positive) < len(values) else 0.0)

    def x_of(value: float) -> float:
        return _LEFT + 14 if value <= 0 else start + (_RIGHT - start) * (math.log10(value) - low) / (high - low)

    return x_of


def _y_of(value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * value


def _ticks_along(
    values: Sequence[float], x_of: Callable[[float], float], text: Callable[[float], str]
) -> Iterator[str]:
    """Ticks at round values, as many as fit."""
    most = max(values) or 1.0
    low = min((value for value in values if value > 0), default=1.0)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(most)) + 1)
    wanted = [0.0, *(factor * 10.0**power for power in powers for factor in (1, 2, 5))]
    last = -math.inf
    for value in wanted:
        x = x_of(value)
        if _LEFT <= x <= _RIGHT and x - last > 58 and (value > 0 or min(values) <= 0 or x < _LEFT + 15):
            last = x
            yield f'<path class="axis" d="M{x:.1f} {_BOTTOM}v4"/>'
            yield f'<text x="{x:.1f}" y="{_BOTTOM + 19}" class="middle">{escape(text(value))}</text>'


def _frontier(points: Sequence[tuple[str, float, Summary]], x_of: Callable[[float], float]) -> str:
    """The Pareto frontier: a step line through the agents that no cheaper one surpasses."""
    best, path = -1.0, ""
    for _, value, summary in sorted(points, key=lambda item: (item[1], -item[2].mean)):
        if summary.mean > best:
            x, y = x_of(value), _y_of(summary.mean)
            path += f"M{x:.1f} {y:.1f}" if not path else f"H{x:.1f}V{y:.1f}"
            best = summary.mean
    return f"{path}H{_RIGHT}"


def _point(colour: int, x: float, summary: Summary, title: str) -> str:
    y, bar = _y_of(summary.mean), ""
    if summary.error:
        top, bottom = (_y_of(max(0.0, min(1.0, summary.mean + sign * summary.error))) for sign in (1, -1))
        bar = f'<path class="error a{colour}" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>'
    return f'<g>{bar}<circle class="a{colour}" cx="{x:.1f}" cy="{y:.1f}" r="5"/><title>{escape(title)}</title></g>'


def _name(agent: str, x: float, y: float, taken: list[tuple[float, float]]) -> str:
    """The name beside a point, moved up or down to avoid others."""
    short = agent if len(agent) <= 22 else f"{agent[:21]}…"
    end = x > 0.68 * _WIDTH
    left = x - 7 * len(short) - 9 if end else x + 9
    reach = 14 * (2 * len(taken) + 1)  # a name covers at most two positions, and those below the axis are invalid
    offsets = sorted(range(-reach, reach + 1, 14), key=lambda offset: (abs(offset), offset))
    y = next(
        y + 4 + offset
        for offset in offsets
        if y + 4 + offset < _BOTTOM - 2 or offset < 0
        if not any(abs(y + 4 + offset - other) < 14 and abs(left - other_left) < 120 for other_left, other in taken)
    )
    taken.append((left, y))
    kind, beside = ("name end", x - 9) if end else ("name", x + 9)
    return f'<text class="{kind}" x="{beside:.1f}" y="{y:.1f}">{escape(short)}</text>'
