"""How good agents without a model are on instances they have never seen: `python benchmarks/analysisops/scripted.py`

Seeds are made of a secret that is drawn when the folder of the run is new, so nobody can have tuned anything to them;
a run that was stopped goes on. The scripted agent, the one that only follows the steps of a prompt, the oracle and the
one that does nothing are asked about the same instances. Wanted: scripted at least 0.95 on average over the families,
oracle 1, nop 0, and the follower lower at level 3, where there is no recipe, than at level 1.
"""

from __future__ import annotations

import secrets
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

import beampipe.terminal.scripts  # noqa: F401

from beampipe.analysisops.evaluation import evaluate
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tasks.load import shipped_tasks

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import Figure, begin, parser_of, write_result

AGENTS = ("scripted", "follower", "oracle", "nop")
LEVELS = (1, 3)


def secret_of(folder: Path) -> Path:
    """The file of the secret of a run, drawn where there is none."""
    path = folder.with_suffix(".secret")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path


def main() -> None:
    parser = parser_of(__doc__, "analysisops/scripted")
    parser.add_argument("--seeds", type=int, default=20, help="instances of each task")
    parser.add_argument("--task", action="append", default=[], help="only these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/bench/analysisops/scripted"))
    options = parser.parse_args()
    begun = begin("agents on instances they have never seen")
    records = evaluate(
        options.task or list(shipped_tasks()),
        AGENTS,
        Seeds.first(options.seeds, secret_of(options.folder)),
        options.folder,
        levels=LEVELS,
        workers=options.workers,
    )
    scores: dict[str, list[float]] = defaultdict(list)
    for record in records:
        about = record["assessment"]
        score = float(record["grade"]["final"]["normalized_score"])
        scores[f"{about['agent']}, level {about['level']}"].append(score)
    figures = [
        Figure(
            f"{way}: mean score", fmean(row), "", "equal", spread=stdev(row) / len(row) ** 0.5 if len(row) > 1 else None
        )
        for way, row in sorted(scores.items())
    ]
    write_result(options.output, begun, figures, records=records)


if __name__ == "__main__":
    main()
