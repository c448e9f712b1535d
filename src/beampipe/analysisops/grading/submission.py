"""A submission as bounded, plain JSON, the contents that it names, and the input and result of a check.

An agent may answer anything: None, a list, NaN, a million keys, a nesting that overflows a stack. `read_submission`
truncates it once and notes every cut, so that checks can rely on their input. Values without a JSON equivalent (NaN,
infinity, a number outside double precision, a Python object) become None, which no check accepts as a number.

A submission refers to histograms and track labels by name. The host takes their contents from the ledger or the
session, never from the agent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from beampipe.analysisops.contract import HistogramReference
from beampipe.analysisops.ledger import Entry
from beampipe.errors import ConfigError

_DEEPEST: Final = 16
"""Maximum depth of lists and objects; deeper values become None."""

_LONGEST: Final = 16_384
"""Maximum length of a text [characters]."""

_ALL_TEXTS: Final = 262_144
"""Maximum length of all texts together [characters]."""

_MOST: Final = 20_000
"""Maximum number of values in a submission; later ones are cut."""

_LARGEST: Final = 2**53
"""Larger integers are not exact as doubles and are read as such."""

MISSING: Final[Any] = object()
"""Result of `value_at` where there is nothing; null in JSON is None."""


@dataclass(frozen=True)
class Submission:
    """A submission in the form that checks use.

    Attributes:
        content: its fields; empty if it was not an object.
        is_object: whether it was an object.
        notes: one sentence for each cut.
    """

    content: Mapping[str, Any]
    is_object: bool = True
    notes: tuple[str, ...] = ()

    def section(self, name: str) -> Mapping[str, Any]:
        """The object of that name, such as ``"answers"``; an empty one if there is none."""
        section = self.content.get(name)
        return section if isinstance(section, Mapping) else {}

    def answer(self, name: str) -> tuple[float | None, float | None]:
        """Value and uncertainty of an answer; None for a missing or non-finite number. A plain number is a value."""
        answer = self.section("answers").get(name)
        if isinstance(answer, Mapping):
            return number_of(answer.get("value")), number_of(answer.get("uncertainty"))
        return number_of(answer), None


def read_submission(raw: object) -> Submission:
    """Read a submission from an answer of any type; it never raises."""
    if not isinstance(raw, Mapping):
        return Submission({}, False, (f"got {type(raw).__name__}, expected an object",))
    reader = _Reader()
    content = reader.read(raw, "", 0)
    return Submission(content, True, tuple(reader.notes))


def value_at(content: object, path: str) -> Any:
    """The value at a dotted path through objects, `MISSING` if there is none."""
    for key in path.split("."):
        if not isinstance(content, Mapping) or key not in content:
            return MISSING
        content = content[key]
    return content


def number_of(value: object) -> float | None:
    """A finite number as float; None for everything else, also for texts and booleans."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


class _Reader:
    """Copies a value within bounds."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._left = _MOST
        self._text_left = _ALL_TEXTS

    def read(self, value: object, where: str, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, where)
        if isinstance(value, int | float):
            return self._number(value, where)
        if depth >= _DEEPEST:
            self._note(f"{where}: nested deeper than {_DEEPEST} levels, not read")
            return None
        if isinstance(value, Mapping):
            return self._object(value, where, depth)
        if isinstance(value, list | tuple):
            return self._list(value, where, depth)
        self._note(f"{where}: {type(value).__name__} is no JSON, not read")
        return None

    def _text(self, value: str, where: str) -> str:
        length = min(_LONGEST, self._text_left)
        if len(value) > length:
            self._note(f"{where}: {len(value)} characters, of which {length} are read")
        self._text_left -= min(length, len(value))
        return value[:length].encode("utf-8", "replace").decode("utf-8")

    def _number(self, value: int | float, where: str) -> int | float | None:
        number = number_of(value)
        if number is None:
            self._note(f"{where}: no finite number")
        elif isinstance(value, int) and abs(value) <= _LARGEST:
            return value
        return number

    def _object(self, value: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
        content = {}
        for key, inside in value.items():
            if self._left <= 0:
                self._note(f"{where}: more than {_MOST} values, the rest is not read")
                break
            if not isinstance(key, str) or len(key) > 200:
                self._note(f"{where}: a key that is no text of at most 200 characters, not read")
                continue
            name = key.encode("utf-8", "replace").decode("utf-8")
            content[name] = self.read(inside, f"{where}.{name[:40]}".lstrip("."), depth + 1)
        return content

    def _list(self, value: list[Any] | tuple[Any, ...], where: str, depth: int) -> list[Any]:
        content = []
        for number, inside in enumerate(value):
            if self._left <= 0:
                self._note(f"{where}: more than {_MOST} values, the rest is not read")
                break
            content.append(self.read(inside, f"{where}[{number}]", depth + 1))
        return content

    def _note(self, note: str) -> None:
        if len(self.notes) < 20:
            self.notes.append(note[:300])


@dataclass(frozen=True)
class Evidence:
    """Contents for the checks of one submission that the ledger does not hold.

    Attributes:
        histograms: contents of histograms that the host recomputed, by the name of the answer; those filled by tools
            are in the ledger.
        labels: track of each hit, -1 for none, by the name of the artifact.
        particle_id: true particle of each hit, -1 for none.
        reconstructable: particles that count for the efficiency.
        system: what the host measured of a system that ran during the assessment; empty if there was none.
    """

    histograms: Mapping[str, HistogramReference] = field(default_factory=dict)
    labels: Mapping[str, Sequence[int]] = field(default_factory=dict)
    particle_id: Sequence[int] = ()
    reconstructable: Sequence[int] = ()
    system: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON types, for a log; `from_json` reads it back."""
        return {
            "histograms": {
                name: {"edges": list(histogram.edges), "values": list(histogram.values)}
                for name, histogram in self.histograms.items()
            },
            "labels": {name: [int(label) for label in labels] for name, labels in self.labels.items()},
            "particle_id": [int(particle) for particle in self.particle_id],
            "reconstructable": [int(particle) for particle in self.reconstructable],
            **({"system": dict(self.system)} if self.system else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        """Read the output of `to_json`; keys may be missing."""
        return cls(
            {name: HistogramReference.from_json(histogram) for name, histogram in data.get("histograms", {}).items()},
            dict(data.get("labels", {})),
            tuple(data.get("particle_id", ())),
            tuple(data.get("reconstructable", ())),
            dict(data.get("system", {})),
        )


def exported_handle(handle: object, entries: Sequence[Entry]) -> str:
    """The handle that an artifact was exported from; the handle itself if it is no artifact, empty if it is no text."""
    if not isinstance(handle, str):
        return ""
    for entry in entries:
        if entry.result and entry.result.get("artifact") == handle and isinstance(entry.arguments.get("handle"), str):
            return str(entry.arguments["handle"])
    return handle


def histogram_of(
    name: str, submission: Submission, entries: Sequence[Entry], evidence: Evidence
) -> tuple[HistogramReference | None, str]:
    """The histogram that a submission names, and why there is none.

    A handle, or the name of an artifact that was exported from one, leads to the entry of the ledger that filled it.
    The entry must descend from data files.
    """
    if name in evidence.histograms:
        return evidence.histograms[name], ""
    handle = submission.section("histograms").get(name)
    if not isinstance(handle, str) or not handle:
        return None, f"histograms.{name} names no handle"
    handle = exported_handle(handle, entries)
    for entry in entries:
        if entry.result and entry.result.get("handle") == handle and "edges" in entry.result:
            if not entry.sources:
                return None, f"{handle!r} was filled from no data file"
            return read_histogram(entry.result, handle)
    return None, f"no histogram {handle[:60]!r} was filled by the tools"


def read_histogram(result: Mapping[str, Any], handle: str) -> tuple[HistogramReference | None, str]:
    """The histogram in an object with ``edges`` and ``values``, and why there is none."""
    edges = [number_of(edge) for edge in result["edges"]]
    values = [number_of(content) for content in result.get("values", ())]
    if None in edges or None in values or len(edges) != len(values) + 1:
        return None, f"{handle!r} has {len(edges)} edges and {len(values)} values, or some that are not finite"
    return HistogramReference(tuple(map(float, edges)), tuple(map(float, values))), ""  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """One submission with all data needed to check it.

    Attributes:
        submission: the submission.
        reference: content of eval_ref.yaml, and under ``"instance"`` the reference values of the instance.
        entries: the ledger of the session, its signatures verified.
        evidence: contents that the submission refers to.
        provenance: label of each submitted number.
        prompt: the prompt of the agent.
    """

    submission: Submission
    reference: Mapping[str, Any] = field(default_factory=dict)
    entries: Sequence[Entry] = ()
    evidence: Evidence = field(default_factory=Evidence)
    provenance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prompt: str = ""

    def number(self, path: str) -> float | None:
        """The finite number at a dotted path of the submission; None if there is none."""
        return number_of(value_at(self.submission.content, path))

    def expected(self, path: str) -> Any:
        """The value at a dotted path of the reference.

        Raises:
            ConfigError: there is none; an error of the task or of the host, not of the agent.
        """
        value = value_at(self.reference, path)
        if value is MISSING:
            raise ConfigError(f"reference: got no {path}, expected it; the rubric of the task asks for it")
        return value

    def expected_number(self, path: str) -> float:
        """The finite number at a dotted path of the reference.

        Raises:
            ConfigError: there is none.
        """
        number = number_of(self.expected(path))
        if number is None:
            raise ConfigError(f"reference: got {self.expected(path)!r} for {path}, expected a finite number")
        return number


@dataclass(frozen=True)
class Outcome:
    """The result of a check.

    Attributes:
        fraction: fraction of the points earned, 0 to 1; a gate passes only at 1.
        reason: why, in a sentence.
        evidence: the numbers from which the fraction was computed.
        slip: how to repair a formal mistake that cost points, for the agent; without numbers of the reference.
    """

    fraction: float
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    slip: str = ""


def bell(distance: float, half: float) -> float:
    """``2 ** -(distance / half)**4``: flat on top, one half at `half`, 3e-12 at 2.5 times that."""
    ratio = abs(distance) / half
    return math.exp2(-(ratio**4)) if ratio < 8.0 else 0.0


def slope(distance: float, full: float, zero: float) -> float:
    """1 up to `full`, 0 from `zero` on, half a period of a cosine between them."""
    if distance <= full:
        return 1.0
    if distance >= zero:
        return 0.0
    return 0.5 * (1.0 + math.cos(math.pi * (distance - full) / (zero - full)))


def ramp(distance: float, full: float, zero: float) -> float:
    """1 up to `full`, 0 from `zero` on, a straight line between them."""
    if distance <= full:
        return 1.0
    return max(0.0, (zero - distance) / (zero - full)) if zero > full else 0.0
