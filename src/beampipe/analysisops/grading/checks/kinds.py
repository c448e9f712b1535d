"""All types of checks by the names that rubrics call them, and where each may stand."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from beampipe.analysisops.grading.checks.answers.histogram_l2 import HistogramL2
from beampipe.analysisops.grading.checks.answers.method_fields import MethodFields
from beampipe.analysisops.grading.checks.answers.pull import Pull
from beampipe.analysisops.grading.checks.answers.tracks import Tracks
from beampipe.analysisops.grading.checks.answers.uncertainty import Uncertainty
from beampipe.analysisops.grading.checks.answers.word import Word
from beampipe.analysisops.grading.checks.gates.calls_made import CallsMade
from beampipe.analysisops.grading.checks.gates.status_ok import StatusOk
from beampipe.analysisops.grading.checks.gates.traceable import Traceable
from beampipe.analysisops.grading.checks.trace.check_cut_ids import CheckCutIds
from beampipe.analysisops.grading.checks.trace.llm_reasoning import LlmReasoning
from beampipe.analysisops.grading.checks.trace.numeric_in_range import NumericInRange
from beampipe.analysisops.grading.checks.trace.required_fields import RequiredFields
from beampipe.analysisops.grading.checks.trace.required_keys_in_dict import RequiredKeysInDict
from beampipe.analysisops.grading.checks.trace.target_soft import TargetSoft
from beampipe.analysisops.grading.checks.trace.threshold_ge import ThresholdGe

__all__ = ["GATES", "JUDGED", "RULES"]

_TRACE: Final[dict[str, type[Any]]] = {
    "required_fields": RequiredFields,
    "numeric_in_range": NumericInRange,
    "threshold_ge": ThresholdGe,
    "target_soft": TargetSoft,
    "required_keys_in_dict": RequiredKeysInDict,
    "check_cut_ids": CheckCutIds,
}

RULES: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {
        **_TRACE,
        "pull": Pull,
        "uncertainty": Uncertainty,
        "histogram_l2": HistogramL2,
        "word": Word,
        "tracks": Tracks,
        "method_fields": MethodFields,
    }
)
"""Checks that earn points."""

GATES: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {**_TRACE, "status_ok": StatusOk, "traceable": Traceable, "calls_made": CallsMade}
)
"""Checks that must hold; those of a trace may be either."""

JUDGED: Final[Mapping[str, type[Any]]] = MappingProxyType({"llm_reasoning": LlmReasoning})
"""Checks that a judge answers."""
