"""What sound analyses other than the reference's score: `python benchmarks/analysisops/valid.py`

The reference analysis of each task with a fit is repeated with another background, line shape, window or binning, and
for `zmumu`, whose question names no cut, with other cuts. It is sound if the data agree with each fit (p of at least
0.01). The lowest score of sound analyses should be at least 0.90, and 95 % of them should score 0.95. The spread of an
answer is the standard deviation of its distances to the reference, in units of the reference's uncertainty.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import pstdev
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.instances import InstanceStore, oracle_of
from beampipe.analysisops.tasks.load import shipped_task
from beampipe.terminal import make_table

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))  # both areas report in the same form
from measuring import CONSOLE, conditions, report

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests are no package that is installed
from tests.analysisops.tasks.sound_analyses import CUTS, FITS, FITS_OF, FITTED, VariedAgent

SOUND: Final = 0.01
"""Smallest p value of the fits of a sound analysis."""


def measured(folder: Path, name: str, seed: int, variation: str) -> dict[str, Any]:
    """Score and pulls to the reference of one analysis."""
    prepared = InstanceStore(folder).get(shipped_task(name), seed)
    agent = VariedAgent(oracle_of(prepared.task, prepared.hidden), {**FITS, **CUTS}[variation])
    with tempfile.TemporaryDirectory() as ledger:
        record = assess(prepared, 3, seed, ask_here(agent), Path(ledger))
    grade = record.grade
    fits = [call.result for call in record.ledger if call.tool in FITS_OF and call.result]
    quantities = prepared.reference.quantities
    return {
        "task": name,
        "seed": seed,
        "variation": variation,
        "score": grade["final"]["normalized_score"],
        "status": grade["status"],
        "p_value": min((fit["p_value"] for fit in fits if fit.get("p_value") is not None), default=None),
        "issues": [issue["message"] for issue in grade["issues"]],
        "shares": {check["id"]: check["evidence"]["fraction"] for check in grade["checks"]},
        "pulls": {
            answer: (origin["number"] - quantities[answer].value) / quantities[answer].uncertainty
            for answer, origin in grade["provenance"].items()
            if origin["number"] is not None
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=5, help="of each task")
    parser.add_argument("--first", type=int, default=7001, help="first seed")
    parser.add_argument("--task", action="append", default=[], help="only these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/bench/analysisops/instances"))
    parser.add_argument("--output", type=Path, default=Path("runs/bench/analysisops/valid.json"))
    options = parser.parse_args()
    begun = conditions("sound analyses")
    work = [
        (name, options.first + instance, variation)
        for name in options.task or FITTED
        for instance in range(options.instances)
        for variation in ({**FITS, **CUTS} if name == "zmumu" else FITS)
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        results = list(pool.map(partial(measured, options.folder), *zip(*work, strict=True)))
    table = make_table("Sound analyses", ["task"], ["analyses", "lowest", "by", "from 0.95 on", "spread [u]"])
    for name in options.task or FITTED:
        rows = [row for row in results if row["task"] == name and (row["p_value"] is None or row["p_value"] >= SOUND)]
        lowest = min(rows, key=lambda row: row["score"])
        spread = {
            answer: pstdev(row["pulls"][answer] for row in rows if answer in row["pulls"]) for answer in lowest["pulls"]
        }
        table.add_row(
            name,
            str(len(rows)),
            f"{lowest['score']:.3f}",
            lowest["variation"],
            f"{sum(row['score'] >= 0.95 for row in rows) / len(rows):.0%}",
            ", ".join(f"{answer} {value:.2f}" for answer, value in spread.items()),
        )
    CONSOLE.print(table)
    report(options.output, begun, {"results": results})


if __name__ == "__main__":
    main()
