"""Are quoted uncertainties right? Pulls of the oracle against the truth: `python benchmarks/analysisops/pulls.py`

A pull is (what the oracle finds - what the data were made with) / the uncertainty that it quotes. Over many instances
its mean should be 0 and its width 1: wanted are 0 +- 0.15 and 1 +- 0.15, for all quantities together. What is quoted
with a band that is no uncertainty of a measurement (limits, and the number of tracks with its agreed tenth) is shown
apart.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean, median, stdev

import beampipe.terminal.scripts  # noqa: F401

from beampipe.analysisops.instances import prepare_instance
from beampipe.analysisops.tasks.load import shipped_task, shipped_tasks
from beampipe.terminal import make_table

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))  # both areas report in the same form
from measuring import CONSOLE, conditions, report

BANDS = ("limit", "n_tracks")
"""Answers whose uncertainty is a band by agreement."""

WANTED = 0.15


def pulls_of(name: str, seed: int) -> dict[str, float]:
    """The pull of each quantity of an instance, by family and quantity."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare_instance(shipped_task(name), seed, Path(folder))
    result = prepared.reference.quantities
    return {
        f"{name} {quantity}": (item.value - prepared.hidden.truth[quantity]) / item.uncertainty
        for quantity, item in result.items()
        if quantity in prepared.hidden.truth
    }


def summary(pulls: Sequence[float]) -> dict[str, float]:
    """Mean and width of pulls with their standard errors, and two figures that no tail moves."""
    n, width = len(pulls), stdev(pulls) if len(pulls) > 1 else math.nan
    inner = sorted(abs(pull - median(pulls)) for pull in pulls)[min(n - 1, round(0.6827 * n))]
    return {
        "n": n,
        "mean": fmean(pulls),
        "mean_error": width / n**0.5,
        "width": width,
        "width_error": width / (2 * max(n - 1, 1)) ** 0.5,
        "median": median(pulls),
        "inner_width": inner,
        "largest": max(map(abs, pulls)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=25, help="of each task")
    parser.add_argument("--first", type=int, default=5001, help="first seed")
    parser.add_argument("--task", action="append", default=[], help="only these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/analysisops/pulls.json"))
    options = parser.parse_args()
    begun = conditions("pulls of the oracle")
    names = [name for name in options.task or shipped_tasks() for _ in range(options.instances)]
    seeds = [options.first + number % options.instances for number in range(len(names))]
    result: dict[str, list[float]] = defaultdict(list)
    with ProcessPoolExecutor(options.workers) as pool:
        for pulls in pool.map(pulls_of, names, seeds):
            for quantity, pull in pulls.items():
                result[quantity].append(pull)
    measured = {name: pulls for name, pulls in result.items() if name.split()[1] not in BANDS}
    together = [pull for pulls in measured.values() for pull in pulls]
    rows = {name: summary(pulls) for name, pulls in sorted(measured.items())}
    rows["all together"] = summary(together)
    rows |= {f"({name})": summary(pulls) for name, pulls in sorted(result.items()) if name not in measured}
    shown = make_table(
        "Pulls", ["quantity"], ["instances", "mean", "width", "median", "inner 68 %", "largest", "within"]
    )
    for name, row in rows.items():
        good = abs(row["mean"]) <= WANTED and abs(row["width"] - 1.0) <= WANTED
        shown.add_row(
            name,
            str(row["n"]),
            f"{row['mean']:+.2f} +- {row['mean_error']:.2f}",
            f"{row['width']:.2f} +- {row['width_error']:.2f}",
            f"{row['median']:+.2f}",
            f"{row['inner_width']:.2f}",
            f"{row['largest']:.1f}",
            "" if name.startswith("(") else ("yes" if good else "no"),
        )
    CONSOLE.print(shown)
    body = {"instances": len(names), "pulls": result, "summary": rows}
    report(options.output, begun, {key: _plain(value) for key, value in body.items()})


def _plain(value: object) -> object:
    """JSON has no NaN, which a width of one instance is."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    main()
