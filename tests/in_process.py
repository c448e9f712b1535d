"""The command `beampipe` in this process, as a user types it."""

from __future__ import annotations

import io
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from beampipe.cli import app
from beampipe.terminal.exit import exit_code

__all__ = ["Done", "output_of", "run"]


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: object) -> Done:
    """Run ``beampipe WORDS`` in the current folder."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        # Streams that inspect_ai left open in earlier tests may be collected while this command runs.
        warnings.filterwarnings("ignore", "Unclosed <MemoryObject", ResourceWarning)
        patch.setattr(sys, "argv", ["beampipe", *map(str, words)])
        code = exit_code(app, "beampipe")
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return Done(code, *texts)


def output_of(*words: object) -> str:
    """What a command prints that ends well."""
    done = run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout
