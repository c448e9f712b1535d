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
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from types import GenericAlias
from typing import Annotated, Any, ClassVar, Final, NamedTuple, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo

from beampipe.terminal import quietly
from beampipe.terminal.help import help_text

_WHOLE_NUMBER: Final = re.compile("[0-9]{1,15}")

_NOT_SIMPLE: Final = object()
"""Marks a value that Typer has to convert."""


class _SimpleValues:
    """Converts the simple values of a parameter; Typer calls it where it expects a factory of converters.

    Args:
        parameter: parameter of Typer.
        build: makes the converter of all other values.
    """

    def __init__(self, parameter: Any, build: Callable[[], Any]) -> None:
        self._kind, self._build = parameter.type_descriptor, build
        self._many = parameter.multiple or parameter.nargs == -1

    def __call__(self) -> _SimpleValues:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The converted value; other values are converted by Typer's method of this name."""
        if value is None:
            return () if self._many else None
        converted = _NOT_SIMPLE
        if not self._many:
            converted = _simple_value(value, self._kind.annotation, self._kind.parameter_info)
        return self._build().coerce(value, param=param, ctx=ctx) if converted is _NOT_SIMPLE else converted


def take_simple_values(parameter: Any) -> None:
    """Convert simple values of a parameter without pydantic. Older releases of Typer need no change.

    Args:
        parameter: parameter of Typer; it is modified.
    """
    build = getattr(parameter, "get_runtime_param", None)
    if build is not None and not isinstance(build, _SimpleValues) and hasattr(parameter, "type_descriptor"):
        parameter.get_runtime_param = _SimpleValues(parameter, build)


def _simple_value(value: Any, kind: Any, info: Any) -> Any:
    """The converted value, or `_NOT_SIMPLE`."""
    if info.parser is not None or kind not in (str, int, float, bool, Path):
        return _NOT_SIMPLE
    if kind is Path:
        checked = info.exists or info.resolve_path or info.writable or not (info.file_okay and info.dir_okay)
        readable = isinstance(value, str | Path) and (not os.path.exists(value) or os.access(value, os.R_OK))
        return Path(value) if readable and not checked else _NOT_SIMPLE
    converted = int(value) if kind is int and isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) else value
    if type(converted) is not kind:
        return _NOT_SIMPLE
    if kind in (int, float):
        above = info.min is None or converted >= info.min
        below = info.max is None or converted <= info.max
        return converted if above and below else _NOT_SIMPLE
    return converted


class CommandBase:
    """Mixin for commands and groups of Typer: our help text, and simple values converted without pydantic."""

    def parse_args(self: Any, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line."""
        for parameter in self.get_params(ctx):
            take_simple_values(parameter)
        remaining: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
        return remaining

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help text."""
        formatter.write(help_text(self, ctx))


class LazyCommand(NamedTuple):
    """A command or a group of commands whose module is not imported yet.

    Attributes:
        help: first sentence of its help.
        load: imports the module and returns the command.
    """

    help: str
    load: Callable[[], Any]


class LazyGroup(CommandBase, TyperGroup):
    """A group of commands, some of which are loaded when they are first used.

    Attributes:
        lazy: lazy commands by name.
    """

    lazy: ClassVar[Mapping[str, LazyCommand]] = {}

    @property
    def commands(self) -> dict[str, Any]:
        """All commands by name; lazy ones are loaded."""
        for name in self.lazy:
            self._load(name)
        return self._commands

    @commands.setter
    def commands(self, commands: Mapping[str, Any]) -> None:
        self._commands: dict[str, Any] = dict(commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, loaded; None if there is none."""
        return self._load(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a command line; the error says where it is if the program has it, and this group has not."""
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            root = ctx.find_root()
            if root is not ctx and hasattr(error, "message") and args[0] in root.command.list_commands(root):
                error.message = f"No such command '{args[0]}'. Did you mean '{root.info_name} {args[0]}'?"
            raise

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order of the help."""
        return list(dict.fromkeys([*self._commands, *self.lazy]))

    def summaries(self) -> Iterator[tuple[str, str]]:
        """Name and first sentence of each command that is not hidden; nothing is loaded."""
        for name, command in self._commands.items():
            if name not in self.lazy and not command.hidden:
                yield name, command.short_help or command.help or ""
        yield from ((name, command.help) for name, command in self.lazy.items())

    def _load(self, name: str) -> Any:
        if name in self.lazy and name not in self._commands:
            loaded = self.lazy[name].load()
            command: Any = typer.main.get_command(loaded) if isinstance(loaded, typer.Typer) else loaded
            command.name = name
            self._commands[name] = command
        return self._commands.get(name)


STANDARD_OUTPUT: Final = Path("-")
"""Value of `--output` for standard output; only commands whose help says `_STANDARD_OUTPUT_HELP` accept it."""

_STANDARD_OUTPUT_HELP: Final = "- for standard output"

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script, in place of lines and tables.")]
"""Option of commands that print a result."""

Replace = Annotated[bool, typer.Option("--force", help="Replace files that beampipe did not write.")]
"""Option of commands that write a file, for `beampipe.files.require_ours`."""

_Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no progress and no notes: results, warnings and errors only.")
]

_COMMAND_SETTINGS: Final[dict[str, Any]] = {
    "rich_markup_mode": None,  # brackets and stars in help texts are not markup
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

_METAVARS: Final[dict[Any, str]] = {Path: "PATH", int: "N", float: "X", str: "TEXT"}
"""Placeholder in the help for the value of an option, by its type."""


_SHORT_NAMES: Final = {
    "output": "-o",
    "events": "-n",
    "workers": "-j",
    "pipeline": "-p",
    "model": "-m",
    "file": "-f",
    "task": "-t",
    "agent": "-a",
    "level": "-l",
    "working_point": "-w",
}
"""Options that have a short name, too."""


class _Command(CommandBase, TyperCommand):
    """A single command."""


class Commands(typer.Typer):
    """A group of commands. Each has `-h` and `--quiet`; without a command, the group prints its help.

    The help text of an option stands in the section `Args` of the docstring of its command, or, if several commands
    share the option, in its annotation.

    Args:
        help: purpose of the group, in a sentence.
        name: name of the group, if `add_typer` does not set it.
        completion: whether to add options that install completion for a shell.
    """

    def __init__(self, help: str, name: str | None = None, *, completion: bool = False) -> None:
        self._lazy: dict[str, LazyCommand] = {}
        super().__init__(
            name=name,
            help=help,
            cls=type("Group", (LazyGroup,), {"lazy": self._lazy}),
            no_args_is_help=True,
            add_completion=completion,
            pretty_exceptions_enable=False,  # other errors than ours are bugs and keep their traceback
            **_COMMAND_SETTINGS,
        )

    def command(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        """Decorator that adds a command; the function gets no argument for `--quiet`."""
        add = super().command(
            *args, cls=_Command, **{"context_settings": _COMMAND_SETTINGS["context_settings"], **options}
        )

        def added(function: Any) -> Any:
            add(_with_common_options(function))
            return function

        return added

    def add_lazy(self, name: str, help: str, load: Callable[[], Any]) -> None:
        """Add a command or a group of commands whose module is imported when it is first used.

        Args:
            name: name of the command.
            help: first sentence of its help.
            load: imports the module and returns the group, or the function of the command.
        """

        def ready() -> Any:
            loaded = load()
            if isinstance(loaded, typer.Typer):
                return loaded
            single = Commands("")
            single.command(name)(loaded)
            return single

        self._lazy[name] = LazyCommand(help, ready)


def _with_common_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function of a command with the option `--quiet`, and with a placeholder for the value of each option."""
    own = inspect.signature(function, eval_str=True)
    text, helps = _documented(function)
    quiet = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Quiet)

    parameters = [_with_help(each, helps.get(each.name, "")) for each in own.parameters.values()]
    output = next((each for each in parameters if each.name == "output"), None)
    parts = getattr(getattr(output, "annotation", None), "__metadata__", ())
    takes_standard_output = any(_STANDARD_OUTPUT_HELP in (getattr(part, "help", None) or "") for part in parts)

    @wraps(function)
    def run(**arguments: Any) -> None:
        if arguments.get("output") == STANDARD_OUTPUT and not takes_standard_output:
            raise typer.BadParameter(
                "got -, expected a name: this command does not write to standard output", param_hint="--output"
            )
        with quietly(arguments.pop("quiet") or bool(arguments.get("as_json"))):
            function(**arguments)

    parameters = [*map(_with_metavar, parameters), quiet]
    run.__doc__ = text
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(run)["__signature__"] = own.replace(parameters=parameters)
    return run


def _documented(function: Callable[..., Any], section: str = "Args") -> tuple[str, dict[str, str]]:
    """The docstring of a command without its last section, and the help text of each parameter from there."""
    text, _, rows = (inspect.getdoc(function) or "").partition(f"\n\n{section}:\n")
    parts = re.split(r"^ {4}(\w+): ", rows, flags=re.MULTILINE)
    return text, {name: " ".join(help.split()) for name, help in zip(parts[1::2], parts[2::2], strict=True)}


def _with_help(parameter: inspect.Parameter, text: str) -> inspect.Parameter:
    """A parameter whose help text, with the words for its default in brackets at the end, is that of the docstring."""
    if not text:
        return parameter
    kind, info = parameter.annotation, typer.Option()
    if hasattr(kind, "__metadata__"):
        kind, info = kind.__origin__, copy(kind.__metadata__[0])
    words = re.fullmatch(r"(.*) \[default: (.*)\]", text)
    info.help, info.show_default = (words[1], words[2]) if words else (text, info.show_default)
    if not isinstance(info, ArgumentInfo) and info.default is ...:  # Typer takes the first name of an option for it
        names = f"--{parameter.name.replace('_', '-')}", _SHORT_NAMES.get(parameter.name, "")
        info.param_decls = tuple(filter(None, names))
    return parameter.replace(annotation=Annotated[kind, info])


def _with_metavar(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter with a placeholder for its value in the help, unless it has one."""
    annotation = parameter.annotation
    info = next((each for each in getattr(annotation, "__metadata__", ()) if hasattr(each, "metavar")), None)
    if info is None or info.metavar is not None or getattr(info, "parser", None) is not None:
        return parameter
    metavar: str | None = parameter.name.upper()
    if not isinstance(info, ArgumentInfo):
        kinds = {kind for kind in (annotation.__origin__, *_inner(annotation.__origin__)) if kind in _METAVARS}
        metavar = _METAVARS[kinds.pop()] if len(kinds) == 1 else None
    info = copy(info)
    info.metavar = metavar
    return parameter.replace(annotation=Annotated[annotation.__origin__, info])


def _inner(kind: Any) -> list[Any]:
    """The types that a type is made of, such as `Path` in ``list[Path] | None``."""
    return [each for part in get_args(kind) for each in (part, *_inner(part))]


@contextmanager
def output_file(output: Path, ending: str) -> Iterator[Path]:
    """The file to write: `output` itself, or a temporary file that is copied to standard output after the block.

    Args:
        output: value of `--output`; with - for standard output, no notes are printed.
        ending: suffix of the temporary file, such as ``".csv"``.
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


def _plain(value: Any) -> Any:
    """The same in dictionaries and lists; numbers that JSON does not have become None."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(result: Any) -> None:
    """Print a result as JSON on standard output; paths are printed as text.

    Args:
        result: dataclasses and named tuples, which become objects by the names of their fields; dictionaries, lists,
            arrays, texts, numbers. NaN and infinities become null.
    """
    typer.echo(json.dumps(_plain(result), indent=1, allow_nan=False, default=str))


def options_of(kind: type[Any], *, without: Collection[str] = ()) -> Callable[..., Any]:
    """A function for `with_options` whose options are the fields of a dataclass of settings.

    Name, type, default and help text of an option are those of the field; the help text stands in the section
    `Attributes` of the dataclass's docstring. A field ``tuple[X, ...]`` is an option that may be given several times,
    which is added to its text. What the values must satisfy is checked by the dataclass itself.

    Args:
        kind: the dataclass.
        without: fields that are no options; they keep their defaults.
    """
    hints: dict[str, Any] = get_type_hints(kind)
    shown = [field for field in fields(kind) if field.init and field.name not in without]
    several = {name for name, hint in hints.items() if get_origin(hint) is tuple and ... in get_args(hint)}
    documented = _documented(kind, "Attributes")[1]
    parameters = []
    for field in shown:
        text, default = documented[field.name], field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        hint = hints[field.name]
        if field.name in several:
            hint = GenericAlias(list, get_args(hint)[:1]) | None
            default = None if default is MISSING else list(default) or None
            words, bracket, shown_default = text.partition(" [default: ")
            text = f"{words.removesuffix('.')}; may be given several times.{bracket}{shown_default}"
        parameter = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY)
        if default is not MISSING:
            parameter = parameter.replace(default=default)
        parameter = parameter.replace(annotation=Annotated[hint, typer.Option()])
        parameters.append(_with_help(parameter, text[:1].upper() + text[1:]))

    def make(**values: Any) -> Any:
        return kind(**{name: tuple(value or ()) if name in several else value for name, value in values.items()})

    make.__annotations__ = {"return": kind}
    vars(make)["__signature__"] = inspect.Signature(parameters)
    return make


def with_options(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator by which several commands share options.

    Args:
        groups: function by name of a parameter of the command. The command has the function's parameters as options,
            with the help texts of its docstring, and gets what the function returns.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        # The types of the values need not be imported for help texts.
        annotations = [command.__annotations__[name] for name in groups]
        annotations += [function.__annotations__["return"] for function in groups.values()]
        unknown = dict.fromkeys(annotations, Any)
        own = inspect.signature(command, eval_str=True, locals=unknown)
        added: dict[str, list[inspect.Parameter]] = {}
        for name, function in groups.items():
            helps = _documented(function)[1]
            options = inspect.signature(function, eval_str=True, locals=unknown).parameters.values()
            added[name] = [_with_help(each, helps.get(each.name, "")) for each in options]
        parameters: list[inspect.Parameter] = []
        for parameter in own.parameters.values():
            parameters += added.get(parameter.name, [parameter])

        @wraps(command)
        def run(**given: Any) -> None:
            values = {
                name: groups[name](**{each.name: given.pop(each.name) for each in added[name]}) for name in groups
            }
            command(**given, **values)

        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        vars(run)["__signature__"] = own.replace(parameters=parameters)
        return run

    return decorate
