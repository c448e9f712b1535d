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

_ERROR: Final = 2

INTERRUPTED: Final = 130
"""Exit code of an interrupted command, the one that a shell reports for SIGINT."""


class _Interrupt:
    """Handler of SIGINT: ends the command and records the signal, as a library may report it as its own error."""

    came = False

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        self.came = True
        raise KeyboardInterrupt


def run(app: Callable[..., Any], name: str) -> NoReturn:
    """Run a command line and end the process.

    Args:
        app: commands of Typer.
        name: name of the program in help texts and errors.
    """
    interrupt = _Interrupt()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have set it to be ignored
        signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = _hook_without_interrupts(sys.unraisablehook)
    try:
        code = _exit_code(app, name, interrupt)
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        typer.echo(f"{name}: interrupted", err=True)
        # If the signal arrived inside `exec`, e.g. while a namedtuple was created, `python -m` would end by the signal.
        exec("")
    if signal.getsignal(signal.SIGINT) is interrupt:  # no traceback if the signal arrives during Python's shutdown
        sys.stdout.flush()
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    sys.exit(code)


def _exit_code(app: Callable[..., Any], name: str, interrupt: _Interrupt) -> int:
    """Run the command and return its exit code; errors of `beampipe.errors` are printed on one line."""
    try:
        with warnings_in_lines():
            code = app(prog_name=name, standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except BeampipeError as error:
        return _report(name, str(error))
    except PermissionError as error:
        message = f"{error.filename or 'a file'}: {error.strerror}; check the owner and mode of it and of its folders"
        return _report(name, message)
    except Exception as error:
        if interrupt.came:
            return INTERRUPTED
        if not hasattr(error, "format_message"):
            raise  # a bug: keep the traceback
        return _report_usage_error(name, error)
    return code if isinstance(code, int) else 0


def _report_usage_error(name: str, error: Any) -> int:
    """Print an error of Typer about the command line, and how to get help."""
    text, context = error.format_message(), getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command; not all releases of Typer raise it
        typer.echo(text.rstrip("\n"))
        return 0
    text = " ".join(text.split()).rstrip(".")
    message = text[:1].lower() + text[1:]
    separator = " See" if message.endswith("?") else "; see"
    return _report(name, message if context is None else f"{message}{separator} {context.command_path} --help")


def _report(name: str, text: str) -> int:
    typer.secho(f"{name}: {text}", err=True, fg="red")
    return _ERROR


def _hook_without_interrupts(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook for uncatchable errors that ignores Ctrl-C."""

    def report(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)

    return report
