"""Tables as they lie on disk, CSV and Parquet, and what the names of their columns mean for hits."""

from __future__ import annotations

__all__: list[str] = []
