"""Commands whose modules are imported when somebody asks for them: a word of help imports no physics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup

from beampipe.terminal.manners import Mannered

__all__ = ["Group", "Later"]


class Later(NamedTuple):
    """A command, or a group of commands, that is not loaded yet.

    Attributes:
        help: what it does, in one sentence: the first of its own help.
        load: imports its module and gives it, ready to be called.
    """

    help: str
    load: Callable[[], Any]


class Group(Mannered, TyperGroup):
    """A group of commands, some of which may be loaded later.

    Attributes:
        later: name -> command that is loaded when it is asked for by its name, or when all are asked for.
    """

    later: ClassVar[Mapping[str, Later]] = {}

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
