"""Help texts: at most 80 columns wide, no word broken, the same in a terminal and in the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

__all__ = ["COLUMNS", "help_text"]

COLUMNS: Final = 80
"""The width [characters] of a text of help."""

_NAMES: Final = 24
"""The largest width [characters] of the column of names; a longer name has a line of its own."""


def help_text(command: Any, context: Any) -> str:
    """The help of a command or of a group of them.

    Args:
        command: of click, or of Typer, which has one of its own.
        context: in which the command is asked for.

    Returns:
        Usage, what it does, then arguments, options and commands, each section with a head of its own.
    """
    blocks = [_filled(f"Usage: {context.command_path} {' '.join(_usage(command, context))}", 0, 7)]
    blocks += [_filled(" ".join(text.split()), 2) for text in (command.help or "").split("\n\n")]
    for head, rows in _sections(command, context):
        blocks.append("\n".join([f"{head}:", *_columns(rows)]))
    return "\n\n".join(blocks) + "\n"


def _usage(command: Any, context: Any) -> Iterator[str]:
    """What may follow the name of a command."""
    yield "[OPTIONS]"
    if hasattr(command, "summaries"):
        yield "COMMAND [ARGS]..."
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument":
            yield (parameter.metavar if parameter.required else f"[{parameter.metavar}]") + "..." * (
                parameter.nargs < 0
            )


def _sections(command: Any, context: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The heads of the sections that a command has, each with its rows: a name, and what it is."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            is_argument = parameter.param_type_name == "argument"
            own = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
            name = parameter.metavar if is_argument else record[0]
            sections.setdefault(own, []).append((name, record[1].replace("\\[", "[")))  # Typer may escape for rich
    if hasattr(command, "summaries"):
        sections["Commands"] = [
            (name, " ".join(text.partition("\n\n")[0].split())) for name, text in command.summaries()
        ]
    return ((head, rows) for head, rows in sections.items() if rows)


def _columns(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Names on the left, what they are on the right."""
    rows = list(rows)
    width = min(_NAMES, max(len(name) for name, _ in rows)) + 4
    for name, text in rows:
        block = _filled(" ".join(text.split()), width)
        if len(name) + 4 > width:
            yield f"  {name}"
            yield block
        else:
            yield f"  {name}".ljust(width) + block[width:]


def _filled(text: str, indent: int, further: int | None = None) -> str:
    return textwrap.fill(
        text,
        COLUMNS,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if further is None else further),
        break_long_words=False,
        break_on_hyphens=False,
    )
