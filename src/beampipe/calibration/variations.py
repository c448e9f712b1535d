"""Variations: what a scale factor is worked out for, beside the nominal case, and how its names are matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from beampipe.errors import UnknownNameError

__all__ = ["GLUON_REWEIGHT", "NOMINAL", "UNVARIED", "Variation", "VariationKind", "matching", "wanted"]

VariationKind = Literal["nominal", "weight", "jets", "sample", "method"]
"""What is varied: nothing, the weights of events, the jets, the whole sample, or the method itself."""

NOMINAL: Final = "nominal"
"""Name of the weight and of the jets that are not varied."""

_ALONE: Final = ("nominal", "method")
"""Kinds whose names need no kind in front: there are few of them, and they are ours."""


@dataclass(frozen=True)
class Variation:
    """One case that a scale factor is worked out for.

    Attributes:
        kind: what is varied: weights, jets, the sample or the method.
        name: name of the weight, of the variation of jets, of the sample or of the method.
    """

    kind: VariationKind
    name: str

    def __str__(self) -> str:
        """The variation in files and messages: ``weight:pdf_1``, ``jets:jes_1_up``, ``sample:herwig``, ``nominal``."""
        return self.name if self.kind in _ALONE else f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Variation:
        """The variation that a file calls `text`, as `str` wrote it."""
        kind, colon, name = text.partition(":")
        for known in get_args(VariationKind):
            if colon and kind == known:
                return cls(known, name)
        return UNVARIED if text == NOMINAL else cls("method", text)

    def matches(self, kind: VariationKind, patterns: Sequence[str]) -> bool:
        """Whether the variation is of a kind, and its name matches one of the patterns (``pdf_*``)."""
        return self.kind == kind and bool(matching((self.name,), patterns))


UNVARIED: Final = Variation("nominal", NOMINAL)
"""The nominal case, in which nothing is varied."""

GLUON_REWEIGHT: Final = Variation("method", "gluon_reweight")
"""The case in which central jets are weighted by the factors of gluons."""


def wanted(what: str, names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The names that match any of some patterns, each of which must match one.

    Args:
        what: kind of the names, for the message.
        names: names that there are, in the order of the result.
        patterns: patterns as of a shell, e.g. ``jes_*``.

    Raises:
        UnknownNameError: a pattern matches none.
    """
    for pattern in patterns:
        if not matching(names, (pattern,)):
            raise UnknownNameError(what, pattern, names)
    return matching(names, patterns)


def matching(names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The names that match one of the patterns (``pdf_*``), in the order of the names."""
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))
