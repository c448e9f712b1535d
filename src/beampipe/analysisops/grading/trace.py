"""The checks of the public benchmark's rubrics, with its names, parameters and dotted paths into the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beampipe.analysisops.grading.submission import Case, Outcome, look_up, number_of, ramp
from beampipe.errors import ConfigError


def _check_either(check: str, name: str, value: float | None, path: str | None) -> None:
    if (value is None) == (path is None):
        raise ConfigError(f"{check}: expected either {name} or {name}_path")


def _number(case: Case, value: float | None, path: str | None) -> float:
    """A setting: the number itself, or the number at a dotted path of the reference."""
    return float(value or 0.0) if path is None else case.expected_number(path)


def _unless_missing(missing: list[str], complete: str) -> Outcome:
    if missing:
        return Outcome(0.0, f"missing: {', '.join(missing)}", {"missing": missing})
    return Outcome(1.0, complete)


@dataclass(frozen=True)
class RequiredFields:
    """1 if all fields exist at the top level of the trace and are not null, else 0.

    Attributes:
        required_fields: their names.
    """

    required_fields: tuple[str, ...]

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        missing = [name for name in self.required_fields if case.submission.content.get(name) is None]
        return _unless_missing(missing, "all fields are there")


@dataclass(frozen=True)
class RequiredKeysInDict:
    """``max(0, 1 - missing_penalty_per_key * n_missing / points)``; 0 if the object is not there or has none of them.

    Attributes:
        dict_path: dotted path of the object in the trace.
        required_keys: names of its keys.
        required_keys_path: dotted path of the list of names in the reference; replaces `required_keys`.
        missing_penalty_per_key: points that each missing key costs.
        treat_empty_as_missing: whether an empty text, list or object counts as missing; null always does.
        points: all points.
    """

    dict_path: str
    required_keys: tuple[str, ...] = ()
    required_keys_path: str | None = None
    missing_penalty_per_key: float = 5.0
    treat_empty_as_missing: bool = True
    points: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.required_keys) == (self.required_keys_path is not None):
            raise ConfigError("required_keys_in_dict: expected either required_keys or required_keys_path")
        if not self.missing_penalty_per_key > 0.0:
            raise ConfigError(
                f"required_keys_in_dict: got missing_penalty_per_key = {self.missing_penalty_per_key}, expected more"
                " than 0"
            )

    def __call__(self, case: Case) -> Outcome:
        """The fraction."""
        keys = self.required_keys
        if self.required_keys_path is not None:
            keys = tuple(case.expected(self.required_keys_path))
        submitted = look_up(case.submission.content, self.dict_path)
        if not isinstance(submitted, dict):
            return Outcome(0.0, f"{self.dict_path} is no object")
        missing = [key for key in keys if self._is_missing(submitted.get(key))]
        if len(missing) == len(keys):
            return Outcome(0.0, f"{self.dict_path} has none of {', '.join(keys)}", {"missing": missing})
        lost = self.missing_penalty_per_key * len(missing) / self.points if self.points else float(bool(missing))
        return Outcome(max(0.0, 1.0 - lost), f"missing: {', '.join(missing) or 'nothing'}", {"missing": missing})

    def _is_missing(self, value: object) -> bool:
        if isinstance(value, str):
            value = value.strip()
        return value is None or (self.treat_empty_as_missing and value in ("", [], {}))


@dataclass(frozen=True)
class CheckCutIds:
    """1 if every id is the ``cut_id`` of some object in the list ``cuts``, else 0.

    It does not evaluate the cuts: it checks what an agent claims, not what it did.

    Attributes:
        required_cut_ids: the ids.
    """

    required_cut_ids: tuple[str, ...]

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        cuts = case.submission.content.get("cuts")
        listed = cuts if isinstance(cuts, list) else []
        ids = {cut["cut_id"] for cut in listed if isinstance(cut, dict) and isinstance(cut.get("cut_id"), str)}
        missing = [name for name in self.required_cut_ids if name not in ids]
        return _unless_missing(missing, "all cuts are listed")


@dataclass(frozen=True)
class NumericInRange:
    """1 in the closed range, ``out_of_range_points / points`` outside it, 0 for anything but a finite number.

    Attributes:
        value_path: dotted path of the number in the trace.
        lo: lower end of the range.
        hi: upper end of the range.
        range_path: dotted path of ``[lo, hi]`` in the reference; replaces `lo` and `hi`.
        out_of_range_points: points for a number outside; not more than `points`.
        points: all points.
    """

    value_path: str
    lo: float | None = None
    hi: float | None = None
    range_path: str | None = None
    out_of_range_points: float = 0.0
    points: float = 0.0

    def __post_init__(self) -> None:
        if (self.range_path is None) == (self.lo is None or self.hi is None):
            raise ConfigError("numeric_in_range: expected either lo and hi, or range_path")
        if self.out_of_range_points and not 0.0 <= self.out_of_range_points <= self.points:
            raise ConfigError(
                f"numeric_in_range: got out_of_range_points = {self.out_of_range_points}, expected 0 to {self.points}"
            )

    def __call__(self, case: Case) -> Outcome:
        """The fraction."""
        low, high = self._range(case)
        value = case.number(self.value_path)
        if value is None:
            return Outcome(0.0, f"{self.value_path} is no finite number")
        evidence = {"value": value, "lo": low, "hi": high}
        if low <= value <= high:
            return Outcome(1.0, f"{value:g} is in [{low:g}, {high:g}]", evidence)
        fraction = self.out_of_range_points / self.points if self.points else 0.0
        return Outcome(fraction, f"{value:g} is outside [{low:g}, {high:g}]", evidence)

    def _range(self, case: Case) -> tuple[float, float]:
        if self.range_path is None:
            return float(self.lo or 0.0), float(self.hi or 0.0)
        given = case.expected(self.range_path)
        ends = [number_of(end) for end in given] if isinstance(given, list | tuple) else []
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            raise ConfigError(f"reference: got {given!r} for {self.range_path}, expected two numbers")
        return ends[0], ends[1]


@dataclass(frozen=True)
class ThresholdGe:
    """1 for a finite number of at least the threshold, else 0.

    Attributes:
        value_path: dotted path of the number in the trace.
        threshold: minimum of the number.
        threshold_path: dotted path of the threshold in the reference; replaces `threshold`.
        missing_points: accepted and ignored: a missing number must not earn more than one below the threshold.
    """

    value_path: str
    threshold: float | None = None
    threshold_path: str | None = None
    missing_points: float = 0.0

    def __post_init__(self) -> None:
        _check_either("threshold_ge", "threshold", self.threshold, self.threshold_path)

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        threshold = _number(case, self.threshold, self.threshold_path)
        value = case.number(self.value_path)
        if value is None:
            return Outcome(0.0, f"{self.value_path} is no finite number")
        evidence = {"value": value, "threshold": threshold}
        return Outcome(float(value >= threshold), f"{value:g}, expected at least {threshold:g}", evidence)


@dataclass(frozen=True)
class TargetSoft:
    """1 within the tolerance, then a straight line that reaches 0 at ``soft_factor * tolerance``.

    The public benchmark's line starts at the target, so that its points drop by a third just outside the tolerance;
    here it starts at the tolerance.

    Attributes:
        value_path: dotted path of the number in the trace.
        target: expected number.
        target_path: dotted path of the target in the reference; replaces `target`.
        tolerance: distance up to which all points are earned, more than 0.
        tolerance_path: dotted path of the tolerance in the reference; replaces `tolerance`.
        soft_factor: multiple of the tolerance from which no points are earned, more than 1.
    """

    value_path: str
    target: float | None = None
    target_path: str | None = None
    tolerance: float | None = None
    tolerance_path: str | None = None
    soft_factor: float = 3.0

    def __post_init__(self) -> None:
        _check_either("target_soft", "target", self.target, self.target_path)
        _check_either("target_soft", "tolerance", self.tolerance, self.tolerance_path)
        if not self.soft_factor > 1.0:
            raise ConfigError(f"target_soft: got soft_factor = {self.soft_factor}, expected more than 1")

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 for anything but a finite number."""
        target = _number(case, self.target, self.target_path)
        tolerance = _number(case, self.tolerance, self.tolerance_path)
        if not tolerance > 0.0:
            raise ConfigError(f"target_soft: got a tolerance of {tolerance}, expected more than 0")
        value = case.number(self.value_path)
        if value is None:
            return Outcome(0.0, f"{self.value_path} is no finite number")
        distance = abs(value - target)
        evidence = {"value": value, "target": target, "tolerance": tolerance}
        fraction = ramp(distance, tolerance, self.soft_factor * tolerance)
        return Outcome(fraction, f"{distance:g} from {target:g}, tolerance {tolerance:g}", evidence)


@dataclass(frozen=True)
class LlmReasoning:
    """``(clamped - low) / (high - low)`` of the number in a judge's reply; it counts only in the judge's column.

    The public benchmark divides by 100, independent of the clamp, so that 40 of 40 points earn 16, and multiplies by
    the confidence that the judge claims. Here the clamp defines the scale, and the confidence is only reported.

    Attributes:
        output_key: dotted path of the number in the judge's reply.
        clamp: lowest and highest number of the scale in the judge's prompt.
        confidence_key: dotted path of the judge's confidence, 0 to 1.
    """

    output_key: str
    clamp: tuple[float, ...] = (0.0, 100.0)
    confidence_key: str = "confidence"

    def __post_init__(self) -> None:
        if len(self.clamp) != 2 or not self.clamp[0] < self.clamp[1]:
            raise ConfigError(f"llm_reasoning: got clamp = {list(self.clamp)}, expected two numbers, the lower first")

    def fraction(self, reply: Mapping[str, Any]) -> float | None:
        """The fraction of the points that a reply gives, None if it holds no finite number there."""
        raw = number_of(look_up(reply, self.output_key))
        if raw is None:
            return None
        low, high = self.clamp
        return (min(max(raw, low), high) - low) / (high - low)
