"""The rules of Prometheus, `rules.yml`: what is counted, and when somebody is told."""

from __future__ import annotations

import math
from importlib.resources import files
from typing import Final

__all__ = ["interval_text", "rules_text", "window"]

_LOOKS: Final = 4
"""Number of looks at a server over which a rate is taken: one or two may fail."""
_SHORTEST: Final = 10
"""Shortest time [s] over which a rate is taken; shorter ones flicker."""


def window(interval: float) -> int:
    """The time [s] over which rates are taken.

    Args:
        interval: time between two looks at each server [s].
    """
    return max(math.ceil(_LOOKS * interval), _SHORTEST)


def interval_text(interval: float) -> str:
    """The time between two looks at each server as Prometheus reads it, such as ``2000ms``.

    Args:
        interval: that time [s].
    """
    return f"{round(1000 * interval)}ms"


def rules_text(interval: float) -> str:
    """Recording and alerting rules as YAML.

    Args:
        interval: time between two looks at each server [s].
    """
    text = (files("beampipe.fleet.watching") / "rules.yml").read_text(encoding="utf-8")
    head, groups = text.split("groups:\n")
    return f"{head}groups:\n{groups.replace('[window]', f'[{window(interval)}s]')}"
