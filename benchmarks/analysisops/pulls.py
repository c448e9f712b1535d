"""Are quoted uncertainties right? Pulls of the oracle against the truth: `python benchmarks/analysisops/pulls.py`

A pull is (what the oracle finds - what the data were made with) / the uncertainty that it quotes. Over many instances
its mean should be 0 and its width 1. Limits and the number of tracks, which are quoted with a band by agreement, are
not in the figures.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean, stdev

import beampipe.terminal.scripts  # noqa: F401

from beampipe.analysisops.instances import prepare_instance
from beampipe.analysisops.tasks.load import shipped_task, shipped_tasks

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import CONSOLE, Figure, begin, parser_of, write_result

BANDS = ("limit", "n_tracks")
"""Answers whose uncertainty is a band by agreement."""


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


def main() -> None:
    parser = parser_of(__doc__, "analysisops/pulls")
    parser.add_argument("--instances", type=int, default=25, help="of each task")
    parser.add_argument("--first", type=int, default=5001, help="first seed")
    parser.add_argument("--task", action="append", default=[], help="only these")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    begun = begin("pulls of the oracle")
    names = [name for name in options.task or shipped_tasks() for _ in range(options.instances)]
    seeds = [options.first + number % options.instances for number in range(len(names))]
    result: dict[str, list[float]] = defaultdict(list)
    with ProcessPoolExecutor(options.workers) as pool:
        for pulls in pool.map(pulls_of, names, seeds):
            for quantity, pull in pulls.items():
                result[quantity].append(pull)
    measured = {name: pulls for name, pulls in result.items() if name.split()[1] not in BANDS}
    together = [pull for pulls in measured.values() for pull in pulls]
    for name, pulls in sorted(measured.items()):
        CONSOLE.print(f"{name}: mean {fmean(pulls):+.2f}, width {stdev(pulls):.2f}", markup=False)
    n, width = len(together), stdev(together)
    figures = [
        Figure("all: mean of pulls", fmean(together), "", "equal", spread=width / n**0.5),
        Figure("all: width of pulls", width, "", "equal", spread=width / (2 * (n - 1)) ** 0.5),
        Figure("largest pull", max(map(abs, together))),
    ]
    write_result(options.output, begun, figures, pulls=result)


if __name__ == "__main__":
    main()
