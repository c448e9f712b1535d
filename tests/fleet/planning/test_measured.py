"""Files with measured service times: both kinds are read, and what does not fit is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.fleet.planning.measured import Measured, parse_sizes, read_measured, write_measured
from beampipe.fleet.planning.simulator import LogNormalSizes, MeasuredSizes, ParetoSizes


def point(sample: str, way: str, mean: float, **other: Any) -> dict[str, Any]:
    return {
        "sample": sample,
        "way": way,
        "concurrency": 1,
        "instances": 1,
        "rate": None,
        "summary": {"mean": mean},
        **other,
    }


def load_test(*points: dict[str, Any], samples: int = 2) -> dict[str, Any]:
    hits = [{"name": f"mu{mu}", "hits": 300 + 700 * mu} for mu in range(samples)]
    return {"pipeline": "exatrkx", "samples": hits, "points": points, "conditions": {"command": "bench"}}


def stored(folder: Path, found: Any) -> Path:
    path = folder / "measured.json"
    path.write_text(json.dumps(found))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    measured = Measured((300.0, 9000.0), (0.003, 0.06), "toy", 3e-4, (0.5, 1.5), 0.1, (300.0,))
    write_measured(tmp_path / "m.json", measured)
    assert read_measured(tmp_path / "m.json") == measured


def test_service_times_follow_the_measurement() -> None:
    measured = Measured((100.0, 200.0, 300.0), (0.1, 0.2, 0.3), overhead=0.5, contention=0.25)
    service = measured.service()
    assert service.line(np.array([150.0]))[0] == pytest.approx(0.15)
    assert (service.overhead, service.contention) == (0.5, 0.25)
    assert measured.event_sizes().values.tolist() == [100.0, 200.0, 300.0]


def test_many_events_make_a_table() -> None:
    sizes = np.linspace(1.0, 1000.0, 400)
    service = Measured(tuple(sizes), tuple(sizes**2)).service()
    assert len(service.sizes) > 2


def test_a_load_test_tells_service_and_overhead(tmp_path: Path) -> None:
    result = load_test(
        point("mu0", "direct", 0.003),
        point("mu1", "direct", 0.009),
        point("mu0", "exatrkx http", 0.0034),
        point("mu1", "exatrkx http", 0.0094),
        point("mu0", "exatrkx http", 9.0, concurrency=16),
        point("mu0", "exatrkx http", 9.0, instances=2),
        point("mu0", "exatrkx http", 9.0, rate=5.0),
    )
    measured = read_measured(stored(tmp_path, result))
    assert measured.sizes == (300.0, 1000.0)
    assert measured.seconds == (0.003, 0.009)
    assert measured.overhead == pytest.approx(4e-4)
    with pytest.raises(ConfigError, match="--sizes"):
        measured.event_sizes()


def test_a_load_test_without_the_direct_pipeline(tmp_path: Path) -> None:
    measured = read_measured(stored(tmp_path, load_test(point("mu0", "exatrkx grpc", 0.003), samples=1)))
    assert (measured.seconds, measured.overhead) == ((0.003,), 0.0)
    assert measured.event_sizes().values.tolist() == [300.0]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"sizes": [1.0], "seconds": [1.0, 2.0]}, "1 sizes and 2 seconds"),
        ({"sizes": [], "seconds": []}, "0 sizes"),
        ({"sizes": [1.0], "seconds": [0.0]}, "above 0"),
        ({"sizes": [1.0], "second": [1.0]}, "second"),
        ([1.0], "a table"),
        (load_test(point("mu0", "direct", 0.1, concurrency=4)), "one request in flight"),
        ({"points": [{}], "samples": []}, "beampipe serving bench"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, found: Any, message: str) -> None:
    with pytest.raises(BeampipeError) as caught:
        read_measured(stored(tmp_path, found))
    assert message in str(caught.value)
    assert "measured.json" in str(caught.value)


def test_sizes_of_an_option(tmp_path: Path) -> None:
    assert parse_sizes("lognormal:300,1") == LogNormalSizes(300.0, 1.0)
    assert parse_sizes("pareto:100,1.2,1e5") == ParetoSizes(100.0, 1.2, 1e5)
    result = parse_sizes(str(stored(tmp_path, [1, 2.5])))
    assert isinstance(result, MeasuredSizes)
    assert result.values.tolist() == [1.0, 2.5]


@pytest.mark.parametrize("text", ["lognormal:300", "pareto:1,2,x", "lognormal:nan,1", "pareto:3,1,2"])
def test_distributions_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_sizes(text)


def test_files_of_sizes_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        parse_sizes(str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="array of numbers"):
        parse_sizes(str(stored(tmp_path, ["300"])))
    (tmp_path / "text").write_text("300 400")
    with pytest.raises(FileError, match="no JSON"):
        parse_sizes(str(tmp_path / "text"))
