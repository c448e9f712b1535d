"""Stage 7, `report`: the results as an HTML page, figures and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.calibration.exports.corrections import read_correction, write_correction, write_covariance
    from beampipe.calibration.report.write import write_report
    from beampipe.calibration.results import Results, SampleResult, collect_results

__all__ = [
    "Results",
    "SampleResult",
    "collect_results",
    "read_correction",
    "write_correction",
    "write_covariance",
    "write_report",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "beampipe.calibration.exports.corrections": ["read_correction", "write_correction", "write_covariance"],
        "beampipe.calibration.results": ["Results", "SampleResult", "collect_results"],
        "write": ["write_report"],
    },
)
