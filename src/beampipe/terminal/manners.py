"""What all commands of ours, and all groups of them, do alike."""

from __future__ import annotations

from typing import Any

from beampipe.terminal.helps import help_text
from beampipe.terminal.values import take_simple_values

__all__ = ["Mannered"]


class Mannered:
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
