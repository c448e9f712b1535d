"""How a command ends: one line for an error, and an exit code for scripts.

0: success. 1: the command ran, and its result is negative. 2: error. 130: interrupted, e.g. by Ctrl-C. 143: ended by
SIGTERM.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from io import UnsupportedOperation
from types import FrameType
from typing import Any, Final, NoReturn, TextIO

import typer

from beampipe.errors import BeampipeError
from beampipe.terminal import warnings_in_lines

_ERROR: Final = 2

INTERRUPTED: Final = 130
"""Exit code of an interrupted command, the one that a shell reports for SIGINT."""

_ENDS: Final = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM"}
"""Signals that end a command in order, and the message; the exit code is the one that a shell reports for them."""


_BROKEN_PIPE: Final = 1
"""Exit code where the reader of standard output ended before the command, as in ``beampipe ... | head``."""


class _Interrupt:
    """Handler of Ctrl-C and SIGTERM: ends the command, so that it removes partial files and ends its workers.

    It records the signal, as a library may report it as its own error.
    """

    came: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        self.came = number
        raise KeyboardInterrupt


def run(app: Callable[..., Any], name: str) -> NoReturn:
    """Run a command line and end the process.

    Args:
        app: commands of Typer.
        name: name of the program in help texts and errors.
    """
    interrupt = _Interrupt()
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:  # a shell may have set it to be ignored
            signal.signal(number, interrupt)
    sys.unraisablehook = _hook_without_interrupts(sys.unraisablehook)
    _open_closed_streams()
    try:
        code = exit_code(app, name, lambda: interrupt.came is not None)
        code = _flush_standard_output(name) or code
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        number = signal.Signals(interrupt.came or signal.SIGINT)
        code = 128 + number
        typer.echo(f"{name}: {_ENDS[number]}", err=True)
        # If the signal arrived inside `exec`, e.g. while a namedtuple was created, `python -m` would end by the signal.
        exec("")
    for number in _ENDS:
        if signal.getsignal(number) is interrupt:  # no traceback if the signal arrives during Python's shutdown
            signal.signal(number, lambda number, _: os._exit(128 + number))
    sys.exit(code)


def exit_code(app: Callable[..., Any], name: str, interrupted: Callable[[], bool] = lambda: False) -> int:
    """Run a command line and return its exit code; errors are printed on one line.

    Args:
        app: commands of Typer.
        name: name of the program in help texts and errors.
        interrupted: whether a signal to end has arrived; a library may report it as its own error.
    """
    try:
        with warnings_in_lines():
            code = app(prog_name=name, standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except BeampipeError as error:
        return _report(name, str(error))
    except OSError as error:
        if interrupted():
            return INTERRUPTED
        code_of_output = _flush_standard_output(name, failed=True)
        if code_of_output or error.errno is None:
            return code_of_output or _report(name, str(error))
        path = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        hint = "; check the owner and mode of it and of its folders" if isinstance(error, PermissionError) else ""
        return _report(name, f"{path}{os.strerror(error.errno)}{hint}")
    except Exception as error:
        if interrupted():
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
    try:
        typer.secho(f"{name}: {text}", err=True, fg="red")
        sys.stderr.flush()
    except OSError:  # the exit code remains
        _discard(sys.stderr)
    return _ERROR


def _open_closed_streams() -> None:
    """Open the standard streams that the caller has closed, so that no other file gets their numbers.

    Writing to a closed standard output then fails, and `_flush_standard_output` reports it.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        not_for_writing = os.open(os.devnull, os.O_RDONLY)
        sys.stdout = open(not_for_writing, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _discard(stream: TextIO) -> None:
    """Send what is left of a stream, and all that follows, to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _flush_standard_output(name: str, *, failed: bool = False) -> int:
    """Write what is left of standard output; returns the exit code if that fails, otherwise 0.

    Args:
        name: name of the program.
        failed: something could not be written before, to standard output or elsewhere.
    """
    try:
        sys.stdout.flush()
        if failed:
            os.write(sys.stdout.fileno(), b"")  # fails if it was this stream, which may have no buffer
    except (AttributeError, UnsupportedOperation):  # a stream of a test or a notebook, which is no file
        return 0
    except OSError as error:
        # What is left is thrown away: Python would try to write it once more when it ends.
        _discard(sys.stdout)
        if error.errno == errno.EPIPE:
            return _BROKEN_PIPE
        reason = "it is closed" if error.errno == errno.EBADF else error.strerror
        return _report(name, f"standard output cannot be written ({reason}); redirect it, e.g. to a file or /dev/null")
    return 0


def _hook_without_interrupts(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook for uncatchable errors that ignores Ctrl-C."""

    def report(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)

    return report
