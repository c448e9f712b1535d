"""The figures of the page, as SVG whose colours the page's style chooses: light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from statistics import fmean, stdev
from typing import Final

from beampipe.analysisops.grading.provenance import LABELS
from beampipe.analysisops.report.run_data import RunData
from beampipe.analysisops.report.tables import COLOURS, cost, count, duration, swatch, with_error
from beampipe.analysisops.runs import Summary

__all__ = ["AXES", "origins", "price_plot", "pull_plots"]

AXES: Final[dict[str, tuple[str, Callable[[Summary], float | None], Callable[[float], str]]]] = {
    "cost": (
        "Mean cost of an assessment [USD]",
        lambda one: None if one.cost_unknown else one.cost / max(1, one.assessments),
        cost,
    ),
    "tokens": (
        "Mean number of tokens",
        lambda one: None if one.tokens_unknown else one.tokens / max(1, one.assessments),
        count,
    ),
    "seconds": ("Mean time of an assessment", lambda one: one.seconds / max(1, one.assessments), duration),
    "calls": ("Mean number of tool calls", lambda one: one.tool_calls / max(1, one.assessments), count),
}
"""What scores are drawn against -> label of the axis, its value for an agent (None if not known), its text."""

_WIDTH, _HEIGHT = 520, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 504.0, 14.0, 274.0
_EDGE: Final = 5.0
"""Pulls beyond are counted at the edges."""

_BINS: Final = 20
_FEWEST: Final = 10
"""Fewer pulls than these show no distribution, and could tell one instance's truth."""


def price_plot(run: RunData, axis: str) -> str:
    """Score against what it took: a point with its error for each agent, and the line that nobody is above."""
    label, of, text = AXES[axis]
    known = [
        (agent, value, one)
        for agent, one in run.by_agent.items()
        if not math.isnan(one.mean) and (value := of(one)) is not None
    ]
    lacking = [agent for agent in run.agents if agent not in {name for name, _, _ in known}]
    note = f'<p class="soft">Not known: {escape(", ".join(lacking))}</p>' if lacking else ""
    if not known:
        return f'<p class="empty">No agent tells this.</p>{note}'
    place = _scale([value for _, value, _ in known])
    inside = [*_frame(label), *_ticks_down(), *_ticks_along([value for _, value, _ in known], place, text)]
    inside += [f'<path class="frontier" d="{_frontier(known, place)}"/>']
    taken: list[tuple[float, float]] = []
    for agent, value, one in sorted(known, key=lambda item: -item[2].mean):
        inside.append(
            _point(run, agent, place(value), one, f"{agent}: {with_error(one.mean, one.error)}, {text(value)}")
        )
        inside.append(_name(agent, place(value), _down(one.mean), taken))
    return _svg(f"Score against {label.lower()}", inside) + note


def pull_plots(run: RunData) -> str:
    """For each agent how far its numbers are from the truth, in units of the uncertainties that it quoted."""
    parts = []
    for agent in run.agents:
        pulls = run.pulls.get(agent, ())
        plot = _pull_plot(agent, pulls, run.agents.index(agent) % COLOURS)
        parts.append(f'<figure class="small"><h4>{swatch(run, agent)} {escape(agent)}</h4>{plot}</figure>')
    return "".join(parts)


def origins(run: RunData) -> str:
    """For each agent how many of its numbers come from where."""
    rows = []
    for agent in run.agents:
        counts: Mapping[str, int] = run.origins.get(agent, {})
        total = sum(counts.values())
        name = f'<th scope="row">{swatch(run, agent)} {escape(agent)}</th>'
        if not total:
            rows.append(f'<tr>{name}<td class="soft">no numbers were submitted</td></tr>')
            continue
        left, bars, said = 0.0, [], []
        for place, label in enumerate((*LABELS, "")):
            number = counts.get(label, 0)
            width = 100 * number / total
            words = label.replace("_", " ") or "without a label"
            if number:
                bars.append(f'<rect class="o{place}" x="{left:.2f}" width="{width:.2f}" height="10"/>')
                said.append(f'<span><i class="dot o{place}"></i> {words} {number}</span>')
            left += width
        svg = f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{"".join(bars)}</svg>'
        rows.append(f'<tr>{name}<td>{svg}<p class="legend">{"".join(said)}</p></td></tr>')
    return f'<table class="origins"><tbody>{"".join(rows)}</tbody></table>'


def _svg(title: str, inside: Sequence[str], width: int = _WIDTH, height: int = _HEIGHT) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>'
        f"{''.join(inside)}</svg>"
    )


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    """Where a value lies along the axis: by its logarithm if values differ much, nothing at the left."""
    positive = [value for value in values if value > 0]
    if not positive or max(positive) < 8 * min(positive):
        most = 1.15 * max(values) or 1.0
        return lambda value: _LEFT + 14 + (_RIGHT - _LEFT - 14) * value / most
    low, high = math.log10(min(positive)) - 0.25, math.log10(max(positive)) + 0.25
    start = _LEFT + (40.0 if len(positive) < len(values) else 0.0)

    def place(value: float) -> float:
        return _LEFT + 14 if value <= 0 else start + (_RIGHT - start) * (math.log10(value) - low) / (high - low)

    return place


def _down(value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * value


def _frame(label: str) -> Iterator[str]:
    yield f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>'
    yield f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 12}" class="middle">{escape(label)}</text>'


def _ticks_down() -> Iterator[str]:
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _down(value)
        yield f'<path class="rule" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
        yield f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" class="end">{value:g}</text>'


def _ticks_along(
    values: Sequence[float], place: Callable[[float], float], text: Callable[[float], str]
) -> Iterator[str]:
    """A tick at each round value that has room."""
    most = max(values) or 1.0
    low = min((value for value in values if value > 0), default=1.0)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(most)) + 1)
    wanted = [0.0, *(factor * 10.0**power for power in powers for factor in (1, 2, 5))]
    last = -math.inf
    for value in wanted:
        x = place(value)
        if _LEFT <= x <= _RIGHT and x - last > 58 and (value > 0 or min(values) <= 0 or x < _LEFT + 15):
            last = x
            yield f'<path class="axis" d="M{x:.1f} {_BOTTOM}v4"/>'
            yield f'<text x="{x:.1f}" y="{_BOTTOM + 19}" class="middle">{escape(text(value))}</text>'


def _frontier(known: Sequence[tuple[str, float, Summary]], place: Callable[[float], float]) -> str:
    """A step line through those whom nobody beats for less."""
    best, path = -1.0, ""
    for _, value, one in sorted(known, key=lambda item: (item[1], -item[2].mean)):
        if one.mean > best:
            x, y = place(value), _down(one.mean)
            path += f"M{x:.1f} {y:.1f}" if not path else f"H{x:.1f}V{y:.1f}"
            best = one.mean
    return f"{path}H{_RIGHT}"


def _point(run: RunData, agent: str, x: float, one: Summary, title: str) -> str:
    y, colour = _down(one.mean), f"a{run.agents.index(agent) % COLOURS}"
    bar = ""
    if one.error:
        top, bottom = _down(min(1.0, one.mean + one.error)), _down(max(0.0, one.mean - one.error))
        bar = f'<path class="error {colour}" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>'
    return f'<g>{bar}<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="5"/><title>{escape(title)}</title></g>'


def _name(agent: str, x: float, y: float, taken: list[tuple[float, float]]) -> str:
    """The name beside a point, moved up or down where another stands."""
    short = agent if len(agent) <= 22 else f"{agent[:21]}…"
    end = x > 0.68 * _WIDTH
    left = x - 7 * len(short) - 9 if end else x + 9
    reach = 14 * (2 * len(taken) + 1)  # a name takes at most two of the places, and those below the axis are none
    offsets = sorted(range(-reach, reach + 1, 14), key=lambda offset: (abs(offset), offset))
    y = next(
        y + 4 + offset
        for offset in offsets
        if y + 4 + offset < _BOTTOM - 2 or offset < 0
        if not any(abs(y + 4 + offset - other) < 14 and abs(left - place) < 120 for place, other in taken)
    )
    taken.append((left, y))
    kind, beside = ("name end", x - 9) if end else ("name", x + 9)
    return f'<text class="{kind}" x="{beside:.1f}" y="{y:.1f}">{escape(short)}</text>'


def _pull_plot(agent: str, pulls: Sequence[float], colour: int) -> str:
    if len(pulls) < _FEWEST:
        return f'<p class="empty">{len(pulls)} numbers with uncertainties: too few for a distribution.</p>'
    width, height, base, side = 300, 150, 120, 12
    counts = [0] * _BINS
    inside_edges = [pull for pull in pulls if abs(pull) <= _EDGE]
    for pull in inside_edges:
        counts[min(_BINS - 1, int((pull + _EDGE) / (2 * _EDGE) * _BINS))] += 1
    step = (width - 2 * side) / _BINS
    normal = len(pulls) * 2 * _EDGE / _BINS / math.sqrt(2 * math.pi)
    unit = (base - 8) / max(*counts, normal)
    bars = "".join(
        f'<rect class="a{colour}" x="{side + place * step + 0.5:.1f}" y="{base - unit * number:.1f}"'
        f' width="{step - 1:.1f}" height="{unit * number:.1f}"/>'
        for place, number in enumerate(counts)
    )
    across = (width - 2 * side) / (2 * _EDGE)
    points = [
        (side + (x + _EDGE) * across, base - unit * normal * math.exp(-x * x / 2))
        for x in (-_EDGE + 0.1 * place for place in range(int(20 * _EDGE) + 1))
    ]
    curve = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    ticks = "".join(
        f'<text class="middle" x="{side + (x + _EDGE) * across:.1f}" y="{base + 15}">{x}</text>'
        for x in (-4, -2, 0, 2, 4)
    )
    beyond = len(pulls) - len(inside_edges)
    told = f"{len(pulls)} numbers, {beyond or 'none'} beyond ± {_EDGE:g}"
    if len(inside_edges) > 1:
        mean = f"{fmean(inside_edges):.2f}".replace("-", "−")
        told = f"mean {mean}, width {stdev(inside_edges):.2f}; {told}"
    axis = f'<path class="axis" d="M{side} {base}H{width - side}"/>'
    svg = _svg(f"Pulls of {agent}: {told}", [bars, axis, f'<path class="normal" d="{curve}"/>', ticks], width, height)
    return f'{svg}<figcaption class="soft">{told}</figcaption>'
