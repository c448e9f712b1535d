"""Base classes of all commands, their common options, and commands that are loaded when they are used.

Newer releases of Typer convert values with pydantic, whose import takes longer than the rest of a command's start.
Simple values (`str`, `int`, `float`, `bool`, `Path`) are therefore converted here; all others, and errors, by Typer.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, Final, NamedTuple, get_args

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo

from beampipe.terminal import quietly
from beampipe.terminal.help import help_text

# Values of options that are right as they are, or plain numbers and paths.


_WHOLE_NUMBER: Final = re.compile("[0-9]{1,15}")
"""What is a whole number beyond doubt."""

_NOT_SIMPLE: Final = object()
"""What is left to Typer."""


class _SimpleValues:
    """Takes the simple values of a parameter; called, it gives itself, as Typer asks for what converts values.

    Args:
        parameter: of Typer.
        build: gives what converts other values.
    """

    def __init__(self, parameter: Any, build: Callable[[], Any]) -> None:
        self._kind, self._build = parameter.type_descriptor, build
        self._many = parameter.multiple or parameter.nargs == -1

    def __call__(self) -> _SimpleValues:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value that a command gets, by Typer's method of this name unless it is simple."""
        if value is None:
            return () if self._many else None
        found = _NOT_SIMPLE if self._many else _simple_value(value, self._kind.annotation, self._kind.parameter_info)
        return self._build().coerce(value, param=param, ctx=ctx) if found is _NOT_SIMPLE else found


def take_simple_values(parameter: Any) -> None:
    """Let a parameter of a command take simple values without pydantic; one of an older Typer does so anyway.

    Args:
        parameter: of Typer; it is changed.
    """
    build = getattr(parameter, "get_runtime_param", None)
    if build is not None and not isinstance(build, _SimpleValues) and hasattr(parameter, "type_descriptor"):
        parameter.get_runtime_param = _SimpleValues(parameter, build)


def _simple_value(value: Any, kind: Any, info: Any) -> Any:
    """A value as one of that kind, if it is simple; `_LEFT` if Typer has to look at it."""
    if info.parser is not None or kind not in (str, int, float, bool, Path):
        return _NOT_SIMPLE
    if kind is Path:
        return _simple_path(value, info)
    found = int(value) if kind is int and isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) else value
    if type(found) is not kind:
        return _NOT_SIMPLE
    limited = kind in (int, float) and (info.min is not None or info.max is not None)
    inside = not limited or ((info.min is None or found >= info.min) and (info.max is None or found <= info.max))
    return found if inside else _NOT_SIMPLE


def _simple_path(value: Any, info: Any) -> Any:
    """A path of which nothing is asked but that it can be read if it is there."""
    if not isinstance(value, str | Path) or info.exists or info.resolve_path or info.writable:
        return _NOT_SIMPLE
    if not (info.file_okay and info.dir_okay) or (os.path.exists(value) and not os.access(value, os.R_OK)):
        return _NOT_SIMPLE
    return Path(value)


# What all commands of ours, and all groups of them, do alike.


class CommandBase:
    """For a command or a group of Typer: its help is set by `helps`, and simple values are taken by `values`."""

    def parse_args(self: Any, ctx: Any, args: list[str]) -> list[str]:
        """As of Typer, with simple values taken here."""
        for parameter in self.get_params(ctx):
            take_simple_values(parameter)
        rest: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help, as all commands of ours have it."""
        formatter.write(help_text(self, ctx))


# Commands whose modules are imported when somebody asks for them: a word of help imports no physics.


class LazyCommand(NamedTuple):
    """A command, or a group of commands, that is not loaded yet.

    Attributes:
        help: what it does, in one sentence: the first of its own help.
        load: imports its module and gives it, ready to be called.
    """

    help: str
    load: Callable[[], Any]


class LazyGroup(CommandBase, TyperGroup):
    """A group of commands, some of which may be loaded later.

    Attributes:
        later: name -> command that is loaded when it is asked for by its name, or when all are asked for.
    """

    later: ClassVar[Mapping[str, LazyCommand]] = {}

    @property
    def commands(self) -> dict[str, Any]:
        """Name -> command, of all: whatever was left for later is loaded."""
        for name in self.later:
            self._loaded(name)
        return self._commands

    @commands.setter
    def commands(self, commands: Mapping[str, Any]) -> None:
        self._commands: dict[str, Any] = dict(commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, loaded; None if there is none."""
        return self._loaded(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order of the help."""
        return list(dict.fromkeys([*self._commands, *self.later]))

    def summaries(self) -> Iterator[tuple[str, str]]:
        """Name and first sentence of each command that is not hidden; nothing is loaded."""
        for name, one in self._commands.items():
            if name not in self.later and not one.hidden:
                yield name, one.short_help or one.help or ""
        yield from ((name, one.help) for name, one in self.later.items())

    def _loaded(self, name: str) -> Any:
        if name in self.later and name not in self._commands:
            found = self.later[name].load()
            command: Any = typer.main.get_command(found) if isinstance(found, typer.Typer) else found
            command.name = name
            self._commands[name] = command
        return self._commands.get(name)


# How every command behaves: its help, `-h` and `--quiet`, and the options that many commands share.


STANDARD_OUTPUT: Final = Path("-")
"""What `--output` is told for standard output. Commands that take it say so in their help, in these words:"""

_TAKES_IT: Final = "- for standard output"

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script, in place of lines and tables.")]
"""Option of commands whose output a script would read."""

_Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no progress and no notes: results, warnings and errors only.")
]

_COMMAND_SETTINGS: Final[dict[str, Any]] = {
    "rich_markup_mode": None,  # brackets and stars in a text of help are themselves
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


_METAVARS: Final[dict[Any, str]] = {Path: "PATH", int: "N", float: "X", str: "TEXT"}


class _Command(CommandBase, TyperCommand):
    """A command of ours."""


class Commands(typer.Typer):
    """The commands of an area. Each has `-h` and `--quiet`; without a command, the group shows its help.

    Args:
        help: what the area is for, in a sentence.
        name: name of the group, where it is not told to `add_typer`.
        completion: whether to have options that install completion for a shell.
    """

    def __init__(self, help: str, name: str | None = None, *, completion: bool = False) -> None:
        self._later: dict[str, LazyCommand] = {}
        super().__init__(
            name=name,
            help=help,
            cls=type("Group", (LazyGroup,), {"later": self._later}),
            no_args_is_help=True,
            add_completion=completion,
            pretty_exceptions_enable=False,  # our errors are one line; any other is a fault and keeps its traceback
            **_COMMAND_SETTINGS,
        )

    def command(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        """As of Typer, for a function to which `--quiet` is added."""
        add = super().command(
            *args, cls=_Command, **{"context_settings": _COMMAND_SETTINGS["context_settings"], **options}
        )

        def added(function: Any) -> Any:
            add(_with_common_options(function))
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

        self._later[name] = LazyCommand(help, ready)


def _with_common_options(function: Callable[..., None]) -> Callable[..., None]:
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
