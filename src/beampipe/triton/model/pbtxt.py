"""Writes a dictionary in protobuf's text format, as far as ``config.pbtxt`` needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Symbol", "to_pbtxt"]


class Symbol(str):
    """A name of an enumeration, written without quotes."""


def to_pbtxt(message: Mapping[str, Any]) -> str:
    """The message as text; a list is a repeated field, a dictionary a message.

    >>> print(to_pbtxt({"name": "m", "output": [{"data_type": Symbol("TYPE_FP32"), "dims": [-1, 3]}]}))
    name: "m"
    output {
      data_type: TYPE_FP32
      dims: -1
      dims: 3
    }
    <BLANKLINE>
    """
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in message.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                yield f"{indent}{key} {{"
                yield from _lines(each, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{key}: {_scalar(each)}"


def _scalar(value: object) -> str:
    if isinstance(value, Symbol):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)  # quotes and escapes as in C
