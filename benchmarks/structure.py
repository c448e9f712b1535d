"""Structure of the package in numbers: longest functions, import cycles, loaded modules, start-up time.

    python benchmarks/structure.py [--json FILE]

``tests/test_structure.py`` and the contracts in ``pyproject.toml`` hold limits; this prints where the package stands.
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import grimp

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src" / "beampipe"
SERVED_TAGGER: Final = "beampipe.calibration.events.scores"
RUNS: Final = 9
_LOADED: Final = "import sys, {module}; print(*sys.modules)"


def functions() -> Iterator[tuple[int, str]]:
    """Lines and place of each function of src, docstring included."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                place = f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
                yield (node.end_lineno or node.lineno) - node.lineno + 1, place


def import_cycle() -> list[str]:
    """A cycle of imports, those inside functions included; empty if there is none."""
    graph = grimp.build_graph("beampipe", exclude_type_checking_imports=True, cache_dir=None)
    try:
        TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def loaded_by(module: str) -> Counter[str]:
    """Number of modules of each area of beampipe that an import loads in a fresh interpreter."""
    command = [sys.executable, "-c", _LOADED.format(module=module)]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return Counter(name.split(".")[1] for name in names if name.startswith("beampipe."))


def help_seconds() -> float:
    """Median time of ``beampipe --help`` [s]."""
    taken = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "beampipe", "--help"], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Print the figures, and write them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    longest = sorted(functions(), reverse=True)
    figures: dict[str, Any] = {
        "longest functions": longest[:5],
        "functions over 60 lines": sum(lines > 60 for lines, _ in longest),
        "an import cycle": import_cycle(),
        "modules by area that the served tagger loads": dict(loaded_by(SERVED_TAGGER)),
        "seconds of beampipe --help, median": round(help_seconds(), 3),
    }
    for name, figure in figures.items():
        print(f"{name}: {figure}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
