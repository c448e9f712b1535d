"""A program that serves, in a process of its own, and what it says of its server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beampipe.triton.engine import Engine

PROGRAM = """
import sys
from pathlib import Path
from beampipe.errors import BeampipeError
from beampipe.triton.foreground import run_server
from beampipe.triton.server.launch import ServerSettings

restart, repository, engine, *models = sys.argv[1:]
try:
    run_server(ServerSettings(Path(repository), models=tuple(models), triton=Path(engine)), restart=restart == "True")
except BeampipeError as error:
    print(error)
    sys.exit(2)
"""


@contextmanager
def serving(
    repository: Path, engine: Engine, *models: str, restart: bool = False
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in the foreground of a process of its own, perhaps with a keeper, and its first summary."""
    with in_foreground(PROGRAM, str(restart), repository, engine.folder, *models) as both:
        yield both


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
