"""The command `beampipe` in this process, as a user types it."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from beampipe.cli import app
from beampipe.terminal.exit import exit_code

__all__ = ["Done", "run"]


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: str | Path) -> Done:
    """Run a command line."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = exit_code(lambda **options: app(list(map(str, words)), **options), "beampipe")
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return Done(code, *texts)
