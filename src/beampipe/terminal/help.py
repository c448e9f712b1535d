"""Help texts: at most 80 columns wide, no word broken, the same in a terminal and in the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

COLUMNS: Final = 80
"""Width of help texts [characters]."""

_NAMES: Final = 24
"""Largest width [characters] of the column of names; a longer name gets a line of its own."""


def help_text(command: Any, context: Any) -> str:
    """The help text of a command or of a group of commands.

    Args:
        command: command of Typer.
        context: context of Typer.

    Returns:
        Usage, description, then a section each for arguments, options and commands.
    """
    blocks = [_filled(f"Usage: {context.command_path} {' '.join(_usage(command, context))}", 0, 7)]
    blocks += [_filled(" ".join(text.split()), 2) for text in (command.help or "").split("\n\n")]
    for head, rows in _sections(command, context):
        blocks.append("\n".join([f"{head}:", *_columns(rows)]))
    return "\n\n".join(blocks) + "\n"


def _usage(command: Any, context: Any) -> Iterator[str]:
    """Options and arguments of a command for the line "Usage"."""
    yield "[OPTIONS]"
    if hasattr(command, "summaries"):
        yield "COMMAND [ARGS]..."
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument":
            yield (parameter.metavar if parameter.required else f"[{parameter.metavar}]") + "..." * (
                parameter.nargs < 0
            )


def _sections(command: Any, context: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Headings of the sections of a command, each with its rows: name and description."""
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
    """Lines with names on the left and descriptions on the right."""
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
