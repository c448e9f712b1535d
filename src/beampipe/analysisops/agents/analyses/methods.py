"""Which program answers which kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from beampipe.analysisops.agents.analyses.counts import counting, tagprobe, wz3l
from beampipe.analysisops.agents.analyses.peaks import diphotons, higgs, ttbar, width, zmumu
from beampipe.analysisops.agents.analyses.systems import jets, operations, tracks
from beampipe.analysisops.agents.analysis import AnalysisFiles, AnalysisResult

__all__ = ["METHODS"]

METHODS: Final[Mapping[str, Callable[[AnalysisFiles], AnalysisResult]]] = {
    "zmumu": zmumu.analyse,
    "width": width.analyse,
    "hyy": diphotons.analyse_hyy,
    "hmumu": higgs.analyse_hmumu,
    "hbb": higgs.analyse_hbb,
    "hzz4l": higgs.analyse_hzz4l,
    "ttbar": ttbar.analyse,
    "wz3l": wz3l.analyse,
    "search": diphotons.analyse_search,
    "counting": counting.analyse,
    "tagprobe": tagprobe.analyse,
    "tracks": tracks.analyse,
    "jets": jets.analyse,
    "operations": operations.analyse,
}
"""Family of a task -> its analysis."""
