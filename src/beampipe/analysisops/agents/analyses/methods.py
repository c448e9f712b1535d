"""Which program answers which kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from beampipe.analysisops.agents.analyses import counting, diphotons, tagprobe, width, zmumu
from beampipe.analysisops.agents.analyses.opened import Found, Opened

__all__ = ["METHODS"]

METHODS: Final[Mapping[str, Callable[[Opened], Found]]] = {
    "zmumu": zmumu.analyse,
    "width": width.analyse,
    "hyy": diphotons.analyse_hyy,
    "null": diphotons.analyse_null,
    "counting": counting.analyse,
    "tagprobe": tagprobe.analyse,
}
"""Family of a task -> its analysis."""
