"""README's install lines resolve; each extra alone runs the first command of its area in README's table.

make extras                        # all six
python release/extras.py fleet     # these; with --two: two of them, chosen by the hash of the commit
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))  # for tests, which run this file from elsewhere

from lines import report
from using import Failed, environment, first_commands, run

LINES: Final = ["pip install '.[tracking]'", "pip install '.[all]'"]
"""The install lines of README; `check.py` tries those of all pages, which takes longer."""


def two_of(extras: list[str], commit: str) -> list[str]:
    """Two extras, others for other commits.

    Args:
        extras: all of them.
        commit: hash of the commit [hexadecimal].
    """
    first, second = int(commit[:8], 16) % len(extras), int(commit[8:16], 16) % (len(extras) - 1)
    return [extras[first], extras[(first + 1 + second) % len(extras)]]


def run_first_command(wheel: Path, extra: str, python: str) -> None:
    """Make the environment of an extra and run its command in an empty folder; prints a line with both times.

    Raises:
        Failed: the command fails.
    """
    start = time.monotonic()
    with environment(wheel, extra, python) as bin_, tempfile.TemporaryDirectory(prefix="beampipe-first-") as name:
        made = time.monotonic()
        command = first_commands()[extra]
        for line in command.split(" && "):
            run(line, Path(name), path=bin_)
        made_in, ran_in = made - start, time.monotonic() - made
        print(f"ok     [{extra}]: environment {made_in:.0f} s, {command} {ran_in:.0f} s", flush=True)


def main() -> None:
    """Run the commands, each in an environment of its own."""
    parser = argparse.ArgumentParser(description="Install lines, and the first command of each extra.")
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help="extras to try; default: all")
    parser.add_argument("--two", action="store_true", help="two extras, chosen by the hash of the commit")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    parser.add_argument("--wheel", type=Path, help="a wheel that is there, in place of building one")
    arguments = parser.parse_args()
    extras = arguments.extras or list(first_commands())
    if arguments.two:
        extras = two_of(extras, run("git rev-parse HEAD").strip())
    failed = 0
    with tempfile.TemporaryDirectory(prefix="beampipe-extras-") as folder:
        if arguments.wheel is None:
            run(["uv", "build", "-q", "--wheel", "--python", arguments.python, "--out-dir", folder])
            (arguments.wheel,) = Path(folder).glob("*.whl")
        version = run([arguments.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
        failed += report(LINES, arguments.wheel.absolute().parent, [version])
        for extra in extras:
            try:
                run_first_command(arguments.wheel.absolute(), extra, arguments.python)
            except (Failed, subprocess.SubprocessError, OSError) as error:
                failed += 1
                print(f"FAILED [{extra}]: {error}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
