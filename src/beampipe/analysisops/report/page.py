"""One self-contained HTML page of a run: no network, nothing to install, and no code of an agent.

Text by agents is never markup: the templates escape it, and the scripts insert it as text. In addition, the Content
Security Policy of the page allows only its own script, by its digest, and no network address.

The page says where points were lost; prompts, calls and answers are in the logs of inspect_ai. Of an instance whose
references the page must not show, it has nothing but outcomes and scores.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Final, Literal

from markupsafe import Markup

from beampipe.analysisops.grading.provenance import LABELS
from beampipe.analysisops.grading.submission import number_of, read_submission
from beampipe.analysisops.runs.engine import RunFolder, result_line
from beampipe.analysisops.runs.statistics import PASSED, By, Score, Summary, difference, scores_of, summarise
from beampipe.errors import InputError
from beampipe.figures import html_templates
from beampipe.files import check_output, write_whole

if TYPE_CHECKING:
    from jinja2 import Environment


_TEXT: Final = 4000
"""Characters of a text that an agent or a check wrote."""


def detail_of(record: Mapping[str, Any], result: Mapping[str, Any], *, reference: bool) -> dict[str, Any]:
    """What the page shows of an opened assessment: errors, and where points were lost.

    Args:
        record: the record.
        result: its result, which may be more recent than the record.
        reference: whether to show the reference of the instance. If not, all that depends on its data is omitted, and
            points are rounded.

    Returns:
        JSON types, with shortened texts.
    """
    checks = []
    for check in result.get("checks", ()):
        evidence = dict(check.get("evidence") or {}) if reference else {}
        reason = evidence.pop("reason", "")
        points, most = number_of(check.get("points")), number_of(check.get("max_points"))
        if points and most and not reference:
            points = round(round(points / most, 2) * most, 4)
        checks.append(
            {
                "id": shortened(check.get("id", ""), 80),
                "type": shortened(check.get("type", ""), 80),
                "points": points,
                "max": most,
                "passed": bool(check.get("passed")),
                "reason": shortened(reason, 600),
                "evidence": [[shortened(key, 80), shortened(value, 300)] for key, value in evidence.items()],
            }
        )
    issues = [
        {
            "severity": shortened(issue.get("severity", ""), 20),
            "code": shortened(issue.get("code", ""), 80),
            "message": shortened(issue.get("message", "")) if reference else "",
        }
        for issue in result.get("issues", ())
    ]
    error = shortened(record["error"]) if reference else ""
    return {"shows_reference": reference, "error": error, "issues": issues, "checks": checks}


def shortened(value: object, most: int = _TEXT) -> str:
    """A text, cut after `most` characters with a note of how many are missing."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be written
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most} more characters)"


def labels_and_pulls(record: Mapping[str, Any], result: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    """For each submitted number the label of its origin, and its distance to the truth.

    The distance is in units of the quoted uncertainty: over many instances it has mean 0 and width 1 if uncertainties
    are honest. It is None without a truth or an uncertainty.
    """
    truth = ((record["reference"] or {}).get("instance") or {}).get("truth") or {}
    submission, origins = read_submission(record["submission"]), result.get("provenance") or {}
    found: list[tuple[str, float | None]] = []
    for name in submission.section("answers"):
        value, uncertainty = submission.answer(name)
        true, pull = number_of(truth.get(name)), None
        if value is None:
            continue
        if true is not None and uncertainty is not None and uncertainty > 0.0:
            pull = number_of((value - true) / uncertainty)
        found.append((shortened((origins.get(name) or {}).get("label", ""), 40), pull))
    return found


_COLOURS: Final = 8

References = Literal["development", "all", "none"]
"""The seeds whose references the page may show; those of development seeds are public."""


@dataclass(frozen=True)
class RunData:
    """The data of a run's page.

    Attributes:
        name: name of the run.
        assessments: assessments of the plan, as JSON.
        scores: scores and costs of each assessment that is done.
        missing: assessments that are not done, as JSON.
        rows: a short row of each that is done, in the order of `details`.
        details: details shown when a row is opened.
        origins: agent -> number of its numbers with each label.
        pulls: agent -> distances to the truth, in units of the quoted uncertainties, of instances with references.
        shown_references: number of rows that show their reference.
    """

    name: str
    assessments: Sequence[Mapping[str, Any]]
    scores: Sequence[Score]
    missing: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]
    details: Sequence[Mapping[str, Any]]
    origins: Mapping[str, Counter[str]]
    pulls: Mapping[str, Sequence[float]]
    shown_references: int

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents, the best first; those without results come last."""
        names = {assessment["agent"] for assessment in self.assessments}
        figures = self.by_agent
        return tuple(sorted(names, key=lambda name: (math.isnan(figures[name].mean), -figures[name].ranked, name)))

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Names of the families, in the plan's order."""
        return tuple(dict.fromkeys(str(assessment["family"]) for assessment in self.assessments))

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The levels."""
        return tuple(sorted({int(assessment["level"]) for assessment in self.assessments}))

    @cached_property
    def figures(self) -> dict[tuple[str | int, ...], Summary]:
        """Figures by ``(agent,)``, ``(agent, level)``, ``(agent, family)`` and ``(agent, family, level)``."""
        groups: tuple[tuple[By, ...], ...] = ((), ("level",), ("family",), ("family", "level"))
        every: dict[tuple[str | int, ...], Summary] = {}
        for group in groups:
            every |= summarise(self.scores, ("agent", *group), missing=self.missing)
        return every

    @cached_property
    def by_agent(self) -> dict[str, Summary]:
        """Figures of each agent over all levels and families."""
        return {str(key[0]): summary for key, summary in self.figures.items() if len(key) == 1}

    def colour(self, agent: str) -> int:
        """Number of the colour of an agent; more agents than colours share them."""
        return self.agents.index(agent) % _COLOURS

    def behind(self, agent: str) -> tuple[float, float | None]:
        """How far an agent is behind the first, on the same instances, with its error."""
        return difference(self.scores, self.agents[0], agent)


def read_run_data(folder: Path, references: References = "development") -> RunData:
    """Read a run.

    Results are those of the last grading. An assessment that is done but not among them keeps its original grade.

    Args:
        folder: folder of the run.
        references: the seeds whose references the page may show.

    Raises:
        FileError: the folder holds no run.
        InputError: no assessment of it is done yet.
    """
    run_folder = RunFolder(folder)
    assessments = run_folder.read_plan()
    graded = {line["key"]: line["result"] for line in run_folder.read_results()} if run_folder.results.exists() else {}
    lines, rows, details = [], [], []
    origins: dict[str, Counter[str]] = {}
    pulls: dict[str, list[float]] = {}
    for record in run_folder.records():
        line = result_line(record, record["grade"])
        line["result"] = graded.get(line["key"], line["result"])
        shows_reference = references == "all" or (references == "development" and not record["assessment"]["secret"])
        agent, numbers = record["assessment"]["agent"], labels_and_pulls(record, line["result"])
        origins.setdefault(agent, Counter()).update(label for label, _ in numbers)
        agent_pulls = [pull for _, pull in numbers if pull is not None]
        pulls.setdefault(agent, []).extend(agent_pulls if shows_reference else ())
        lines.append(line)
        details.append(detail_of(record, line["result"], reference=shows_reference))
        labels = [label for label, _ in numbers if label in LABELS]
        rows.append({"shows_reference": shows_reference, "worst": max(labels, key=LABELS.index, default="")})
    if not lines:
        raise InputError(f"{folder}: got a run of which nothing is done yet, expected at least one assessment")
    # Few digits, so that scores do not locate a hidden reference.
    scores = [
        score if row["shows_reference"] else replace(score, value=round(score.value, 2))
        for score, row in zip(scores_of(lines), rows, strict=True)
    ]
    for line, score, row in zip(lines, scores, rows, strict=True):
        most, share = number_of(line["result"]["final"].get("max_score")), round(score.value, 4)
        row |= {
            "key": line["key"][:12],
            "agent": score.agent,
            "family": score.family,
            "task": score.task_id,
            "level": score.level,
            "seed": score.seed,
            "epoch": score.epoch,
            "status": score.status,
            "score": share,
            "points": [None if most is None else round(share * most, 4), most],
            "judge": score.judge,
            "seconds": score.seconds,
            "tokens": score.tokens,
            "cost": score.cost,
            "calls": score.tool_calls,
        }
    with_reference = sum(bool(row["shows_reference"]) for row in rows)
    return RunData(
        folder.resolve().name, assessments, scores, run_folder.missing(), rows, details, origins, pulls, with_reference
    )


_SCRIPTS: Final = ("elements.js", "detail.js", "list.js")
"""Parts of the page's script, in the order in which they are joined."""

_EDGE: Final = 5.0
"""Larger pulls are counted at the edges."""

_PULL_BINS: Final = 20
_FEWEST: Final = 10
"""Minimum number of pulls: fewer show no distribution, and could reveal the truth of an instance."""


def write_report(folder: Path, output: Path, *, references: References = "development", title: str = "") -> Path:
    """Write the page of a run.

    Args:
        folder: folder of the run.
        output: the HTML file to write.
        references: the seeds of which the page shows more than outcomes and scores, such as references and pulls:
            development seeds, all, or none. A published page reveals them to agents, too.
        title: heading of the page; by default the name of the folder.

    Returns:
        The file.

    Raises:
        FileError: the folder holds no run, or the file cannot be written.
        InputError: no assessment of the run is done yet.
    """
    check_output(output, parents=True)
    run = read_run_data(folder, references)
    web = files("beampipe.analysisops.report") / "web"
    css = (web / "page.css").read_text(encoding="utf-8")
    scripts = "\n".join((web / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    js = f'(() => {{\n"use strict";\n{scripts}}})();'
    numbers = {
        "agent": len(run.agents),
        "task": len({assessment["task_id"] for assessment in run.assessments}),
        "level": len(run.levels),
        "seed": len({score.seed for score in run.scores}),
        "epoch": len({score.epoch for score in run.scores}),
    }
    lead = ", ".join(_some(number, what) for what, number in numbers.items())
    rows = [{**row, "colour": run.colour(row["agent"])} for row in run.rows]
    text = (
        templates()
        .get_template("page.html")
        .render(
            run=run,
            policy=(
                f"default-src 'none'; img-src data:; style-src '{_digest(css)}'; script-src '{_digest(js)}';"
                " base-uri 'none'; form-action 'none'"
            ),
            title=title or f"Analysis tasks: {run.name}",
            css=Markup(css),
            js=Markup(js),
            lead=f"{lead}: {count(len(run.scores))} of {_some(len(run.assessments), 'assessment')} are done.",
            notices=_notices(run),
            labels=LABELS,
            passed=f"{PASSED:g}",
            # JSON that cannot close the HTML element around it.
            rows=Markup(_compact(rows).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")),
            details=base64.b64encode(gzip.compress(_compact(run.details).encode(), mtime=0)).decode(),
        )
    )
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


def _compact(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def pull_plot(run: RunData, agent: str) -> dict[str, Any]:
    """What the plot of an agent's pulls shows: its numbers against the truth, in units of its quoted uncertainties.

    Returns:
        Number of pulls ``n``, whether they are ``enough``, ``counts`` in bins from -5 to 5, the ``normal`` distribution
        as pairs of x and expected count, the ``highest`` of both, and a ``caption``.
    """
    pulls = run.pulls.get(agent, ())
    inside_edges = [pull for pull in pulls if abs(pull) <= _EDGE]
    counts = [0] * _PULL_BINS
    for pull in inside_edges:
        counts[min(_PULL_BINS - 1, int((pull + _EDGE) / (2 * _EDGE) * _PULL_BINS))] += 1
    peak = len(pulls) * 2 * _EDGE / _PULL_BINS / math.sqrt(2 * math.pi)
    normal = [(x, peak * math.exp(-x * x / 2)) for x in (-_EDGE + 0.1 * index for index in range(int(20 * _EDGE) + 1))]
    caption = f"{len(pulls)} numbers, {len(pulls) - len(inside_edges) or 'none'} beyond ± {_EDGE:g}"
    if len(inside_edges) > 1:
        mean = f"{fmean(inside_edges):.2f}".replace("-", "−")
        caption = f"mean {mean}, width {stdev(inside_edges):.2f}; {caption}"
    highest, enough = max(*counts, peak, 1e-9), len(pulls) >= _FEWEST
    return {
        "n": len(pulls),
        "enough": enough,
        "counts": counts,
        "normal": normal,
        "highest": highest,
        "caption": caption,
    }


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
