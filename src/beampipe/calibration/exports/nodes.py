"""What corrections for `correctionlib` (schema 2) are made of, in every file of this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

__all__ = ["LAST", "binning", "category", "schema_of_corrections", "write_corrections"]

LAST: Final = "last"
"""Above the last edge of pT stands what stands in the last bin."""


def schema_of_corrections() -> Any:
    """The module of correctionlib's schema.

    Raises:
        MissingExtraError: correctionlib is not installed.
    """
    from correctionlib import schemav2

    return schemav2


def binning(values: Iterable[float], edges: Sequence[float], beyond: Any | None = None) -> Any:
    """Bins of pT. Evaluation fails below them, and in those whose value is not finite.

    Args:
        values: (n_pt,) values in the bins.
        edges: (n_pt + 1,) edges of the bins [GeV].
        beyond: what stands above the last edge: `LAST`, or a node of the schema; None for a failure.
    """
    content = [value if np.isfinite(value) else _never() for value in values]
    # The schema knows one rule for both ends. A last bin that has no end gives the upper end a rule of its own.
    every: list[float | str] = [*edges] if beyond is None else [*edges, "inf"]
    content += [] if beyond is None else [content[-1] if beyond == LAST else beyond]
    return schema_of_corrections().Binning(nodetype="binning", input="pt", edges=every, content=content, flow="error")


def category(name: str, contents: Mapping[str, Any]) -> Any:
    """A choice by a text: the input `name`, and what stands for each of its values."""
    schema = schema_of_corrections()
    items = [schema.CategoryItem(key=key, value=value) for key, value in contents.items()]
    return schema.Category(nodetype="category", input=name, content=items)


def write_corrections(description: str, corrections: Sequence[Any], path: Path, *, indent: int | None = None) -> None:
    """Write corrections as one set, as JSON.

    Args:
        description: of the set.
        corrections: nodes of the schema.
        path: the file to write.
        indent: blanks by which JSON is indented; None for one line.

    Raises:
        MissingExtraError: correctionlib is not installed.
    """
    found = schema_of_corrections().CorrectionSet(
        schema_version=2, description=description, corrections=list(corrections)
    )
    text = found.model_dump_json(exclude_unset=True, indent=indent, by_alias=True)
    path.write_text(text + "\n", encoding="utf-8")


def _never() -> Any:
    """A binning in which evaluation fails: no pT is negative."""
    return schema_of_corrections().Binning(
        nodetype="binning", input="pt", edges=[-2.0, -1.0], content=[0.0], flow="error"
    )
