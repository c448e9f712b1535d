"""Measured service times for the simulator, from JSON of either of two formats.

The first is written by `write_measured`, by ``benchmarks/fleet/simulator.py``, or by hand::

    {
      "about": "exatrkx, one H100, 2026-11-25",    description of the measurement
      "sizes": [310, 288, 9120],                   size of each measured event, e.g. hits
      "seconds": [0.0031, 0.0029, 0.0611],         time that one instance worked on it, alone on its cores [s]
      "overhead": 0.0003,                          mean time of a request outside of instances [s]; 0 if left out
      "overhead_ratios": [0.9, 1.0, 1.3],          overheads of single requests over their mean; [1] if left out
      "contention": 0.05,                          share by which each further busy core slows all; 0 if left out
      "events": [305, 9100]                        sizes of the events of the load; `sizes` if left out
    }

The second is ``serving.json`` of `beampipe serving bench`, which has one mean time for each sample. Service times are
those of the direct pipeline with one event at a time; the overhead is the additional time of a served event.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.files import write_whole
from beampipe.fleet.planning.simulator import (
    LogNormalSizes,
    MeasuredSizes,
    ParetoSizes,
    ServiceTimes,
    Sizes,
    fit_affine,
    fit_table,
)
from beampipe.settings import build

__all__ = ["Measured", "parse_sizes", "read_measured", "write_measured"]

_DISTRIBUTIONS: Final[Mapping[str, tuple[Callable[..., Sizes], int]]] = MappingProxyType(
    {"lognormal": (LogNormalSizes, 2), "pareto": (ParetoSizes, 3)}
)
"""Name of a distribution -> its class, and the number of its parameters."""
_DIRECT: Final = "direct"
"""Name in a load test of the pipeline without a server."""
_KNOTS_FROM: Final = 200
"""Smallest number of events for a table of bins; with fewer, a line is fitted."""


@dataclass(frozen=True)
class Measured:
    """Measured service times.

    Attributes:
        sizes: size of each measured event, e.g. hits.
        seconds: time that one instance, alone on its cores, worked on each [s].
        about: description of the measurement.
        overhead: mean time of a request that occupies no instance [s]: network and gateway.
        overhead_ratios: overheads of single requests over their mean.
        contention: share by which each further busy core of a machine slows all of them.
        events: sizes of the events of the load; None for `sizes`; empty if they are unknown.
    """

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]
    about: str = ""
    overhead: float = 0.0
    overhead_ratios: tuple[float, ...] = (1.0,)
    contention: float = 0.0
    events: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.seconds) or not self.sizes:
            raise ConfigError(
                f"measured: got {len(self.sizes)} sizes and {len(self.seconds)} seconds, expected one or more of each,"
                " as many of one as of the other"
            )
        self.service()  # checks the values

    def service(self) -> ServiceTimes:
        """Service times by size: a table for 200 events or more, else a line."""
        sizes, seconds = np.array(self.sizes), np.array(self.seconds)
        fitted = fit_table(sizes, seconds) if len(sizes) >= _KNOTS_FROM else fit_affine(sizes, seconds)
        return replace(
            fitted, overhead=self.overhead, overhead_ratios=np.array(self.overhead_ratios), contention=self.contention
        )

    def event_sizes(self) -> MeasuredSizes:
        """Sizes of the events of the load.

        Raises:
            ConfigError: they are unknown.
        """
        events = self.sizes if self.events is None else self.events
        if not events:
            raise ConfigError(
                "sizes: got a load test of several samples, which does not say how often events of each size come;"
                " expected --sizes with a file of sizes, or a distribution"
            )
        return MeasuredSizes(np.array(events))


def read_measured(path: Path) -> Measured:
    """Read a file of either format.

    Raises:
        FileError: it cannot be read, or is no JSON.
        ConfigError: it has another content, or no point with one event at a time.
    """
    result = _read_json(path)
    if isinstance(result, dict) and {"points", "samples"} <= result.keys():
        try:
            return _of_load_test(result)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, BeampipeError):
                error.args = (f"{path}: {error}",)
                raise
            raise ConfigError(f"{path}: got {error!r}, expected serving.json of `beampipe serving bench`") from error
    return build(Measured, result, str(path))


def write_measured(path: Path, measured: Measured) -> None:
    """Store measurements as JSON."""
    text = json.dumps(asdict(measured), indent=1) + "\n"
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def parse_sizes(text: str) -> Sizes:
    """Parse the sizes of events in an option of a command.

    Args:
        text: ``lognormal:MEDIAN,SIGMA``, ``pareto:LEAST,SHAPE,MOST``, or the path of a JSON array of numbers.

    Raises:
        FileError: no such file, or no JSON.
        ConfigError: the numbers do not fit.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in _DISTRIBUTIONS:
        return MeasuredSizes(_numbers(_read_json(Path(text)), text))
    distribution, n = _DISTRIBUTIONS[kind]
    try:
        numbers = [float(part) for part in rest.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != n or not np.all(np.isfinite(numbers)):
        raise ConfigError(f"sizes: got {text!r}, expected lognormal:MEDIAN,SIGMA or pareto:LEAST,SHAPE,MOST")
    return distribution(*numbers)


def _of_load_test(found: dict[str, Any]) -> Measured:
    hits = {sample["name"]: float(sample["hits"]) for sample in found["samples"]}
    alone: dict[str, dict[str, float]] = {}
    for point in found["points"]:
        if (point["concurrency"], point["instances"], point["rate"]) == (1, 1, None):
            alone.setdefault(point["way"], {})[point["sample"]] = float(point["summary"]["mean"])
    ways = [way for way in alone if way != _DIRECT]
    if not alone:
        raise ConfigError("points: got none with one request in flight and one instance, expected some")
    service = alone.get(_DIRECT) or alone[ways[0]]
    added = [seconds - service[name] for way in ways[:1] for name, seconds in alone[way].items() if name in service]
    sizes = tuple(hits[name] for name in service)
    return Measured(
        sizes=sizes,
        seconds=tuple(service.values()),
        about=f"{found['pipeline']}: {found['conditions'].get('command', '')}",
        overhead=max(0.0, float(np.median(added))) if _DIRECT in alone and added else 0.0,
        events=None if len(sizes) == 1 else (),
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); expected a JSON file", path=path) from error
    except ValueError as error:
        raise FileError(f"{path}: got no JSON ({error})", path=path) from error


def _numbers(found: Any, where: str) -> ndarray:
    if not isinstance(found, Sequence) or not all(type(one) in (int, float) for one in found):
        raise ConfigError(f"{where}: got {str(found)[:40]!r}, expected a JSON array of numbers")
    return np.array(found, np.float64)
