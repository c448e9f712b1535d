"""The rubric of a task: its gates, its rules and the checks of a judge; read and validated once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from beampipe.analysisops.grading.checks import GATES, JUDGED, RULES
from beampipe.errors import ConfigError, UnknownNameError, nearest
from beampipe.settings import build

_KEYS: Final = ("version", "total", "gates", "rule_checks", "llm_checks")

_COMMON_KEYS: Final = ("id", "type", "points", "description", "scaled_by", "fail_total_score", "gate")

_VERSIONS: Final = (1, 2)


@dataclass(frozen=True)
class Check:
    """One check of a rubric.

    Attributes:
        id: its name, once in the rubric.
        type: name of its kind.
        points: maximum points; 0 for a gate.
        kind: the check with its settings, one of `beampipe.analysisops.grading.checks` or of the task.
        scaled_by: ids of earlier rules; the points are multiplied by their fractions.
        description: its purpose, in words.
    """

    id: str
    type: str
    points: float
    kind: Any
    scaled_by: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Rubric:
    """The rules that a submission is graded by.

    Attributes:
        version: 1 for the public benchmark's, 2 for ours.
        gates: conditions without which the score is 0.
        rules: checks that earn points.
        judged: checks of a judge, whose points form a separate column.
        total: declared sum of points, None if none is declared.
        warnings: settings whose effect may surprise their author.
    """

    version: int
    gates: tuple[Check, ...]
    rules: tuple[Check, ...]
    judged: tuple[Check, ...]
    total: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def max_points(self) -> float:
        """Points of all rules, the maximum of a result."""
        return math.fsum(check.points for check in self.rules)

    @property
    def max_judged(self) -> float:
        """Points of all checks of a judge."""
        return math.fsum(check.points for check in self.judged)

    @property
    def value_paths(self) -> tuple[str, ...]:
        """Paths of the numbers that checks read from a trace of the public benchmark."""
        paths = (getattr(check.kind, "value_path", None) for check in (*self.gates, *self.rules))
        return tuple(dict.fromkeys(path for path in paths if path is not None))

    def paths(self) -> list[tuple[str, str, str]]:
        """Check, setting and dotted path for every path into the reference; ``value_path`` leads into submissions."""
        return [
            (check.id, field.name, getattr(check.kind, field.name))
            for check in (*self.gates, *self.rules)
            for field in fields(check.kind)
            if field.name.endswith("_path")
            and field.name not in ("value_path", "dict_path")
            and getattr(check.kind, field.name) is not None
        ]


def read_rubric(table: Mapping[str, Any], where: str, own: Mapping[str, type[Any]] | None = None) -> Rubric:
    """Read a rubric from the content of rubric.yaml.

    Args:
        table: the content.
        where: the file, for messages.
        own: checks that the task brings, by type; each may be a gate or a rule.

    Raises:
        ConfigError: a key is unknown or missing, an id is not unique, a value is invalid, or the declared total is not
            the sum (in version 1 that is a warning); or version 2 lacks a required gate.
        UnknownNameError: a type of check, or a rule that scales another, does not exist.
    """
    if unknown := [str(key) for key in table if key not in _KEYS]:
        raise ConfigError(
            f"{where}: unknown key {unknown[0]!r}, expected some of {', '.join(_KEYS)}{nearest(unknown[0], _KEYS)}"
        )
    version = table.get("version", 1)
    if version not in _VERSIONS:
        raise ConfigError(f"{where}: got version {version!r}, expected 1 or 2")
    own = own or {}
    warnings: list[str] = []
    gates = _checks(table, "gates", {**GATES, **own}, where, warnings)
    rules = _checks(table, "rule_checks", {**RULES, **own}, where, warnings)
    judged = _checks(table, "llm_checks", JUDGED, where, warnings)
    ids = [check.id for check in (*gates, *rules, *judged)]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise ConfigError(f"{where}: got the id {twice[0]!r} twice, expected each check to have its own")
    for index, check in enumerate(rules):
        earlier = [rule.id for rule in rules[:index]]
        for name in check.scaled_by:
            if name not in earlier:
                raise UnknownNameError(f"rule before it ({where}: {check.id}: scaled_by)", name, earlier)
    total = table.get("total")
    if total is not None and type(total) not in (int, float):
        raise ConfigError(f"{where}: got total = {total!r}, expected a number")
    rubric = Rubric(version, gates, rules, judged, None if total is None else float(total))
    sums = [rubric.max_points] if version == 2 else [rubric.max_points, rubric.max_points + rubric.max_judged]
    if total is not None and not any(math.isclose(total, expected) for expected in sums):
        message = f"{where}: got total = {total:g}, but the rules sum to {rubric.max_points:g}"
        if version == 2:
            raise ConfigError(f"{message}, expected the sum; leave total out, or correct it")
        warnings.append(f"{message}; the sum is the maximum")
    # Gates without which an untraceable number, or an agent that did no work, could earn points.
    needed = ["status_ok", "calls_made"]
    needed += ["traceable"] if any(check.type in ("pull", "uncertainty") for check in rules) else []
    lacking = [name for name in needed if name not in {check.type for check in gates}]
    if version == 2 and (lacking or not rules):
        raise ConfigError(
            f"{where}: got no {', no '.join(lacking) or 'rule_checks'}, expected it: without it, points are for talking"
        )
    return replace(rubric, warnings=tuple(warnings))


def _checks(
    table: Mapping[str, Any], key: str, kinds: Mapping[str, type[Any]], where: str, warnings: list[str]
) -> tuple[Check, ...]:
    listed = table.get(key) or []
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise ConfigError(f"{where}: {key}: got {listed!r}, expected a list of checks")
    return tuple(_check(entry, f"{where}: {key}[{index}]", key, kinds, warnings) for index, entry in enumerate(listed))


def _check(table: Any, where: str, key: str, kinds: Mapping[str, type[Any]], warnings: list[str]) -> Check:
    if not isinstance(table, Mapping) or not isinstance(table.get("id"), str) or not isinstance(table.get("type"), str):
        raise ConfigError(f"{where}: got {str(table)[:80]}, expected a mapping with id and type")
    name, type_name = table["id"], table["type"]
    where = f"{where}: {name}"
    if type_name not in kinds:
        error = UnknownNameError(f"type of check ({where})", type_name, kinds)
        if type_name in {**GATES, **RULES, **JUDGED}:
            error.args = (f"{error}; it stands in the wrong list: {key} takes none of that type",)
        raise error
    kind = kinds[type_name]
    own = {field.name for field in fields(kind)}
    settings = {key: value for key, value in table.items() if key in own or key not in _COMMON_KEYS}
    points = table.get("points", 0.0)
    if type(points) not in (int, float) or not 0.0 <= points < math.inf or (key != "gates" and points == 0):
        raise ConfigError(f"{where}: got points = {points!r}, expected a number that is more than 0")
    if settings.get("missing_points"):
        warnings.append(
            f"{where}: missing_points = {settings['missing_points']} is not given, expected 0: what is missing is never"
            " better than what is wrong"
        )
    scaled_by = table.get("scaled_by", ())
    scaled_by = (scaled_by,) if isinstance(scaled_by, str) else tuple(scaled_by)
    if scaled_by and key != "rule_checks":
        raise ConfigError(f"{where}: got scaled_by in {key}, expected it in rule_checks only")
    description = table.get("description", "")
    return Check(name, type_name, float(points), build(kind, settings, where), scaled_by, str(description))
