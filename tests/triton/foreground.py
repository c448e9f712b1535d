"""A program that serves, in a process of its own, and what it says of its server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_foreground(program: str, *arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of a Python program with arguments, and the summary that it prints once it serves."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ) as started:
        try:
            assert started.stdout is not None
            lines = []
            for line in started.stdout:
                lines.append(line)
                if line.startswith("to stop"):
                    break
            yield started, "".join(lines)
        finally:
            started.kill()


def part(summary: str, pattern: str) -> str:
    match = re.search(pattern, summary)
    assert match is not None, summary
    return match.group(1)


def prefix_of(server: int) -> str:
    """The prefix of the server with that process id, from its command line."""
    arguments = Path(f"/proc/{server}/cmdline").read_text()
    return part(arguments, r"shm-region-prefix-name=(\w+)")
