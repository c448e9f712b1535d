"""The stages of a calibration: their names, their order, and the digest of the code that each runs."""

from __future__ import annotations

from functools import cache
from typing import Final

from beampipe.calibration.kernels.loading import build
from beampipe.workflow import code_digest, digest_of, installed, installed_version
from beampipe.workflow.code import NO_RESULT

__all__ = ["CALIBRATION_STAGES", "environment", "reaches", "stage_code"]

CALIBRATION_STAGES: Final = ("select", "predict", "fill", "reweight", "extract", "factors", "report")
"""The stages that a user can ask for, in the order in which they run."""

_MODULES: Final = {
    "inspect": ("ntuple.reading",),
    "bookkeeping": ("ntuple.bookkeeping",),
    "select": ("jets.select",),
    "predict": ("tagger.predict",),
    "fill": ("histograms.fill", "histograms.one_pass"),
    "merge": ("histograms.sums",),
    "reweight": ("method.cases", "method.reweight"),
    "extract": ("method.efficiencies",),
    "factors": ("method.scale_factors",),
}
"""Stage -> modules of `beampipe.calibration` whose code, with all that they import, makes it."""

_NO_RESULT: Final = (*NO_RESULT, "beampipe.triton", "beampipe.calibration.config")
"""Code that shapes no result: the configuration's values are parameters of the stages."""


_READERS: Final = ("numpy", "uproot", "awkward", "cramjam", "zstandard")
"""Other packages that numbers pass through on their way from a file."""

_PACKAGES: Final = {
    "inspect": _READERS,
    "select": _READERS,
    "predict": (*_READERS, "lightgbm"),
    "fill": _READERS,
    "merge": ("numpy", "cramjam"),
    "reweight": ("numpy",),
    "extract": ("numpy",),
    "factors": ("numpy",),
}
"""Stage -> other packages that it computes with, whose versions count."""

_COMPILED: Final = ("inspect", "select", "predict", "fill")
"""Stages that read files or run compiled loops, whose build counts."""


@cache
def stage_code(stage: str) -> str:
    """Digest of the code of a stage, as it was when first asked for: what runs does not change either.

    The versions of other packages count where a stage computes with them, and what the compiled loops were built from
    where they run.
    """
    own = [code_digest(f"beampipe.calibration.{module}", but=_NO_RESULT) for module in _MODULES[stage]]
    versions = {package: installed_version(package) for package in _PACKAGES.get(stage, ())}
    return digest_of([own, versions, build() if stage in _COMPILED else ""])


def environment() -> dict[str, str]:
    """What a process computes with: versions of Python and of packages, digests of code and of compiled loops."""
    packages = dict.fromkeys(package for each in _PACKAGES.values() for package in (*each, "correctionlib"))
    versions = {package: installed_version(package) for package in packages}
    return {**installed(), **versions, "compiled loops": build()}


def reaches(until: str, stage: str) -> bool:
    """Whether a run whose last stage is `until` includes `stage`."""
    return CALIBRATION_STAGES.index(until) >= CALIBRATION_STAGES.index(stage)
