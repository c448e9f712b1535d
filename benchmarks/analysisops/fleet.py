"""What operators of the running fleet score: `python benchmarks/analysisops/fleet.py`

Sound operators mend each cause in other ways than the reference: the lowest score should be at least 0.90. Operators
with a mistake (`tests/analysisops/tasks/fleet_operators.py`) should score in the order of what they spoil: rank
correlation (Spearman) of the scores at least 0.9 for each fault. Each attempt has a fleet of its own, of three Tritons.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

from scipy.stats import spearmanr

from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.instances import InstanceStore
from beampipe.analysisops.tasks.load import shipped_task
from beampipe.terminal import make_table

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))  # both areas report in the same form
from measuring import CONSOLE, conditions, report

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests are no package that is installed
from tests.analysisops.tasks.fleet_operators import MISTAKES, RANK, SOUND, Operator

_KINDS = ("sound", "mistake")
"""Sound operators, and operators with a mistake."""


def measured(folder: Path, seed: int, kind: str, name: str) -> dict[str, Any]:
    """Score of one operator in one attempt."""
    prepared = InstanceStore(folder).get(shipped_task("fleet"), seed)
    cause = prepared.hidden.words["cause"]
    operator = MISTAKES[name] if kind == "mistake" else Operator(SOUND[cause].get(name))
    with tempfile.TemporaryDirectory() as attempt:
        record = assess(prepared, 3, seed, ask_here(operator), Path(attempt))
    return {
        "kind": kind,
        "operator": name,
        "cause": cause,
        "seed": seed,
        "score": record.grade["final"]["normalized_score"],
        "shares": {check["id"]: check["evidence"]["fraction"] for check in record.grade["checks"]},
        "system": record.contents.get("system", {}),
        "error": record.error,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=7001, help="first seed")
    parser.add_argument("--causes", nargs="+", choices=list(SOUND), default=list(SOUND), help="only these faults")
    parser.add_argument("--kinds", nargs="+", choices=_KINDS, default=list(_KINDS), help="only these operators")
    parser.add_argument("--workers", type=int, default=1, help="fleets at once")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/analysisops/fleet.json"))
    options = parser.parse_args()
    begun = conditions("operators of a running fleet")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(options.workers) as pool:
        store = InstanceStore(Path(folder))
        seeds: dict[str, int] = {}
        for seed in range(options.first, options.first + 100):
            seeds.setdefault(store.get(shipped_task("fleet"), seed).hidden.words["cause"], seed)
        work = [
            (seeds[cause], kind, name)
            for cause in options.causes
            for kind in options.kinds
            for name in (MISTAKES if kind == "mistake" else ("as the reference", *SOUND[cause]))
        ]
        rows = []
        for row in pool.map(partial(measured, Path(folder)), *zip(*work, strict=True)):
            line = f"{row['cause']}: {row['kind']}: {row['operator']}: {row['score']:.3f} {row['error']}"
            CONSOLE.print(line, markup=False)
            rows.append(row)
    figures: dict[str, Any] = {}
    if sound := [row["score"] for row in rows if row["kind"] == "sound"]:
        figures["lowest_sound"] = min(sound)
        CONSOLE.print(f"lowest score of {len(sound)} sound operators: {min(sound):.3f}")
    if scores := {(row["cause"], row["operator"]): row["score"] for row in rows if row["kind"] == "mistake"}:
        table = make_table("Operators with a mistake", ["mistake"], ["rank", *options.causes])
        for name in MISTAKES:
            table.add_row(name, str(RANK[name]), *(f"{scores[cause, name]:.3f}" for cause in options.causes))
        figures["rank_correlations"] = {
            cause: float(spearmanr([scores[cause, name] for name in RANK], list(RANK.values())).statistic)
            for cause in options.causes
        }
        table.add_row("rank correlation", "", *(f"{value:.2f}" for value in figures["rank_correlations"].values()))
        CONSOLE.print(table)
    report(options.output, begun, {"results": rows, **figures})


if __name__ == "__main__":
    main()
