"""Values of options that are right as they are, or plain numbers and paths.

Newer releases of Typer convert values by pydantic, whose import takes longer than all the rest of a command's start.
What is simple is taken here; whatever needs a second look, and each error, is left to Typer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

__all__ = ["take_simple_values"]

_WHOLE: Final = re.compile("[0-9]{1,15}")
"""What is a whole number beyond doubt."""

_LEFT: Final = object()
"""What is left to Typer."""


class _Simple:
    """Takes the simple values of a parameter; called, it gives itself, as Typer asks for what converts values.

    Args:
        parameter: of Typer.
        build: gives what converts other values.
    """

    def __init__(self, parameter: Any, build: Callable[[], Any]) -> None:
        self._kind, self._build = parameter.type_descriptor, build
        self._many = parameter.multiple or parameter.nargs == -1

    def __call__(self) -> _Simple:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value that a command gets, by Typer's method of this name unless it is simple."""
        if value is None:
            return () if self._many else None
        found = _LEFT if self._many else _taken(value, self._kind.annotation, self._kind.parameter_info)
        return self._build().coerce(value, param=param, ctx=ctx) if found is _LEFT else found


def take_simple_values(parameter: Any) -> None:
    """Let a parameter of a command take simple values without pydantic; one of an older Typer does so anyway.

    Args:
        parameter: of Typer; it is changed.
    """
    build = getattr(parameter, "get_runtime_param", None)
    if build is not None and not isinstance(build, _Simple) and hasattr(parameter, "type_descriptor"):
        parameter.get_runtime_param = _Simple(parameter, build)


def _taken(value: Any, kind: Any, info: Any) -> Any:
    """A value as one of that kind, if it is simple; `_LEFT` if Typer has to look at it."""
    if info.parser is not None or kind not in (str, int, float, bool, Path):
        return _LEFT
    if kind is Path:
        return _path(value, info)
    found = int(value) if kind is int and isinstance(value, str) and _WHOLE.fullmatch(value) else value
    if type(found) is not kind:
        return _LEFT
    limited = kind in (int, float) and (info.min is not None or info.max is not None)
    inside = not limited or ((info.min is None or found >= info.min) and (info.max is None or found <= info.max))
    return found if inside else _LEFT


def _path(value: Any, info: Any) -> Any:
    """A path of which nothing is asked but that it can be read if it is there."""
    if not isinstance(value, str | Path) or info.exists or info.resolve_path or info.writable:
        return _LEFT
    if not (info.file_okay and info.dir_okay) or (os.path.exists(value) and not os.access(value, os.R_OK)):
        return _LEFT
    return Path(value)
