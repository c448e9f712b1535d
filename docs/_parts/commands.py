"""The commands in the reference: what the Typer app says of each, in Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer

from beampipe.cli import app

__all__ = ["section", "table", "tree"]


@cache
def tree() -> dict[str, Any]:
    """Every command by the words that it is called with, `beampipe` first; groups too, hidden ones not."""
    return dict(_below("beampipe", typer.main.get_command(app)))


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield words, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        if not inner.hidden:
            yield from _below(f"{words} {name}", inner)


def group_of(words: str) -> str:
    """The first word after `beampipe`, or nothing for a command that stands by itself."""
    parts = words.split()
    return parts[1] if len(parts) > 1 and hasattr(tree()[" ".join(parts[:2])], "commands") else ""


def table() -> str:
    """All commands, each with its first sentence."""
    rows = []
    for words, command in tree().items():
        if not hasattr(command, "commands"):
            group = group_of(words)
            page = f"commands_{group}.md" if group else ""
            rows.append(f"| [`{words}`]({page}#{anchor(words)}) | {first_sentence(command)} |")
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows, ""])


def section(group: str) -> str:
    """All commands of a group; of none, those that stand by themselves."""
    shown = [one for one in tree().items() if group_of(one[0]) == group and not hasattr(one[1], "commands")]
    if not shown:
        raise LookupError(f"no commands in {group!r}; there are {', '.join(sorted(set(map(group_of, tree()))))}")
    text = text_of(tree()[f"beampipe {group}"]) if group else ""
    return "\n".join([text, "", *(described(words, command) for words, command in shown)])


def anchor(words: str) -> str:
    """What a link to a command ends in, after the `#`."""
    return words.replace(" ", "-")


def described(words: str, command: Any) -> str:
    """A section with usage, text, arguments and options of one command."""
    context = command.context_class(command, info_name=words)
    params = [one for one in command.get_params(context) if one.name != "help"]
    arguments = [one for one in params if one.param_type_name == "argument"]
    options = [one for one in params if one.param_type_name == "option"]
    needed = [record(one, context)[0].split(", ")[-1] for one in options if one.required]
    names = [placeholder(one) for one in arguments]
    usage = [words, *names, *needed, *(["[OPTIONS]"] if len(options) > len(needed) else [])]
    entries = [
        line for one in [*arguments, *options] if not getattr(one, "hidden", False) for line in entry(one, context)
    ]
    return "\n".join(
        [
            f"({anchor(words)})=",
            f"## `{words}`",
            "",
            text_of(command),
            "",
            "```text",
            *wrapped(usage),
            "```",
            "",
            *entries,
        ]
    )


def wrapped(words: list[str]) -> list[str]:
    """Words in lines of at most 80 characters, the later ones indented."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > 79:
            lines.append("   ")
        lines[-1] += f" {word}"
    return lines


def placeholder(argument: Any) -> str:
    """How an argument stands in the usage: NAME, [NAME], NAME..."""
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def record(param: Any, context: Any) -> tuple[str, str]:
    """Names of a parameter with what it takes, and its text with what holds without it: as `--help` says them."""
    names, text = param.get_help_record(context)
    return names.replace(" range>", ">"), text


def entry(param: Any, context: Any) -> list[str]:
    """A term and its text in a definition list."""
    names, text = record(param, context)
    term = placeholder(param).strip("[]") if param.param_type_name == "argument" else names
    text, _, note = text.partition("  [")
    note = re.sub(r"default: \((.*?)\)(?=;|$)", r"default: \1", note.removesuffix("]"))
    return [f"`{term}`", f": {' '.join(plain(text).split())}{f' *({note})*' if note else ''}", ""]


def text_of(command: Any) -> str:
    """The help of a command: paragraphs in Markdown."""
    return plain(inspect.cleandoc(command.help or ""))


def first_sentence(command: Any) -> str:
    """The first sentence of the help."""
    first = " ".join(text_of(command).partition("\n\n")[0].split())
    return re.split(r"(?<=[.])\s+(?=[A-Z])", first)[0].replace("|", r"\|")


def plain(text: str) -> str:
    """Help as Markdown: no mark of where a form feed or a paragraph kept as it is begins, no HTML by accident."""
    text = text.partition("\f")[0].replace("\b\n", "")
    return re.sub(r"<(?=\w)", r"\\<", text)
