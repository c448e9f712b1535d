"""The page of a run: scores, cost, calibration of uncertainties, and where points were lost.

`write_report` writes it. The page is static and self-contained; its style and scripts are in the folder ``web``.
"""

from beampipe.analysisops.report.page import References, write_report

__all__ = ["References", "write_report"]
