"""`tests/triton/named_triton.py`: which tests it runs against a Triton in a folder, and what it says of them."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

SCRIPT = Path(__file__).parents[3] / "tests" / "triton" / "named_triton.py"

REPORT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.triton.server.test_server" name="test_it_answers" time="1.5" />
<testcase classname="tests.triton.server.test_restart" name="test_it_restarts" time="2.5">
<failure message="AssertionError: no answer&#10;second line">traceback</failure></testcase>
<testcase classname="tests.serving.test_athena" name="test_athena[60]" time="0.5"><skipped message="no" /></testcase>
</testsuite></testsuites>
"""


def test_results_are_counted_by_part_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    parts = runpy.run_path(str(SCRIPT))["read_report"](tmp_path / "report.xml")
    assert list(parts) == ["triton/server", "serving"]
    assert parts["triton/server"].outcomes == {"passed": 1, "failed": 1}
    assert parts["triton/server"].seconds == 4.0
    assert parts["triton/server"].failures == ["test_restart::test_it_restarts: AssertionError: no answer"]
    assert parts["serving"].outcomes == {"skipped": 1}


def test_only_tests_that_start_a_triton_are_run() -> None:
    items = [SimpleNamespace(fixturenames=names) for names in (["engine", "tmp_path"], ["tmp_path"])]
    runpy.run_path(str(SCRIPT))["pytest_collection_modifyitems"](items)
    assert [item.fixturenames for item in items] == [["engine", "tmp_path"]]
