"""What operators of the running fleet score: `python benchmarks/analysisops/fleet.py`

Sound operators mend each cause in other ways than the reference: the lowest score should be at least 0.90. Operators
with a mistake (`tests/analysisops/tasks/fleet_operators.py`) should score in the order of what they spoil: rank
correlation (Spearman) of the mean scores at least 0.9. Each attempt has a fleet of its own, of three Tritons.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
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


def measured(store: InstanceStore, seed: int, kind: str, name: str, operator: Operator) -> dict[str, Any]:
    """Score of one operator in one attempt."""
    prepared = store.get(shipped_task("fleet"), seed)
    with tempfile.TemporaryDirectory() as folder:
        record = assess(prepared, 3, seed, ask_here(operator), Path(folder))
    row = {
        "kind": kind,
        "operator": name,
        "cause": prepared.hidden.words["cause"],
        "seed": seed,
        "score": record.grade["final"]["normalized_score"],
        "shares": {check["id"]: check["evidence"]["fraction"] for check in record.grade["checks"]},
        "system": record.contents.get("system", {}),
        "error": record.error,
    }
    CONSOLE.print(f"{row['cause']}: {kind}: {name}: {row['score']:.3f} {record.error}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=7001, help="first seed")
    parser.add_argument("--mistakes-of", action="append", default=[], help="causes for operators with a mistake")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/analysisops/fleet.json"))
    options = parser.parse_args()
    begun = conditions("operators of a running fleet")
    rows = []
    with ExitStack() as opened:
        store = InstanceStore(Path(opened.enter_context(tempfile.TemporaryDirectory())))
        seeds: dict[str, int] = {}
        for seed in range(options.first, options.first + 100):
            seeds.setdefault(store.get(shipped_task("fleet"), seed).hidden.words["cause"], seed)
        for cause, repairs in SOUND.items():
            sound = {"as the reference": Operator(), **{name: Operator(repair) for name, repair in repairs.items()}}
            rows += [measured(store, seeds[cause], "sound", name, operator) for name, operator in sound.items()]
        for cause in options.mistakes_of or SOUND:
            rows += [measured(store, seeds[cause], "mistake", name, operator) for name, operator in MISTAKES.items()]
    scores = defaultdict(list)
    for row in rows:
        scores[row["kind"], row["operator"]].append(row["score"])
    means = {name: fmean(scores["mistake", name]) for name in MISTAKES}
    correlation = float(spearmanr([means[name] for name in MISTAKES], [RANK[name] for name in MISTAKES]).statistic)
    lowest = min(row["score"] for row in rows if row["kind"] == "sound")
    table = make_table("Operators with a mistake", ["mistake"], ["rank", "mean score"])
    for name, mean in sorted(means.items(), key=lambda item: -item[1]):
        table.add_row(name, str(RANK[name]), f"{mean:.3f}")
    CONSOLE.print(table)
    CONSOLE.print(f"lowest score of {sum(row['kind'] == 'sound' for row in rows)} sound operators: {lowest:.3f}")
    CONSOLE.print(f"rank correlation: {correlation:.2f}")
    results = {"results": rows, "means": means, "rank_correlation": correlation, "lowest_sound": lowest}
    report(options.output, begun, results)


if __name__ == "__main__":
    main()
