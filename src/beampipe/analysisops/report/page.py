"""One HTML page of a run that needs nothing else: no network, nothing to install, and nothing of an agent's runs in it.

What agents wrote is data of the page, never its markup: tables are escaped here, and the scripts make text of the rest.
Beside that the page's own policy forbids any script but its own, by its digest, and any address but none.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.grading.provenance import LABELS
from beampipe.analysisops.report.plots import AXES, origins, price_plot, pull_plots
from beampipe.analysisops.report.run_data import References, RunData, plain, read_run_data
from beampipe.analysisops.report.tables import COLOURS, cost, count, duration, families, leaderboard
from beampipe.analysisops.runs import PASSED
from beampipe.files import check_output, write_whole

__all__ = ["write_report"]

_SCRIPTS: Final = ("elements.js", "detail.js", "list.js")
"""Parts of the page's script, in the order in which they are joined."""

_TOGETHER: Final = 24
"""Details that are packed together: more pack better, fewer open sooner."""

_AXIS_NAMES: Final = {"cost": "Cost", "tokens": "Tokens", "seconds": "Time", "calls": "Tool calls"}

_ORIGINS: Final = {
    "traceable": "a tool computed it from data files, by steps that the ledger holds",
    "partially": "the same, but some input, or its uncertainty, cannot be traced",
    "copied": "it stands in the prompt or in tables that everybody knows, and no tool gave it",
    "computed_from_nothing": "a tool gave it, from numbers that the agent made up",
    "fabricated": "nothing in the ledger gives it",
}

_DEFINITIONS: Final = (
    ("Levels", "how much an agent is told: 1 how to do it, 2 what to do, 3 only the question."),
    ("Score", "points of the rules over their maximum. A gate that does not hold, and an agent that fails, give 0."),
    (
        "Mean",
        "over tasks, each with the same weight, of the mean over seeds; a seed's value is the mean over its levels and "
        "epochs. What is missing is not in it, and is counted.",
    ),
    (
        "± error",
        "standard error by bootstrap over seeds: levels and epochs of a seed share its data, so they are not "
        "independent. A question mark: one seed tells no error.",
    ),
    (
        "Behind the first",
        "mean difference on the instances that both were asked about. What is hard for both cancels, so the error is "
        "smaller than those of the means.",
    ),
    (
        "Passes",
        f"the probability that 1, 2, 3 … epochs of the same instance all reach {PASSED:g} (pass^k).",
    ),
    (
        "Cost, tokens",
        "what agents tell of themselves; time and calls of tools are measured by the host. A question mark: not told.",
    ),
    (
        "Judge",
        "what a judge says of the words, beside the score. What it could not judge is unscored, not 0.",
    ),
    (
        "Reference",
        "what the best analysis of the very same data finds. The distance to it says how good the analysis is, and is "
        "near 0 for a perfect one.",
    ),
    (
        "Pull to truth",
        "(submitted − true) / quoted uncertainty. Over many instances it has mean 0 and width 1 if uncertainties are "
        "honest.",
    ),
)


def write_report(folder: Path, output: Path, *, references: References = "development", title: str = "") -> Path:
    """Write the page of a run.

    Args:
        folder: folder of the run.
        output: the HTML file to write.
        references: of which seeds the page tells references, pulls and evidence: those of development seeds, all, or
            none. Who publishes the page tells them to everybody, agents too.
        title: heading of the page; by default the name of the folder.

    Returns:
        The file.

    Raises:
        FileError: the folder holds no run, or the file cannot be written.
        InputError: nothing of the run is done yet.
    """
    check_output(output, parents=True)
    run = read_run_data(folder, references)
    text = _page(run, title or f"Analysis tasks: {run.name}")
    return write_whole(output, lambda part: part.write_text(text, encoding="utf-8", errors="replace"))


def _page(run: RunData, title: str) -> str:
    page = files("beampipe.analysisops.report") / "web"
    css = (page / "page.css").read_text(encoding="utf-8")
    scripts = "\n".join((page / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    js = f'(() => {{\n"use strict";\n{scripts}}})();'
    parts = {
        "policy": (
            f"default-src 'none'; img-src data:; style-src '{_digest(css)}'; script-src '{_digest(js)}';"
            " base-uri 'none'; form-action 'none'"
        ),
        "title": escape(title),
        "css": css,
        "lead": escape(_lead(run)),
        "notices": "".join(_notices(run)),
        "leaderboard": leaderboard(run),
        "families": families(run),
        "levels": ", ".join(map(str, run.levels)),
        "axes": _axes(),
        "prices": _prices(run),
        "origins": origins(run),
        "pulls": pull_plots(run),
        "definitions": _definitions(),
        "footer": escape(_footer(run)),
        "rows": _json(_rows(run)),
        "chunks": "\n".join(_chunks(run.details)),
        "js": js,
    }
    pieces = (page / "page.html").read_text(encoding="utf-8").split("{{")
    # One pass: what is filled in is never looked at again, so no agent can name another part.
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def _lead(run: RunData) -> str:
    seeds = len({score.seed for score in run.scores})
    epochs = len({score.epoch for score in run.scores})
    numbers = [
        _some(len(run.agents), "agent"),
        _some(len({one["task_id"] for one in run.assessments}), "task"),
        _some(len(run.levels), "level"),
        _some(seeds, "seed"),
        _some(epochs, "epoch"),
    ]
    return f"{', '.join(numbers)}: {count(len(run.scores))} of {_some(len(run.assessments), 'assessment')} are done."


def _some(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


def _notices(run: RunData) -> Iterator[str]:
    """What somebody must know before believing a number."""
    if run.missing:
        yield _notice(
            "bad",
            f"{_some(len(run.missing), 'assessment')} of the plan are missing: not done yet, or the host failed. They "
            "are in no mean. Run the same plan again to do them.",
        )
    errors = sum(score.status == "error" for score in run.scores)
    if errors:
        yield _notice("wait", f"{_some(errors, 'assessment')} ended with an agent's failure and count as 0.")
    public = sum(not one["secret"] for one in run.assessments)
    if public:
        yield _notice(
            "wait",
            "Development seeds: everybody can make these instances, and tune an agent on them. For a claim, evaluate "
            "with secret seeds.",
        )
    else:
        marks = ", ".join(sorted({one["secret"] for one in run.assessments}))
        told = "in this page" if run.told else "not in this page"
        yield _notice("good", f"Secret seeds, fingerprint {marks}. Their references are {told}.")


def _notice(kind: str, text: str) -> str:
    return f'<p class="notice {kind}">{escape(text)}</p>'


def _axes() -> str:
    return "".join(
        f'<button type="button" role="radio" data-axis="{axis}" aria-checked="{str(place == 0).lower()}">'
        f"{_AXIS_NAMES[axis]}</button>"
        for place, axis in enumerate(AXES)
    )


def _prices(run: RunData) -> str:
    return "".join(
        f'<div data-axis="{axis}"{"" if place == 0 else " hidden"}>{price_plot(run, axis)}</div>'
        for place, axis in enumerate(AXES)
    )


def _definitions() -> str:
    names = [(label.replace("_", " ").capitalize(), _ORIGINS[label]) for label in LABELS]
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in (*_DEFINITIONS, *names))


def _footer(run: RunData) -> str:
    spent = [one for one in run.by_agent.values() if one.assessments]
    tokens, money = sum(one.tokens for one in spent), math.fsum(one.cost for one in spent)
    seconds = math.fsum(one.seconds for one in spent)
    return (
        f"Altogether {duration(seconds)} of agents' time, {count(tokens)} known tokens, {cost(money)} of known cost. "
        "Made by beampipe; the records are in the run's folder, and can be graded again."
    )


def _rows(run: RunData) -> list[dict[str, Any]]:
    return [{**row, "colour": run.agents.index(row["agent"]) % COLOURS} for row in run.rows]


def _chunks(details: Sequence[Any]) -> Iterator[str]:
    """Details, some together, packed: a browser unpacks them without help."""
    for start in range(0, len(details), _TOGETHER):
        text = json.dumps(plain(details[start : start + _TOGETHER]), allow_nan=False, separators=(",", ":"))
        packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
        yield f'<script type="text/plain" class="chunk" data-size="{_TOGETHER}">{packed}</script>'


def _json(value: object) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(plain(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
