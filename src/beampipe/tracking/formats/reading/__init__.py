"""How each format of events is recognised and read: one file per format, each of which ends in its `Format`."""

from __future__ import annotations

__all__: list[str] = []
