"""One command line: the same words with the same meaning, helps that can be read, in all commands there are."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import pytest
import typer
from typer.testing import CliRunner

from beampipe.analysisops.evaluation import task_folder
from beampipe.calibration.demo import DEMO_CONFIGURATION
from beampipe.cli import app
from beampipe.terminal.help import COLUMNS
from tests.option_words import WORDS

FOREIGN: Final = {"--help", "--version", "--install-completion", "--show-completion"}
UNIT: Final = r"\b(in|of|per) (seconds|days|GeV|T|rad|mm|percent)\b|\[(GeV|mm|s)\]"
WITHOUT_UNIT: Final = {  # ratios, and numbers of things that need not be whole
    *("--mu", "--eta", "--quark-tracks", "--gluon-tracks", "--working-point", "--load", "--slower", "--uncertainty"),
    *("--share", "--allow-differences", "--rate"),
}
SYNONYMS: Final = {  # that others use for what has a word here
    *("--out", "--outdir", "--output-dir", "--out-dir", "--models", "--via", "--served-model", "--nevents"),
    *("--n-events", "--max-events", "--jobs", "--processes", "--procs", "--nthreads", "--random-seed", "--silent"),
    *("--address", "--server", "--endpoint", "--verbose", "--config", "--log-file", "--tracker", "--parallel"),
}
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
        *("beampipe serving unit", "beampipe fleet dashboard", "beampipe fleet rules", "beampipe fleet example"),
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
        return {**names, "path": WORDS["--output"].kind}.get(option.type.name)
    kinds = {descriptor.annotation, *inner(descriptor.annotation)} & {int, float, str, WORDS["--output"].kind}
    return kinds.pop() if len(kinds) == 1 else None


def inner(kind: Any) -> list[Any]:
    return [item for part in get_args(kind) for item in (part, *inner(part))]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 50
    assert {"beampipe track", "beampipe fleet token add"} <= {command.path for command in COMMANDS}


def test_shared_words_mean_the_same() -> None:
    for found in COMMANDS:
        for option in found.options:
            name = long_name(option)
            assert name not in SYNONYMS, f"{found.path} {name}: say it with a word of tests.option_words"
            if name not in WORDS:
                continue
            word = WORDS[name]
            kind = kind_of(option)
            assert kind in (word.kind, None) or (kind, word.kind) == (int, float), f"{found.path} {name}: got {kind}"
            assert re.match(word.says, option.help), f"{found.path} {name}: got {option.help!r}, expected {word.says!r}"
            assert set(option.opts) == {name, word.short} - {""}, f"{found.path} {name}"


def test_other_words_are_the_same_wherever_they_are() -> None:
    texts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for command in COMMANDS:
        for option in command.options:
            if (name := long_name(option)) not in {*WORDS, *FOREIGN}:
                texts[name][option.help].append(command.path)
                assert set(option.opts) == {name}, f"{command.path} {name}: a short name stands in tests.option_words"
    several = {name: dict(meanings) for name, meanings in texts.items() if len(meanings) > 1}
    assert not several, "one name, several meanings: give each its own name, or the name to tests.option_words"


def test_each_word_is_used_and_each_short_name_is_of_one() -> None:
    used = {long_name(option) for command in COMMANDS for option in command.options}
    assert not WORDS.keys() - used
    shorts = [word.short for word in WORDS.values() if word.short]
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


def test_the_help_says_what_for() -> None:
    """Sentences; units of numbers; what happens without an option."""
    for found in TREE:
        texts = {"": found.command.help, **{long_name(option): option.help for option in found.options}}
        texts |= {argument.name: argument.help for argument in found.arguments}
        for name, text in texts.items():
            if name in ("--install-completion", "--show-completion"):
                continue
            assert text, f"{found.path} {name}"
            assert re.search(r"[.:]$", text.partition("\n\n")[0].strip()), f"{found.path} {name}: {text!r}"
            assert text[0].isupper() or text[0] in "'|", f"{found.path} {name}: {text!r}"
        for option in found.options:
            if kind_of(option) is float and long_name(option) not in WITHOUT_UNIT:
                assert re.search(UNIT, option.help), f"{found.path} {long_name(option)}: got no unit in {option.help!r}"
            assert "by default" not in option.help, f"{found.path} {long_name(option)}: say it with show_default"
            if kind_of(option) in (int, float) and not option.required and not option.multiple:
                shown = isinstance(option.show_default, str) or option.default is not None
                assert shown, f"{found.path} {long_name(option)}: got no default, expected show_default"
            output = "several times" in option.help
            assert output == option.multiple, f"{found.path} {long_name(option)}: '; may be given several times.'"
            assert not re.search(r"\. May be given|[Rr]epeatable", option.help), (
                f"{found.path}: '; may be given several times.'"
            )


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
