"""Keys that an object of the trace must have."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.analysisops.grading.submission import look_up
from beampipe.errors import ConfigError

__all__ = ["RequiredKeysInDict"]


@dataclass(frozen=True)
class RequiredKeysInDict:
    """``max(0, 1 - missing_penalty_per_key * n_missing / points)``; 0 if the object is not there or has none of them.

    Attributes:
        dict_path: dotted path of the object in the trace.
        required_keys: names of its keys.
        required_keys_path: dotted path of the list of names in the reference, in their place.
        missing_penalty_per_key: points that each missing key costs.
        treat_empty_as_missing: whether an empty text, list or object is missing, as null always is.
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
        found = look_up(case.submission.content, self.dict_path)
        if not isinstance(found, dict):
            return Outcome(0.0, f"{self.dict_path} is no object")
        missing = [key for key in keys if self._is_missing(found.get(key))]
        if len(missing) == len(keys):
            return Outcome(0.0, f"{self.dict_path} has none of {', '.join(keys)}", {"missing": missing})
        lost = self.missing_penalty_per_key * len(missing) / self.points if self.points else float(bool(missing))
        return Outcome(max(0.0, 1.0 - lost), f"missing: {', '.join(missing) or 'nothing'}", {"missing": missing})

    def _is_missing(self, value: object) -> bool:
        if isinstance(value, str):
            value = value.strip()
        return value is None or (self.treat_empty_as_missing and value in ("", [], {}))
