"""Which variations of a chunk or a slice the store has.

Histograms are stored for a set of variations at a time, always with the nominal ones. A run fills the variations that
no set in the store has, all together in one reading. The key of an artifact depends on its own set alone, and thus not
on the order in which variations were added; a list of all sets serves to find the artifacts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from beampipe.files import append
from beampipe.workflow import Store


class VariationKey(NamedTuple):
    """A variation with all that its histograms depend on, beside what all histograms of a chunk depend on.

    Attributes:
        kind: what is varied; a replica is one of the bootstrap.
        name: name of the weight or of the variation of jets; the seed of a replica.
        number: index of the weight, number of the replica, or number of points of a model of the jet energy.
    """

    kind: Literal["nominal", "weight", "jets", "replica"]
    name: str = ""
    number: int = 0


VariationSet = frozenset[VariationKey]

NOMINAL_ALONE: Final[VariationSet] = frozenset([VariationKey("nominal")])
"""The set without variations."""


@lru_cache(maxsize=256)
def in_short(variations: VariationSet) -> dict[str, object]:
    """A set of variations as parameters of a recipe, with replicas as seed, first and last number."""
    replicas = sorted(each for each in variations if each.kind == "replica")
    others = sorted(variations.difference(replicas))
    span = (replicas[0].name, replicas[0].number, replicas[-1].number) if replicas else ()
    return {"variations": others, "replicas": span}


class Cover(NamedTuple):
    """How wanted variations are taken from the store.

    Attributes:
        parts: the sets of the artifacts to read.
        missing: the variations that no artifact has.
    """

    parts: tuple[VariationSet, ...]
    missing: VariationSet


@lru_cache(maxsize=1024)  # a run reads the list several times
def _set_of(line: str) -> VariationSet | None:
    """The set in a line of the list; None for an incomplete line of a killed writer."""
    try:
        return frozenset(VariationKey(*each) for each in json.loads(line))
    except (ValueError, TypeError):
        return None


class VariationSets:
    """The list of all sets of variations that the store may have. If it is lost, variations are filled again.

    Args:
        store: store of the artifacts.
    """

    def __init__(self, store: Store) -> None:
        self._path = store.root / ".variations"
        self._sets: dict[VariationSet, None] = {}
        self._ranked: dict[VariationSet, list[VariationSet]] = {}
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else ()
        self._sets.update(dict.fromkeys(each for each in map(_set_of, lines) if each is not None))

    def add(self, variations: VariationSet) -> None:
        """Add a set to the list, before any artifact of it is written."""
        if variations not in self._sets:
            append(self._path, json.dumps(sorted(variations)) + "\n")
            self._sets[variations] = None
            self._ranked.clear()

    def cover(self, wanted: VariationSet, has: Callable[[VariationSet], object]) -> Cover:
        """The artifacts that have wanted variations; those with the most of them come first.

        Args:
            wanted: the variations.
            has: whether the store has the artifact of a set.
        """
        missing, parts = wanted, []
        for each in self.ranked(wanted):
            if not missing:
                break
            if each & missing and has(each):
                parts.append(each)
                missing -= each
        return Cover(tuple(parts), missing)

    def ranked(self, wanted: VariationSet) -> list[VariationSet]:
        """All sets with wanted variations: first those with the most of them, and of these the smallest."""
        if wanted not in self._ranked:
            common = {each: len(each & wanted) for each in self._sets}
            overlapping = [each for each, n in common.items() if n]
            overlapping.sort(key=lambda each: (-common[each], len(each)))
            self._ranked[wanted] = overlapping
        return self._ranked[wanted]
