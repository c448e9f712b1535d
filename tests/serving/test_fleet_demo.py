"""The demo of a fleet is what a stranger runs first: it must lose nothing and leave nothing."""

from __future__ import annotations

from pathlib import Path

from beampipe.files import check_folder_outputs
from beampipe.serving.fleet_demo import DEMO_FILES, run_fleet_demo
from beampipe.triton.engine import Engine


def test_events_flow_while_servers_are_killed_hung_and_taken_out(engine: Engine, tmp_path: Path) -> None:
    result = run_fleet_demo(tmp_path)
    assert [what for what, _ in result.faults] == [
        "one server killed",
        "one server hung",
        "one server taken out and in",
    ]
    assert result.events > 36
    assert (result.lost, result.wrong, result.left) == ([], 0, [])
    assert not (tmp_path / "models").exists()
    check_folder_outputs(tmp_path, DEMO_FILES)  # a second demo may replace them
