"""The keys that SuperSONIC's chart reads. Helm itself takes any key: a misspelt one would do nothing, silently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from beampipe.errors import ConfigError, nearest

__all__ = ["CHART_VERSION", "KEYS", "check_values"]

CHART_VERSION: Final = "0.3.1"
"""The release of the chart that we write values for."""
KEYS: Final = Path(__file__).with_name(f"supersonic-{CHART_VERSION}.json")
"""File of the keys that the chart reads: path -> type of the value, as `tests/fleet/kubernetes/chart.py` found them."""

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "open": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values that the chart would not read, or that are of another type than it expects.

    Raises:
        ConfigError: there is such a value; says where, and what would fit.
    """
    _check(values, "")


@cache
def _keys() -> dict[str, str]:
    keys: dict[str, str] = json.loads(KEYS.read_text(encoding="utf-8"))["keys"]
    return keys


def _check(values: Mapping[str, Any], path: str) -> None:
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        kind = _keys().get(key)
        if kind is None:
            known = [one for one in _keys() if one.rpartition(".")[0] == path]
            raise ConfigError(
                f"SuperSONIC {CHART_VERSION}, {key}: got a key that its chart does not read{nearest(key, known)}"
            )
        if kind != "any" and (not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
            raise ConfigError(f"SuperSONIC {CHART_VERSION}, {key}: got {value!r}, expected {kind}")
        if kind in ("object", "any") and isinstance(value, Mapping):
            _check(value, key)
        for item in value if isinstance(value, list) else ():
            if isinstance(item, Mapping) and f"{key}[]" in _keys():
                _check(item, f"{key}[]")
