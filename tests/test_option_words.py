"""One command line: options of one name are alike, and helps can be read, in all commands there are."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import pytest
import typer
from typer.testing import CliRunner

from beampipe.analysisops.evaluation import task_folder
from beampipe.calibration.run import DEMO_CONFIGURATION
from beampipe.cli import app
from beampipe.terminal.help import COLUMNS

FOREIGN: Final = {"--help", "--version", "--install-completion", "--show-completion"}
WITHOUT_JSON: Final = {  # what a command prints, in place of a result
    "serves until it is ended": {
        *("beampipe serve", "beampipe fleet gateway", "beampipe fleet job", "beampipe fleet sidecar"),
        *("beampipe fleet run", "beampipe fleet member", "beampipe analysisops tools", "beampipe analysisops serve"),
        *("beampipe analysisops agent", "beampipe analysisops green", "beampipe triton run"),
    },
    "a note on what it wrote or did": {
        *("beampipe tracking simulate", "beampipe tracking example", "beampipe tracking export"),
        *("beampipe tracking display", "beampipe serving load", "beampipe serving unload"),
        *("beampipe triton load", "beampipe triton unload"),
        *("beampipe serving export", "beampipe serving engine install", "beampipe fleet down", "beampipe fleet drain"),
        *("beampipe fleet resume", "beampipe fleet token revoke", "beampipe calibration init"),
        "beampipe chain init",
        *("beampipe calibration toy", "beampipe calibration inject", "beampipe analysisops sample"),
        "beampipe analysisops export",
    },
    "the text of a file": {
        *(
            "beampipe docs",
            "beampipe serving unit",
            "beampipe fleet dashboard",
            "beampipe fleet rules",
            "beampipe fleet example",
        ),
    },
    "one name a line, and nothing else": {
        *("beampipe fleet k8s", "beampipe fleet compose", "beampipe fleet slurm", "beampipe fleet watch"),
        *("beampipe fleet token add", "beampipe fleet certificate authority", "beampipe fleet certificate server"),
        "beampipe fleet certificate client",
    },
}


class Found(NamedTuple):
    """A command, or a group of commands."""

    path: str
    command: Any
    context: typer.Context

    @property
    def options(self) -> list[Any]:
        return [
            get_param for get_param in self.command.get_params(self.context) if get_param.param_type_name == "option"
        ]

    @property
    def arguments(self) -> list[Any]:
        return [
            get_param for get_param in self.command.get_params(self.context) if get_param.param_type_name == "argument"
        ]


def tree() -> Iterator[Found]:
    """All commands and groups, the hidden ones included."""

    def walk(command: Any, context: Any) -> Iterator[Found]:
        yield Found(context.command_path, command, context)
        for name, one in getattr(command, "commands", {}).items():
            yield from walk(one, type(context)(one, info_name=name, parent=context))

    root: Any = typer.main.get_command(app)
    return walk(root, root.make_context("beampipe", ["--quiet-context"], resilient_parsing=True))


TREE: Final = list(tree())
COMMANDS: Final = [item for item in TREE if not hasattr(item.command, "commands")]


def long_name(option: Any) -> str:
    return str(max(option.opts, key=len))


def kind_of(option: Any) -> type | None:
    """The type of a value; None for one that Typer does not tell, such as a choice."""
    if option.is_flag:
        return bool
    descriptor = getattr(option, "type_descriptor", None)
    if descriptor is None:  # an older Typer, on click
        names = {"integer": int, "integer range": int, "float": float, "float range": float, "text": str}
        return {**names, "path": Path}.get(option.type.name)
    kinds = {descriptor.annotation, *inner(descriptor.annotation)} & {int, float, str, Path}
    return kinds.pop() if len(kinds) == 1 else None


def inner(kind: Any) -> list[Any]:
    return [item for part in get_args(kind) for item in (part, *inner(part))]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 50
    assert {"beampipe track", "beampipe fleet token add"} <= {command.path for command in COMMANDS}


def test_an_option_has_one_type_and_one_short_name_in_all_commands() -> None:
    kinds, names = defaultdict[str, set[type | None]](set), defaultdict[str, set[str]](set)
    for option in (option for command in COMMANDS for option in command.options):
        kinds[long_name(option)].add(kind_of(option))
        names[long_name(option)].add(" ".join(sorted(option.opts)))
    assert not {name: each for name, each in kinds.items() if len(each - {None}) > 1 and not each <= {int, float, None}}
    assert not {name: each for name, each in names.items() if len(each) > 1}
    shorts = [name for each in names.values() for name in each.pop().split() if len(name) == 2]
    assert len(shorts) == len(set(shorts))


def test_every_command_has_the_manners() -> None:
    for found in COMMANDS:
        names = {name for option in found.options for name in option.opts}
        assert {"-h", "--help", "-q", "--quiet"} <= names, found.path
        for argument in found.arguments:  # `example FILE` and `init FILE` are named after the file that one begins with
            assert argument.name not in ("output", "out", "outdir", "url"), f"{found.path}: say --{argument.name}"


def test_every_command_that_prints_a_result_has_json() -> None:
    without = set().union(*WITHOUT_JSON.values())
    assert not without - {command.path for command in COMMANDS}
    with_json = {command.path for command in COMMANDS if any("--json" in option.opts for option in command.options)}
    lacking = {command.path for command in COMMANDS} - with_json - without
    assert not lacking, "give it an option of beampipe.terminal.commands.Json, or say above what it prints"
    assert not with_json & without


PLAN: Final = ("--clients", "5", "--rate", "2", "--p95", "1", "--requests", "200")
QUICK: Final = (  # commands that need nothing but what is shipped, each with words that make it quick
    ("tracking", "models"),
    ("tracking", "demo", "--mu", "0", "-p", "module_map"),
    ("calibration", "simulate", "--list"),
    ("calibration", "inspect", str(DEMO_CONFIGURATION.parent / "toy.slice0.0000.root")),
    ("analysisops", "tasks"),
    ("analysisops", "check", str(task_folder("zmumu"))),
    ("analysisops", "run", "-a", "nop", "-t", "operations", "-l", "1", "-o", "run"),
    ("analysisops", "report", "run"),
    ("analysisops", "rescore", "run"),
    ("fleet", "plan", "measured.json", *PLAN),
)


def test_what_json_prints_is_json_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("measured.json").write_text('{"sizes": [100, 900], "seconds": [0.002, 0.01]}', encoding="utf-8")
    for words in QUICK:
        plain, output = (CliRunner().invoke(app, [*words, *more], catch_exceptions=False) for more in ((), ("--json",)))
        assert plain.exit_code == output.exit_code == 0, output.output
        assert json.loads(output.stdout), words
        assert output.stdout.startswith(("{", "[")), words
        assert not plain.stdout.startswith(("{", "[")), words


def test_the_help_fits_80_columns_and_breaks_no_word() -> None:
    for found in TREE:
        text = found.command.get_help(found.context)
        wide = [line for line in text.splitlines() if len(line) > COLUMNS]
        assert not wide, found.path
        words = text.split()
        for item in [*found.options, *found.arguments]:
            if not getattr(item, "hidden", False):
                first, *rest = item.help.split()
                place = next((i for i in range(len(words)) if words[i : i + 1 + len(rest)] == [first, *rest]), None)
                assert place is not None, f"{found.path}: {item.help!r} is not in one piece"
