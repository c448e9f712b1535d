"""One self-contained HTML page of a run: no network, nothing to install, and no code of an agent.

Text by agents is never markup: the templates escape it, and the scripts insert it as text. In addition, the Content
Security Policy of the page allows only its own script, by its digest, and no network address.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from beampipe.analysisops.grading.provenance import LABELS
from beampipe.analysisops.report.run_data import References, RunData, plain, read_run_data
from beampipe.analysisops.runs.statistics import PASSED
from beampipe.figures import html_templates
from beampipe.files import check_output, write_whole

if TYPE_CHECKING:
    from jinja2 import Environment

_SCRIPTS: Final = ("elements.js", "detail.js", "list.js")
"""Parts of the page's script, in the order in which they are joined."""

_CHUNK_SIZE: Final = 24
"""Number of details that are compressed together: more compress better, fewer open faster."""

_EDGE: Final = 5.0
"""Larger pulls are counted at the edges."""

_BINS: Final = 20
_FEWEST: Final = 10
"""Minimum number of pulls: fewer show no distribution, and could reveal the truth of an instance."""


def write_report(folder: Path, output: Path, *, references: References = "development", title: str = "") -> Path:
    """Write the page of a run.

    Args:
        folder: folder of the run.
        output: the HTML file to write.
        references: the seeds whose references, pulls and evidence the page shows: development seeds, all, or none. A
            published page reveals them to agents, too.
        title: heading of the page; by default the name of the folder.

    Returns:
        The file.

    Raises:
        FileError: the folder holds no run, or the file cannot be written.
        InputError: no assessment of the run is done yet.
    """
    check_output(output, parents=True)
    run = read_run_data(folder, references)
    text = _page(run, title or f"Analysis tasks: {run.name}")
    return write_whole(output, lambda part: part.write_text(text, encoding="utf-8", errors="replace"))


@cache
def templates() -> Environment:
    """The templates of the page, which escape what is inserted."""
    from jinja2 import PackageLoader

    environment = html_templates(PackageLoader("beampipe.analysisops.report", "web"))
    environment.filters |= {
        function.__name__: function for function in (cost, count, duration, score, shade, with_error)
    }
    environment.tests["nan"] = math.isnan
    environment.globals |= {"nan": math.nan, "pull_plot": pull_plot}
    return environment


def _page(run: RunData, title: str) -> str:
    web = files("beampipe.analysisops.report") / "web"
    css = (web / "page.css").read_text(encoding="utf-8")
    scripts = "\n".join((web / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    js = f'(() => {{\n"use strict";\n{scripts}}})();'
    rows = [{**row, "colour": run.colour(row["agent"])} for row in run.rows]
    return (
        templates()
        .get_template("page.html")
        .render(
            run=run,
            policy=(
                f"default-src 'none'; img-src data:; style-src '{_digest(css)}'; script-src '{_digest(js)}';"
                " base-uri 'none'; form-action 'none'"
            ),
            title=title,
            css=Markup(css),
            js=Markup(js),
            lead=_lead(run),
            notices=_notices(run),
            labels=LABELS,
            passed=f"{PASSED:g}",
            # JSON that cannot close the HTML element around it.
            rows=Markup(_json(rows).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")),
            chunk_size=_CHUNK_SIZE,
            chunks=[
                base64.b64encode(
                    gzip.compress(_json(run.details[start : start + _CHUNK_SIZE]).encode(), mtime=0)
                ).decode()
                for start in range(0, len(run.details), _CHUNK_SIZE)
            ],
        )
    )


def _lead(run: RunData) -> str:
    seeds = len({score.seed for score in run.scores})
    epochs = len({score.epoch for score in run.scores})
    numbers = [
        _some(len(run.agents), "agent"),
        _some(len({assessment["task_id"] for assessment in run.assessments}), "task"),
        _some(len(run.levels), "level"),
        _some(seeds, "seed"),
        _some(epochs, "epoch"),
    ]
    return f"{', '.join(numbers)}: {count(len(run.scores))} of {_some(len(run.assessments), 'assessment')} are done."


def _some(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


def _notices(run: RunData) -> Iterator[tuple[str, str]]:
    """Kind and text of warnings about the numbers."""
    if run.missing:
        yield (
            "bad",
            f"{_some(len(run.missing), 'assessment')} are missing: not done yet, not planned for this agent but for "
            "others, or the host failed. They are in no mean, and count as 0 in the order of agents. Run the same plan "
            "for all agents to do them.",
        )
    errors = sum(score.status == "error" for score in run.scores)
    if errors:
        yield ("wait", f"{_some(errors, 'assessment')} ended with an agent's failure and count as 0.")
    public = sum(not assessment["secret"] for assessment in run.assessments)
    if public:
        yield (
            "wait",
            "Development seeds: everybody can make these instances, and tune an agent on them. For a claim, evaluate "
            "with secret seeds.",
        )
    else:
        marks = ", ".join(sorted({assessment["secret"] for assessment in run.assessments}))
        where = "in this page" if run.shown_references else "not in this page"
        yield ("good", f"Secret seeds, fingerprint {marks}. Their references are {where}.")


def _json(value: object) -> str:
    return json.dumps(plain(value), allow_nan=False, separators=(",", ":"))


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


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
    title = escape(f"Pulls of {agent}: {caption}")
    return Markup(
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img"><title>{title}</title>{bars}{axis}'
        f'<path class="normal" d="{curve}"/>{ticks}</svg><figcaption class="soft">{caption}</figcaption>'
    )


def score(value: float) -> str:
    """A normalised score; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def with_error(value: float, error: float | None) -> str:
    """A score with its standard error; a question mark if the error is unknown.

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


def shade(value: float) -> str:
    """The class of the colour for a score.

    >>> shade(0.0), shade(0.949), shade(1.0), shade(math.nan)
    ('h0', 'h9', 'h10', 'h-none')
    """
    return "h-none" if math.isnan(value) else f"h{math.floor(10 * value + 1e-9)}"
