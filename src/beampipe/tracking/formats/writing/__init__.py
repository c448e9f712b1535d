"""How tracks are written, for each reader of them: one file per form, each of which ends in its `Form`."""

from __future__ import annotations

__all__: list[str] = []
