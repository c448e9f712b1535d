"""Commands of `beampipe`, run in this process."""

from __future__ import annotations

import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO

import pytest

from beampipe.cli import app
from beampipe.terminal.exit import exit_code


@dataclass(frozen=True)
class Done:
    """What a command leaves: its exit code, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: object) -> Done:
    """Run ``beampipe WORDS`` in the current folder."""
    stdout, stderr = StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        patch.setattr(sys, "argv", ["beampipe", *map(str, words)])
        code = exit_code(app, "beampipe")
    return Done(code, stdout.getvalue(), stderr.getvalue())


def output_of(*words: object) -> str:
    """What a command prints that ends well."""
    done = run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout
