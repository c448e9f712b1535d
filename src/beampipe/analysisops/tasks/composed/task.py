"""Tasks composed from the grammar of `samples.composed`: each seed is another task, without a recipe."""

from __future__ import annotations

from beampipe.analysisops.agents.analysis import Analysis, AnalysisResult
from beampipe.analysisops.samples.composed.generate import make as make
from beampipe.errors import ConfigError


def analyse(analysis: Analysis) -> AnalysisResult:
    """There is none.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        "composed: got a scripted agent, expected one that reads the question; no recipe solves these tasks"
    )
