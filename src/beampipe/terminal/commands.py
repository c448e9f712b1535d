"""How every command behaves: its help, `-h` and `--quiet`, and the options that many commands share."""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final, get_args

import typer
from typer.core import TyperCommand
from typer.models import ArgumentInfo

from beampipe.terminal import quietly
from beampipe.terminal.later import Group, Later
from beampipe.terminal.manners import Mannered

__all__ = ["STANDARD_OUTPUT", "Commands", "Json", "output_file", "print_json"]

STANDARD_OUTPUT: Final = Path("-")
"""What `--output` is told for standard output. Commands that take it say so in their help, in these words:"""

_TAKES_IT: Final = "- for standard output"

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script, in place of lines and tables.")]
"""Option of commands whose output a script would read."""

_Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no progress and no notes: results, warnings and errors only.")
]
_MANNERS: Final[dict[str, Any]] = {
    "rich_markup_mode": None,  # brackets and stars in a text of help are themselves
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


_METAVARS: Final[dict[Any, str]] = {Path: "PATH", int: "N", float: "X", str: "TEXT"}


class _Command(Mannered, TyperCommand):
    """A command of ours."""


class Commands(typer.Typer):
    """The commands of an area. Each has `-h` and `--quiet`; without a command, the group shows its help.

    Args:
        help: what the area is for, in a sentence.
        name: name of the group, where it is not told to `add_typer`.
        completion: whether to have options that install completion for a shell.
    """

    def __init__(self, help: str, name: str | None = None, *, completion: bool = False) -> None:
        self._later: dict[str, Later] = {}
        super().__init__(
            name=name,
            help=help,
            cls=type("Group", (Group,), {"later": self._later}),
            no_args_is_help=True,
            add_completion=completion,
            pretty_exceptions_enable=False,  # our errors are one line; any other is a fault and keeps its traceback
            **_MANNERS,
        )

    def command(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        """As of Typer, for a function to which `--quiet` is added."""
        add = super().command(*args, cls=_Command, **{"context_settings": _MANNERS["context_settings"], **options})

        def added(function: Any) -> Any:
            add(_with_manners(function))
            return function

        return added

    def add_later(self, name: str, help: str, load: Callable[[], Any]) -> None:
        """Add a command, or a group of commands, whose module is imported when somebody asks for it.

        Args:
            name: its name.
            help: first sentence of its own help.
            load: imports the module and gives the group, of Typer, or the function that is the command.
        """

        def ready() -> Any:
            found = load()
            if isinstance(found, typer.Typer):
                return found
            alone = Commands("")
            alone.command(name)(found)
            return alone

        self._later[name] = Later(help, ready)


def _with_manners(function: Callable[..., None]) -> Callable[..., None]:
    """A command with `--quiet`, and with a word for the value of each option."""
    own = inspect.signature(function, eval_str=True)
    quiet = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Quiet)

    parts = getattr(getattr(own.parameters.get("output"), "annotation", None), "__metadata__", ())
    takes_standard_output = any(_TAKES_IT in (getattr(part, "help", None) or "") for part in parts)

    @wraps(function)
    def run(**given: Any) -> None:
        if given.get("output") == STANDARD_OUTPUT and not takes_standard_output:
            raise typer.BadParameter(
                "got -, expected a name: what is written is more than one text", param_hint="--output"
            )
        with quietly(given.pop("quiet") or bool(given.get("as_json"))):
            function(**given)

    parameters = [*map(_with_metavar, own.parameters.values()), quiet]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(run)["__signature__"] = own.replace(parameters=parameters)
    return run


def _with_metavar(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter whose help says what kind of value it takes, unless it says so already."""
    annotation = parameter.annotation
    told = next((one for one in getattr(annotation, "__metadata__", ()) if hasattr(one, "metavar")), None)
    if told is None or told.metavar is not None or getattr(told, "parser", None) is not None:
        return parameter
    if isinstance(told, ArgumentInfo):
        word: str | None = parameter.name.upper()
    else:
        kinds = {kind for kind in (annotation.__origin__, *_inner(annotation.__origin__)) if kind in _METAVARS}
        word = _METAVARS[kinds.pop()] if len(kinds) == 1 else None
    told = copy(told)
    told.metavar = word
    return parameter.replace(annotation=Annotated[annotation.__origin__, told])


def _inner(kind: Any) -> list[Any]:
    """The types that a type is made of, such as `Path` in ``list[Path] | None``."""
    return [one for part in get_args(kind) for one in (part, *_inner(part))]


@contextmanager
def output_file(output: Path, ending: str) -> Iterator[Path]:
    """The file that a command writes: the one that it is told, or one that goes to standard output after the block.

    Args:
        output: what `--output` was told; - for standard output, where notes are left out then.
        ending: how the name of the file ends that goes to standard output, such as ``".csv"``.
    """
    if output != STANDARD_OUTPUT:
        yield output
        return
    with TemporaryDirectory() as folder, quietly():
        file = Path(folder) / f"output{ending}"
        yield file
        sys.stdout.flush()
        sys.stdout.buffer.write(file.read_bytes())
        sys.stdout.buffer.flush()


def _plain(found: Any) -> Any:
    """The same in dictionaries and lists, without numbers that JSON does not know."""
    if is_dataclass(found):
        return {one.name: _plain(getattr(found, one.name)) for one in fields(found)}
    if hasattr(found, "_asdict"):
        return _plain(found._asdict())
    if hasattr(found, "tolist"):
        return _plain(found.tolist())
    if isinstance(found, Mapping):
        return {str(key): _plain(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def print_json(found: Any) -> None:
    """Print what was found as JSON, on standard output; paths are written as text.

    Args:
        found: dataclasses and named tuples, which become objects by the names of their fields; dictionaries, lists,
            arrays, texts, numbers. A number that is none, such as nan, becomes null.
    """
    typer.echo(json.dumps(_plain(found), indent=1, allow_nan=False, default=str))
