"""How a command ends: one line for an error, and an exit code for scripts.

0: success. 1: the command ran, and its result is negative. 2: error. 130: interrupted, e.g. by Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NoReturn

import typer

from beampipe.errors import BeampipeError
from beampipe.terminal import warnings_in_lines

__all__ = ["INTERRUPTED", "run"]

INTERRUPTED: Final = 130
"""Exit code of a command that Ctrl-C ended, as a shell would tell it."""

_ERROR: Final = 2


class _Interrupt:
    """What Ctrl-C does: it ends the command, and is remembered where a library takes it for an error of its own."""

    came = False

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        self.came = True
        raise KeyboardInterrupt


def run(app: Callable[..., Any], name: str) -> NoReturn:
    """Run commands and end the process.

    Args:
        app: the commands, of Typer.
        name: name of the program, as its help and errors have it.
    """
    interrupt = _Interrupt()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = _hook_without_interrupts(sys.unraisablehook)
    try:
        code = _exit_code(app, name, interrupt)
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        typer.echo(f"{name}: interrupted", err=True)
        # Where Ctrl-C came in a text that was run, as one that makes a namedtuple, `python -m` would end by the signal.
        exec("")
    if signal.getsignal(signal.SIGINT) is interrupt:  # what Python does at its end has nothing to say either
        sys.stdout.flush()
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    sys.exit(code)


def _exit_code(app: Callable[..., Any], name: str, interrupt: _Interrupt) -> int:
    """The exit code of the command that the user asked for."""
    try:
        with warnings_in_lines():
            code = app(prog_name=name, standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except BeampipeError as error:
        return _report(name, str(error))
    except Exception as error:
        if interrupt.came:
            return INTERRUPTED
        return _report_usage_error(name, error)
    return code if isinstance(code, int) else 0


def _report_usage_error(name: str, error: Exception) -> int:
    """Say what is wrong with the words of a command; any other error is a fault of ours and keeps its traceback."""
    if not hasattr(error, "format_message"):
        raise error
    text, context = error.format_message(), getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command, and not every release makes it one
        typer.echo(text.rstrip("\n"))
        return 0
    text = " ".join(text.split()).rstrip(".")
    ours = text[:1].lower() + text[1:]
    stop = " See" if ours.endswith("?") else "; see"
    return _report(name, ours if context is None else f"{ours}{stop} {context.command_path} --help")


def _report(name: str, text: str) -> int:
    typer.secho(f"{name}: {text}", err=True, fg="red")
    return _ERROR


def _hook_without_interrupts(told: Callable[[Any], object]) -> Callable[[Any], None]:
    """The hook for errors that nobody can catch, without Ctrl-C among them."""

    def tell(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            told(unraisable)

    return tell
