"""The origin of each submitted number: a label beside the score, on which the gate `traceable` depends.

====================== =============================================================================================
label                  the number
====================== =============================================================================================
traceable              a tool computed it from data files, by steps that the ledger holds
partially              the same, but some input of a step is neither in the ledger nor in the prompt
computed_from_nothing  a tool returned it, but from numbers that the agent made up, or it repeats an argument, or it
                       does not depend on the data
copied                 it is in the prompt or in published tables, and no tool returned it
fabricated             none of these
====================== =============================================================================================

A number matches an entry of the ledger if that, rounded to the digits of the number, equals it. At least three digits
are compared, so that ``5`` does not match 5.4; a factor of 1000 either way is a change of units (MeV and GeV).
"""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from beampipe.analysisops.grading.submission import Submission, number_of
from beampipe.analysisops.ledger import Entry

Label = Literal["traceable", "partially", "copied", "computed_from_nothing", "fabricated"]
"""The origin of a number."""

LABELS: Final[tuple[Label, ...]] = ("traceable", "partially", "copied", "computed_from_nothing", "fabricated")
"""The labels, from the most to the least trusted."""

_FEWEST_DIGITS: Final = 3
_UNITS: Final = (1.0, 1e-3, 1e3)
_MOST_ANSWERS: Final = 64
_MOST_NUMBERS: Final = 5000
"""Maximum count of numbers of one result."""

_FACTS: Final = frozenset(
    {
        "download_atlas_data_tool",
        "list_local_root_files_tool",
        "inspect_root_schema_tool",
        "load_kinematics_tool",
    }
)
"""Tools whose numbers describe the data. They may enter a calculation; they are not results of an analysis."""

_FROM_NUMBERS: Final = frozenset({"calculate_tool", "efficiency_tool", "limit_tool", "solve_linear_tool"})
"""Tools that take numbers instead of handles: their results are as traceable as their inputs."""

_DECISIVE: Final[Mapping[str, tuple[str, ...]]] = {
    "efficiency_tool": ("passed", "total"),
    "limit_tool": ("observed", "background", "signal"),
    "solve_linear_tool": ("matrix", "right"),
}
"""Decisive inputs: if one of them is made up, the result counts as made up."""

_DESCRIBED: Final = "columns."
"""Prefix of paths of numbers that describe columns of events, such as means; they are not results either."""

_COUNTS: Final = frozenset({"count_tool", "select_tool"})
"""Tools that count events: a number that equals an argument, such as a cut, does so by chance."""

_ECHOES: Final = frozenset(
    {"edges", "window", "initial_params", "fixed", "bins", "low", "high", "level", "seconds", "variances"}
)
"""Keys of results that repeat arguments or hold no possible answers."""

_PUBLISHED: Final = (
    *(91.1876, 91.188, 91.19, 2.4952, 2.4955, 80.379, 80.377, 80.3692, 80.4),
    *(125.0, 125.04, 125.09, 125.1, 125.11, 125.18, 125.2, 125.22, 125.25, 125.35, 125.38, 125.4),
    *(172.4, 172.5, 172.52, 172.56, 172.57, 172.69, 172.76, 173.0, 173.1, 173.2, 173.34),
)
"""Published masses and widths of W, Z, Higgs and top [GeV]."""

_NUMBER: Final = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Origin:
    """The origin of a number.

    Attributes:
        label: how far it can be traced.
        entry: number of the matching entry of the ledger, None if there is none.
        tool: name of the tool of that entry.
        path: path of the number in its result.
    """

    label: Label
    entry: int | None = None
    tool: str = ""
    path: str = ""


class NumberIndex:
    """The numbers of a ledger, each with how far it can be traced.

    Args:
        entries: the ledger of one session.
        prompt: the prompt of the agent; its numbers do not count as results.
    """

    def __init__(self, entries: Sequence[Entry], prompt: str = "") -> None:
        self._prompt = sorted(float(text) for text in _NUMBER.findall(prompt)[:_MOST_NUMBERS])
        self._published = sorted(_PUBLISHED)
        self._inputs = _Numbers()
        self._results = _Numbers()
        for entry in entries:
            if entry.result is not None and not entry.error:
                self._add(entry)

    def origin(self, number: float) -> Origin:
        """The origin of a submitted number."""
        result = self._results.find(number)
        if result is not None and result.label in ("traceable", "partially"):
            return result
        if _near(self._prompt, number) or _near(self._published, number):
            return Origin("copied")
        return result or Origin("fabricated")

    def _add(self, entry: Entry) -> None:
        arguments = () if entry.tool in _COUNTS else _walk(entry.arguments, "", skip_echoes=False, read_texts=True)
        given = sorted(number * unit for _, number in arguments for unit in _UNITS)
        label = self._worth(entry)
        inputs: dict[float, str] = {}
        results: dict[float, str] = {}
        echoes: dict[float, str] = {}
        for path, number in itertools.islice(_walk(entry.result, "", skip_echoes=True), _MOST_NUMBERS):
            if given and _near(given, number, exact=True):
                echoes.setdefault(number, path)
                continue
            inputs.setdefault(number, path)
            if not path.startswith(_DESCRIBED):
                results.setdefault(number, path)
        self._inputs.add(entry, label, inputs)
        if entry.tool not in _FACTS:
            self._results.add(entry, label, results)
            self._results.add(entry, "computed_from_nothing", echoes)

    def _worth(self, entry: Entry) -> Label:
        """The label of the results of a call."""
        if entry.tool not in _FROM_NUMBERS:
            return "traceable" if entry.sources else "computed_from_nothing"
        decisive = {key: entry.arguments.get(key) for key in _DECISIVE.get(entry.tool, ())}
        given = [number for _, number in _walk(decisive, "", skip_echoes=False)]
        if any(self._worth_of_input(number) == "fabricated" for number in given):
            return "computed_from_nothing"
        labels = [self._worth_of_input(number, literal) for number, literal in _inputs(entry)]
        if not any(label in ("traceable", "partially") for label in labels):
            return "computed_from_nothing"
        # Without sources, the result depends on no data.
        whole = entry.sources and not any(label in ("partially", "fabricated") for label in labels)
        return "traceable" if whole else "partially"

    def _worth_of_input(self, number: float, literal: bool = False) -> Label:
        small = number == int(number) and abs(number) <= 10
        origin = self._inputs.find(number)
        # In a formula a small integer is a factor, even if a tool has returned the same number.
        if origin is not None and origin.label in ("traceable", "partially") and not (literal and small):
            return origin.label
        # Numbers of the prompt are facts.
        return "copied" if small or _near(self._prompt, number) else "fabricated"


def label_answers(submission: Submission, trail: NumberIndex) -> dict[str, dict[str, Any]]:
    """For each answer its label and the matching entry, and the same for value and uncertainty separately.

    The label of an answer is that of its value; it is ``"partially"`` if the value can be traced and the uncertainty
    cannot.
    """
    labels: dict[str, dict[str, Any]] = {}
    for name in list(submission.section("answers"))[:_MOST_ANSWERS]:
        value, uncertainty = submission.answer(name)
        if value is None:
            labels[name] = {"label": "fabricated", "reason": "no finite number"}
            continue
        origin = trail.origin(value)
        labels[name] = asdict(origin)
        if uncertainty is not None:
            second = trail.origin(uncertainty)
            labels[name]["uncertainty"] = asdict(second)
            if origin.label == "traceable" and second.label != "traceable":
                labels[name]["label"] = "partially"
        labels[name]["value"] = asdict(origin)
    return labels


def significant_digits(number: float) -> int:
    """Significant digits of a number, as far as a double holds them: 91.190 has four.

    >>> significant_digits(91.190), significant_digits(2400.0), significant_digits(0.05)
    (4, 2, 1)
    """
    digits = re.sub(r"e.*|[-.]", "", repr(float(number))).strip("0")
    return len(digits)


class _Numbers:
    """Numbers with their origins, indexed by value."""

    def __init__(self) -> None:
        self._sorted: list[float] = []
        self._origins: dict[float, tuple[Label, Entry, str]] = {}

    def add(self, entry: Entry, label: Label, paths: Mapping[float, str]) -> None:
        """Add numbers of the result of a call, by their paths; of several origins the most trusted is kept."""
        trust = LABELS.index(label)
        for number, path in paths.items():
            before = self._origins.get(number)
            if before is None or trust < LABELS.index(before[0]):
                self._origins[number] = (label, entry, path)
        self._sorted = sorted(self._origins)

    def find(self, number: float) -> Origin | None:
        """The most trusted origin of the numbers that match."""
        origins = [self._origins[match] for match in _matches(self._sorted, number)]
        if not origins:
            return None
        label, entry, path = min(origins, key=lambda origin: LABELS.index(origin[0]))
        return Origin(label, entry.number, entry.tool, path)


def _near(numbers: Sequence[float], number: float, *, exact: bool = False) -> bool:
    if exact:
        position = bisect_left(numbers, number - 1e-12 * abs(number))
        return position < len(numbers) and numbers[position] <= number + 1e-12 * abs(number)
    return next(_matches(numbers, number), None) is not None


def _matches(numbers: Sequence[float], number: float) -> Iterator[float]:
    """Sorted numbers that equal `number` when rounded to its digits, in some unit."""
    half = 0.0
    if number != 0.0:  # half of the last significant digit, and a little for the rounding of doubles
        digits = max(significant_digits(number), _FEWEST_DIGITS)
        power = math.floor(math.log10(abs(number))) - digits + 1
        half = 0.5 * 10.0 ** max(power, -300) + 1e-12 * abs(number)
    for unit in _UNITS:
        low, high = (number - half) / unit, (number + half) / unit
        position = bisect_left(numbers, low)
        while position < len(numbers) and numbers[position] <= high:
            yield numbers[position]
            position += 1


def _inputs(entry: Entry) -> Iterator[tuple[float, bool]]:
    """Numbers that enter a calculation, and whether each is a literal of its expression; without settings.

    Values on which the result does not depend, according to its tool, do not count: ``91.2 + 0 * n`` uses no data.
    """
    matter = (entry.result or {}).get("depends_on")
    for key, value in entry.arguments.items():
        if key == "values" and isinstance(matter, list) and isinstance(value, Mapping):
            value = {name: number for name, number in value.items() if name in matter}
        if key not in _ECHOES:
            literal = key == "expression"
            yield from ((number, literal) for _, number in _walk(value, key, skip_echoes=False, read_texts=literal))


def _walk(value: object, path: str, *, skip_echoes: bool, read_texts: bool = False) -> Iterator[tuple[str, float]]:
    """Path and value of all numbers in JSON, in order."""
    left = [(path, value)]
    while left:
        path, value = left.pop()
        if type(value) is float:  # most values are floats, and a ledger holds thousands
            if math.isfinite(value):
                yield path, value
        elif isinstance(value, str):
            if read_texts:
                yield from (
                    (path, float(text)) for text in _NUMBER.findall(value[:10_000]) if math.isfinite(float(text))
                )
        elif isinstance(value, Mapping):
            left += [(f"{path}.{key}".lstrip("."), value[key]) for key in reversed(_telling_keys(value, skip_echoes))]
        elif isinstance(value, list | tuple):
            left += [(f"{path}[{index}]", value[index]) for index in range(len(value) - 1, -1, -1)]
        elif (number := number_of(value)) is not None:
            yield path, number


def _telling_keys(value: Mapping[str, Any], skip_echoes: bool) -> list[str]:
    """The keys of an object that may hold results."""
    if not skip_echoes:
        return list(value)
    if value.get("min") is not None and value.get("min") == value.get("max"):
        return []  # a column with one value for all events holds no information
    contents = "edges" in value  # the bins of a histogram are not results
    return [key for key in value if key not in _ECHOES and not (contents and key == "values")]
