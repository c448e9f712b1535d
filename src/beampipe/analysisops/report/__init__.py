"""The page of a run: who is how good, at what cost, how honest, and what is behind each number.

`write_report` is all that is needed. The page is static and whole; its style and scripts are in web.

gather          reads a run
detail          what is shown of one assessment, and what is not
tables, plots   the page's upper half
page            the page
words           numbers as text
"""

from beampipe.analysisops.report.gather import References
from beampipe.analysisops.report.page import write_report

__all__ = ["References", "write_report"]
