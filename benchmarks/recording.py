"""The results of benchmarks: one schema, and the conditions of a measurement.

A result is a JSON file with

    conditions  date, command, processor, cores, load_average, load_average_at_end (1, 5, 15 min), versions
    figures     numbers with names and units, as the attributes of `Figure`
    details     what else a benchmark found; records in `benchmarks/results/` have none

`make bench-compare` compares the figures of new results with those of the records by name.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import resource
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))  # reference implementations and toys stand with the tests

from beampipe.processes import processor_name
from beampipe.terminal import console, make_table

Way = TypeVar("Way")
Event = TypeVar("Event")
Better = Literal["lower", "higher", "equal"]
CONSOLE: Final = console(180)
FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True)
class Reference:
    """The same quantity of another program or way, measured in the same run and unit."""

    name: str
    value: float


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: name of the quantity; the same in every run of a benchmark.
        value: the number; an integer is a count, which has no spread.
        unit: its unit; empty for counts, fractions and ratios.
        better: whether lower or higher values are better, or only equal ones are right.
        reference: the other side, if the benchmark compares two.
        spread: how far the value varies from run to run, or its statistical error, in the same unit.
        claim: the sentence or table of README or docs that it supports; by default that of its script.
    """

    name: str
    value: float
    unit: str = ""
    better: Better = "lower"
    reference: Reference | None = None
    spread: float | None = None
    claim: str = ""

    def __post_init__(self) -> None:
        numbers = [self.value, self.spread or 0.0, self.reference.value if self.reference else 0.0]
        if not self.name or not all(map(math.isfinite, numbers)) or (self.spread or 0.0) < 0:
            raise ValueError(f"{self.name or 'figure'}: got {numbers}, expected a name and finite numbers, spread >= 0")
        if self.better not in get_args(Better):
            raise ValueError(f"{self.name}: better: got {self.better!r}, expected one of {', '.join(get_args(Better))}")

    def as_text(self) -> str:
        """Value, spread and unit."""
        if not self.spread:
            return f"{short(self.value)} {self.unit}".rstrip()
        error = f"{self.spread:.2g}"
        digits = len(error.partition(".")[2])
        return f"{self.value:.{digits}f} ± {error} {self.unit}".rstrip()

    def worse(self, other: Figure) -> bool:
        """Whether a new measurement `other` is worse than this one by more than the spread of this one.

        Without a recorded spread, it is 0 for a count and 10 % of any other value.
        """
        spread = self.spread
        if spread is None:
            spread = 0.0 if isinstance(self.value, int) else 0.1 * abs(self.value)
        more = other.value - self.value
        return {"lower": more, "higher": -more, "equal": abs(more)}[self.better] > spread


def short(value: float) -> str:
    """Four significant digits; counts in full."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def figures_of(result: Mapping[str, Any]) -> list[Figure]:
    """The figures in a result that was read from JSON."""
    return [
        Figure(**{**entry, "reference": Reference(**entry["reference"]) if "reference" in entry else None})
        for entry in result["figures"]
    ]


def parser_of(about: str | None, name: str) -> argparse.ArgumentParser:
    """A parser with the option `--output`, by default the file of that name in ``runs/bench/``."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(f"runs/bench/{name}.json"), help="JSON; pictures beside it")
    return parser


def begin(title: str, packages: Sequence[str] = (), note: str = "") -> dict[str, Any]:
    """The conditions of a measurement, which are also printed; to be called before anything is measured.

    Args:
        title: title of the benchmark.
        packages: distributions beside beampipe whose versions matter.
        note: what to print after the number of cores.
    """
    CONSOLE.rule(title)
    load = _load_average()
    CONSOLE.print(f"{processor_name()}, {_cores()} cores{note}; load average {load}", markup=False)
    if load[0] > 0.5:
        CONSOLE.print("the machine is not idle: times are upper limits, ratios suffer less", style="yellow")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python", *sys.argv]),
        "processor": processor_name(),
        "cores": _cores(),
        "load_average": load,
        "versions": {name: package_version(name) for name in ("beampipe", *packages)}
        | {"python": platform.python_version()},
    }


def write_result(output: Path, begun: Mapping[str, Any], figures: Sequence[Figure], **details: object) -> None:
    """Print the figures and write the JSON file of a benchmark.

    Args:
        output: the file to write.
        begun: what `begin` returned before the measurement.
        figures: what was measured; no two of one name.
        details: what else is worth keeping, as values of JSON.
    """
    names = [figure.name for figure in figures]
    if len(set(names)) < len(names):
        raise ValueError(f"figures: got {names}, expected different names")
    claim = claim_of(script_of(begun["command"]))
    table = make_table("figures", ("figure",), ("value", "reference"))
    for figure in figures:
        other = figure.reference
        table.add_row(figure.name, figure.as_text(), f"{other.name} {short(other.value)}" if other else "")
    CONSOLE.print(table)
    entry = {
        "conditions": {**begun, "load_average_at_end": _load_average()},
        "figures": [as_entry(replace(figure, claim=figure.claim or claim)) for figure in figures],
        "details": details,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(_plain(entry), indent=1, allow_nan=False, default=str) + "\n", encoding="utf-8")
    CONSOLE.print(f"wrote {output}", markup=False)


def as_entry(figure: Figure) -> dict[str, Any]:
    """A figure as an entry of JSON, without what it does not have."""
    return {name: value for name, value in asdict(figure).items() if value not in (None, "")}


def areas() -> list[dict[str, Any]]:
    """The areas of `benchmarks.toml`, with their scripts."""
    return list(tomllib.loads((FOLDER / "benchmarks.toml").read_text(encoding="utf-8"))["area"])


def claim_of(script: str) -> str:
    """The claim of a script, e.g. ``benchmarks/fit.py``, in `benchmarks.toml`."""
    scripts = {script_of(entry["command"]): entry["claim"] for area in areas() for entry in area["script"]}
    return str(scripts.get(script, ""))


def script_of(command: str) -> str:
    """The script in a command, from ``benchmarks/`` on; of a command of beampipe, its name without options."""
    script = re.search(r"benchmarks/[\w/]+\.py", command) or re.search(r"beampipe \w+ \w+", command)
    return script[0] if script else command


def record_name(path: Path, command: str) -> str:
    """Name of the record of a result: that of its file, after the folder of its script."""
    folder = Path(script_of(command)).parent
    return f"{folder.name}-{path.stem}" if folder.parent.name == "benchmarks" else path.stem


def asked_in_turn(
    asks: Mapping[Way, Callable[[Event], object]], events: Sequence[Event], calls: int, seed: int
) -> dict[Way, np.ndarray]:
    """Seconds of each call, by way; the n-th entries of all ways are of the same event and moment.

    The order of the ways is drawn anew for each event, so that other work on the machine strikes all ways alike.
    """
    times: dict[Way, list[float]] = {way: [] for way in asks}
    generator = np.random.default_rng(seed)
    ways = list(asks)
    for number in range(calls):
        event = events[number % len(events)]
        for row in generator.permutation(len(ways)):
            begin = perf_counter()
            asks[ways[row]](event)
            times[ways[row]].append(perf_counter() - begin)
    return {way: np.array(taken) for way, taken in times.items()}


def cpu_seconds() -> float:
    """User and system time of this process and of those that it started and that have ended [s]."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _load_average() -> list[float]:
    return [round(load, 2) for load in os.getloadavg()]


def package_version(package: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    """The same with NaN as null, and numbers of numpy as those of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        value = value.tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value
