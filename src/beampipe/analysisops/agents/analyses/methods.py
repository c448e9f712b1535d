"""Which program answers which kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from beampipe.analysisops.agents.analyses import zmumu
from beampipe.analysisops.agents.analyses.opened import Found, Opened

__all__ = ["METHODS"]

METHODS: Final[Mapping[str, Callable[[Opened], Found]]] = {
    "zmumu": zmumu.analyse,
}
"""Family of a task -> its analysis."""
