"""Declared columns: names, counts of unusable numbers, and what no column should look like."""

import numpy as np
import pytest
from numpy import ndarray

from beampipe.columns import Column, ColumnScan, recognised, suspicion

EVENT = Column("event_id", ("event", "eventNumber", "evt"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x", "EVENT_NUMBER"], "EVENT_NUMBER"),
        (["evt", "eventNumber"], "eventNumber"),
        (["Event.ID", "event_id"], "event_id"),
        (["events_in_run"], None),
    ],
)
def test_names_are_recognised_in_any_case_and_spelling(names: list[str], expected: str | None) -> None:
    assert recognised([EVENT], names).get("event_id") == expected


def test_unusable_numbers_are_counted_by_cause() -> None:
    scan = ColumnScan(Column("score", low=0.0, high=1.0))
    usable = scan.add(np.array([0.5, np.nan, np.inf, -1.0, -1.0, 1.0]))
    assert usable.tolist() == [True, False, False, False, False, True]
    scan.add(np.array([0.1, 0.2]))
    assert scan.share == 0.5
    assert str(scan) == ("4 of 8 numbers (50.00%) cannot be used: 1 NaN, 1 infinite, 2 equal to -1, outside 0 to 1")


BULK = np.linspace(0.1, 0.9, 1000)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (BULK, ""),
        (np.exp(3 * np.sin(BULK * 50)), ""),
        (np.append(BULK, [-999.0] * 50), "the value -999 50 of 1050 times"),
        (np.append(BULK, [1e6]), ""),
        (BULK.astype(np.float32) * np.float32(1e-40), "misread"),
        (np.zeros(100), ""),
        (np.array([]), ""),
    ],
)
def test_suspicious_columns(values: ndarray, expected: str) -> None:
    found = suspicion(values)
    assert expected in found
    assert bool(found) == bool(expected)
