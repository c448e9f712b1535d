"""Settings of weights of events: which branches hold them, and where their sums over all generated events are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from beampipe.calibration.layout.expressions import check_expression

__all__ = ["SumsOfWeights", "VariedWeight", "Weights"]

Source = Literal["none", "bookkeeping", "runs", "cutbookkeepers", "histogram", "manifest", "events"]
"""Where the sum of weights of a file comes from."""


@dataclass(frozen=True)
class VariedWeight:
    """Weights of variations in one branch, which has a number or a list per event.

    Attributes:
        name: name of the weight; the members of a list are called NAME_0, NAME_1, ...
        branch: branch that holds it, or an expression of branches with one number per event.
        ratio: whether the branch holds ratios to the nominal weight.
        sums: where the sums of these weights are, in the tree or histogram of `SumsOfWeights`. Without it they are
            taken to be that of the nominal weight.
        sums_ratio: whether `sums` are ratios to the sum of the nominal weight.
    """

    name: str
    branch: str
    ratio: bool = False
    sums: str = ""
    sums_ratio: bool = False


@dataclass(frozen=True)
class Weights:
    """Weights of events; data has none.

    Attributes:
        nominal: branch with a number or a list per event; of a list, the other members are variations, as whole
            weights. Without a branch every event has weight 1.
        index: place of the nominal weight in a list.
        names: names of all weights, the nominal one first; made up where they are not given.
        variations: other branches with weights of variations.
        factors: branches or expressions that all weights are multiplied by, like those of pile-up; sums of weights
            are of the weights without them.
    """

    nominal: str = ""
    index: int = 0
    names: tuple[str, ...] = ()
    variations: tuple[VariedWeight, ...] = ()
    factors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in self.variations:
            check_expression(each.branch, f"layout.weights.variations.{each.name}.branch")
        for text in self.factors:
            check_expression(text, "layout.weights.factors")


@dataclass(frozen=True)
class SumsOfWeights:
    """Where sums of weights over all generated events come from.

    ``none``: not stated; simulation is refused until it is.
    ``bookkeeping``: the tree of that name that this package writes, with all that follows, too.
    ``runs``: a tree with sums, any number of entries, which are added.
    ``cutbookkeepers``: the records "AllExecutedEvents" of ATLAS' bookkeeping, one for each weight.
    ``histogram``: bins of histograms.
    ``manifest``: the file `manifest`.
    ``events``: the events of the files themselves; right only if no event was left out when they were written.

    Attributes:
        source: one of these.
        object: name of the tree or of the histogram.
        branch: branch of the tree with the sum of nominal weights; it may hold a list, one sum for each weight.
        bin: bin of the histogram, the first one being 1.
        manifest: JSON or CSV file with one row for each slice: `dataset`, `files`, `cross_section`,
            `filter_efficiency`, `n_files`, `sum_weights`, `luminosity`. With another source it gives all but
            `sum_weights`.
    """

    source: Source = "none"
    object: str = ""
    branch: str = ""
    bin: int = 1
    manifest: Path | None = None
