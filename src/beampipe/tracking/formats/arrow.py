"""pyarrow, which only those need who read or write files."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from beampipe.errors import MissingExtraError

__all__ = ["arrow"]


def arrow(part: str, purpose: str) -> tuple[Any, Any]:
    """pyarrow and its module `part`, imported when they are first needed.

    Args:
        part: name of the module, e.g. ``csv``.
        purpose: what needs it, for the message.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        return import_module("pyarrow"), import_module(f"pyarrow.{part}")
    except ImportError as error:
        raise MissingExtraError("pyarrow", "tracking", purpose) from error
