"""What a newcomer types from a wheel to the first picture, each command with its seconds.

    python release/first_picture.py dist/beampipe-1.2.3-cp311-cp311-manylinux_2_38_x86_64.whl

Prints wall time and time of CPU of each command, in an environment and a folder that are empty. Packages come from the
index, or from pip's cache.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for check.py, which tests run from elsewhere

from using import Failed, first_commands, run


def first_picture(wheel: Path, python: str) -> str:
    """Run the commands; returns a line each.

    Args:
        wheel: file of the package.
        python: interpreter of the environment.

    Raises:
        Failed: a command fails, or there is no picture.
    """
    lines, total = [f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"], 0.0
    with tempfile.TemporaryDirectory(prefix="beampipe-picture-") as name:
        folder = Path(name)
        install = f"pip install 'beampipe[tracking] @ {wheel.absolute().as_uri()}'"
        for command in (f"{python} -m venv env", install, first_commands()["tracking"]):
            start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            run(command, folder, path=folder / "env/bin")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            total += time.monotonic() - start
            shown = command.replace(python, "python3").replace(wheel.absolute().as_uri(), "WHEEL")
            lines.append(f"{time.monotonic() - start:6.1f} s, {cpu:5.1f} s of CPU: {shown}")
        pictures = sorted(str(path.relative_to(folder)) for path in (folder / "demo").rglob("*.png"))
    if not pictures:
        raise Failed(f"{command} drew no picture")
    return "\n".join([*lines, f"{total:6.1f} s to {', '.join(pictures)}"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="From a wheel to the first picture, in seconds.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment")
    arguments = parser.parse_args()
    print(first_picture(arguments.wheel, arguments.python))
