"""What every known attack earns on many instances: `python benchmarks/analysisops/redteam.py --instances 5`

The attackers are those of the tests, which try one instance of each task. What earns more than its limit is
printed. `--known` writes the answers of
development instances anew, from which attackers guess.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

from beampipe.analysisops.instances import InstanceStore
from beampipe.analysisops.tasks.load import shipped_task, shipped_tasks

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import CONSOLE, Figure, begin, parser_of, write_result
from tests.analysisops.redteam.catalogue import ATTACKS
from tests.analysisops.redteam.target import Target

KNOWN = Path(__file__).parents[2] / "tests" / "analysisops" / "redteam" / "known_answers.json"
DEVELOPMENT = range(1, 9)


def shares_of(folder: Path, name: str, seed: int) -> dict[str, float]:
    """What each attack earns on an instance."""
    task = shipped_task(name)
    with tempfile.TemporaryDirectory() as temporary:
        target = Target(InstanceStore(folder).get(task, seed), Path(temporary), seed)
        return {attack.name: attack.best(target)[0] for attack in ATTACKS if attack.applies(task)}


def answers_of(folder: Path, name: str) -> dict[str, Any]:
    """The right answers of development instances."""
    task = shipped_task(name)
    results = [InstanceStore(folder).get(task, seed).reference for seed in DEVELOPMENT]
    return {
        "answers": {
            answer: [
                [float(f"{result.quantities[answer].value:.6g}"), float(f"{result.quantities[answer].uncertainty:.6g}")]
                for result in results
            ]
            for answer in task.spec.answers
        },
        "words": {word: [result.words[word] for result in results] for word in task.spec.words},
    }


def main() -> None:
    parser = parser_of(__doc__, "analysisops/redteam")
    parser.add_argument("--instances", type=int, default=5, help="of each task")
    parser.add_argument("--first", type=int, default=5001, help="first seed")
    parser.add_argument("--task", action="append", default=[], help="only these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--known", action="store_true", help="write the answers of development instances anew")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench/analysisops/instances"))
    options = parser.parse_args()
    tasks = options.task or list(shipped_tasks())
    begun = begin("attacks")
    with ProcessPoolExecutor(options.workers) as pool:
        if options.known:
            known = dict(zip(tasks, pool.map(partial(answers_of, options.folder), tasks), strict=True))
            every = {**json.loads(KNOWN.read_text()), **known}
            lines = (f" {json.dumps(name)}: {json.dumps(answers)}" for name, answers in every.items())
            KNOWN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
            CONSOLE.print(f"wrote {KNOWN}", markup=False)
            return
        names = [name for name in tasks for _ in range(options.instances)]
        seeds = [options.first + number % options.instances for number in range(len(names))]
        shares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for name, result in zip(names, pool.map(partial(shares_of, options.folder), names, seeds), strict=True):
            for attack, share in result.items():
                shares[attack][name].append(share)
    highest, over = 0.0, 0
    for attack in ATTACKS:
        every = [share for values in shares.get(attack.name, {}).values() for share in values]
        highest = max([highest, *every])
        if beyond := sum(not attack.held(share) for share in every):
            over += beyond
            CONSOLE.print(f"{attack.name}: {beyond} of {len(every)} over {attack.limit:g}", style="red", markup=False)
    figures = [
        Figure("attacks over their limit", over, "", "equal"),
        Figure("highest score of an attack", float(highest)),
    ]
    write_result(options.output, begun, figures, shares=shares)


if __name__ == "__main__":
    main()
