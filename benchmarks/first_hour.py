"""From `git clone` to a first result: seconds and commands, as a newcomer would type them.

    python benchmarks/first_hour.py [--only picture answer factor] [--python PYTHON] [--output FILE]

Each way starts in an empty folder and in a new environment without packages. The packages come from the index, or from
pip's cache if it has them. Making the environment is no command of ours: its time is counted, the command is not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from recording import CONSOLE, conditions, print_conditions, write_result

from beampipe.terminal import make_table

ROOT: Final = Path(__file__).parents[1]
MOST_COMMANDS: Final = 3


@dataclass(frozen=True)
class Way:
    """What is typed, and how to tell that the result is there.

    Attributes:
        result: what comes of it, in words.
        commands: lines for a shell, the first of them in the empty folder, the others in the clone.
        check: asserts that the result is there, and describes it; from the folder of the clone and what the last
            command printed.
    """

    result: str
    commands: tuple[str, ...]
    check: Callable[[Path, str], str]


def picture(clone: Path, printed: str) -> str:
    """The largest picture of the demo."""
    pictures = sorted(clone.glob("demo/**/*.png"), key=lambda path: path.stat().st_size)
    assert pictures, printed
    assert pictures[-1].read_bytes().startswith(b"\x89PNG"), pictures[-1]
    return f"{pictures[-1].relative_to(clone)}, {pictures[-1].stat().st_size // 1024} kB"


def answer(clone: Path, printed: str) -> str:
    """What a server has answered: the picture of rates is drawn after its last answer."""
    served = json.loads((clone / "demo/evaluation.json").read_text(encoding="utf-8"))
    assert served, printed
    assert (clone / "demo/throughput.png").exists(), printed
    return "demo/evaluation.json, demo/throughput.png"


def factor(clone: Path, printed: str) -> str:
    """How many scale factors there are, of which tagger the first is."""
    factors = json.loads((clone / "demo/calibration/factors.json").read_text(encoding="utf-8"))
    assert factors, printed
    return f"demo/calibration/factors.json: {len(factors)} entries"


CLONE: Final = f"git clone -q {ROOT} beampipe && cd beampipe"
WAYS: Final = {
    "picture": Way("the first picture", (CLONE, "pip install -q '.[tracking]'", "beampipe tracking demo"), picture),
    "answer": Way("the first served answer", (CLONE, "make demo"), answer),
    "factor": Way(
        "the first scale factor", (CLONE, "pip install -q '.[calibration]'", "beampipe calibration demo"), factor
    ),
}


def go(way: Way, python: str) -> dict[str, Any]:
    """Go one way; seconds by command, and what was made."""
    assert len(way.commands) <= MOST_COMMANDS, way.commands
    with tempfile.TemporaryDirectory(prefix="beampipe-first-") as name:
        folder, seconds, printed = Path(name), [], ""
        start = time.monotonic()
        subprocess.run([python, "-m", "venv", folder / "env"], check=True)
        seconds.append(time.monotonic() - start)
        mine = {"PATH": f"{folder / 'env/bin'}{os.pathsep}{os.environ['PATH']}"}
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        for number, command in enumerate(way.commands):
            start = time.monotonic()
            where = folder / "beampipe" if number else folder
            done = subprocess.run(
                ["bash", "-c", command], cwd=where, env=kept | mine, capture_output=True, text=True, check=False
            )
            seconds.append(time.monotonic() - start)
            printed = done.stdout + done.stderr
            assert done.returncode == 0, f"{command}: {printed[-3000:]}"
        made = way.check(folder / "beampipe", printed)
    return {"result": way.result, "commands": way.commands, "seconds": seconds, "total": sum(seconds), "made": made}


def main() -> None:
    """Go the ways, one after the other; a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=WAYS, default=list(WAYS), help="ways to go")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the new environments")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/first_hour.json"))
    arguments = parser.parse_args()
    begun = conditions()
    print_conditions("from a clone to a first result", begun)
    rows = [go(WAYS[name], arguments.python) for name in arguments.only]
    table = make_table("", ("result", "made"), ("commands", "seconds", "environment", "of each command"))
    for row in rows:
        each = [f"{seconds:.0f}" for seconds in row["seconds"]]
        count = str(len(row["commands"]))
        table.add_row(row["result"], row["made"], count, f"{row['total']:.0f}", each[0], " ".join(each[1:]))
    CONSOLE.print(table)
    write_result(arguments.output, begun, {"ways": rows})


if __name__ == "__main__":
    main()
