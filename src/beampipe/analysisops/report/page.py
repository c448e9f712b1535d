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
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from beampipe.analysisops.grading.provenance import LABELS
from beampipe.analysisops.report.formatting import cost, count, duration, score, shade, with_error
from beampipe.analysisops.report.plots import AXES, price_plot, pull_plot
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
    environment.globals |= {"nan": math.nan, "price_plot": price_plot, "pull_plot": pull_plot}
    return environment


def _page(run: RunData, title: str) -> str:
    from markupsafe import Markup

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
            axes=AXES,
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
