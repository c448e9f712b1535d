"""Costs projected to many events and to a facility."""

from __future__ import annotations

from pathlib import Path

import pytest

from beampipe.chain.cost import StageCost, projections, read_facility
from beampipe.errors import BeampipeError

COSTS = (
    StageCost("simulate", 2, 100, 20.0, 7.2, 0, 1000, 4 * 10**9),
    StageCost("jets", 2, 100, 2.0, 3.6, 0, 500, 10**9),
    StageCost("ntuple", 1, 100, 2.0, 99.0, 0, 500, 10**9),
)
STAGES = ("simulate", "jets")


def facility_file(folder: Path, **changes: object) -> Path:
    values = {"count": 10, "cores": 8, "memory_gb": 16.0, "speed": 2.0} | changes
    path = folder / "facility.toml"
    path.write_text("[nodes.cpu]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()))
    return path


def test_costs_grow_with_the_events_of_stages_that_handle_them() -> None:
    simulate, jets, whole = projections(COSTS, STAGES, 1e6)
    assert (simulate.core_hours, jets.core_hours) == pytest.approx((20.0, 10.0))
    assert whole.core_hours == pytest.approx(30.0)
    assert (whole.stage, whole.written, whole.hours) == ("all", 1.5e7, None)


def test_memory_may_leave_cores_idle(tmp_path: Path) -> None:
    facility = read_facility(facility_file(tmp_path))
    # 4 tasks of 4 GB on a node of 16 GB, 8 of 1 GB; cores are twice as fast.
    simulate, jets, whole = projections(COSTS, STAGES, 1e6, facility)
    assert simulate.hours == pytest.approx(20.0 / (10 * 4 * 2))
    assert jets.hours == pytest.approx(10.0 / (10 * 8 * 2))
    assert whole.hours == pytest.approx(20.0 / 80 + 10.0 / 160)
    small = read_facility(facility_file(tmp_path, memory_gb=2.0))
    assert projections(COSTS, STAGES, 1e6, small)[-1].hours == float("inf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"cores": 0}, "expected numbers above 0"), ({"gpu": 1}, "unknown key 'gpu'"), ({"count": "'ten'"}, "count")],
)
def test_wrong_facilities_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(BeampipeError, match=message):
        read_facility(facility_file(tmp_path, **changes))
    (tmp_path / "empty.toml").write_text("nodes = {}")
    with pytest.raises(BeampipeError, match="got no nodes"):
        read_facility(tmp_path / "empty.toml")
