"""The stages of a calibration: their names, their order, and the digest of the code that each runs."""

from __future__ import annotations

from functools import cache
from typing import Final

from beampipe.workflow import code_digest, digest_of
from beampipe.workflow.digest import NO_RESULT

__all__ = ["CALIBRATION_STAGES", "reaches", "stage_code"]

CALIBRATION_STAGES: Final = ("select", "predict", "fill", "reweight", "extract", "factors", "report")
"""The stages that a user can ask for, in the order in which they run."""

_MODULES: Final = {
    "inspect": ("ntuple.reading",),
    "bookkeeping": ("ntuple.bookkeeping",),
    "select": ("jets.select",),
    "predict": ("tagger.predict",),
    "fill": ("histograms.fill",),
    "merge": ("histograms.sums",),
    "reweight": ("method.cases", "method.reweight"),
    "extract": ("method.efficiencies",),
    "factors": ("method.scale_factors",),
}
"""Stage -> modules of `beampipe.calibration` whose code, with all that they import, makes it."""

_NO_RESULT: Final = (*NO_RESULT, "beampipe.triton", "beampipe.calibration.config")
"""Code that shapes no result: the configuration's values are parameters of the stages."""


@cache
def stage_code(stage: str) -> str:
    """Digest of the code of a stage, as it was when first asked for: what runs does not change either."""
    return digest_of([code_digest(f"beampipe.calibration.{module}", but=_NO_RESULT) for module in _MODULES[stage]])


def reaches(until: str, stage: str) -> bool:
    """Whether a run whose last stage is `until` includes `stage`."""
    return CALIBRATION_STAGES.index(until) >= CALIBRATION_STAGES.index(stage)
