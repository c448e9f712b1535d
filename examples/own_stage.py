"""A stage of one's own in a shipped pipeline: edges that are too steep are dropped before tracks are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy import ndarray

from beampipe.tracking import evaluate, load_pipeline, print_evaluation, shipped_events


@dataclass(frozen=True)
class DropSteepEdges:
    """Keeps edges whose slope |dz / dr| is at most `largest`."""

    needs: ClassVar = ("position", "edge_index")
    makes: ClassVar = ("edge_index",)

    largest: float

    def __call__(self, position: ndarray, edge_index: ndarray) -> tuple[ndarray]:
        """Return `edge_index` without the others."""
        r, _, z = np.abs(position[edge_index[1]] - position[edge_index[0]]).T
        return (np.ascontiguousarray(edge_index[:, z <= self.largest * r]),)


if __name__ == "__main__":
    pipeline = load_pipeline("module_map_soft", threads=1)
    building, *rest = pipeline.stages
    flat = pipeline.with_stages((building, ("slope", DropSteepEdges(5.0)), *rest), name="flat")
    print_evaluation(evaluate({"whole": pipeline, "flat": flat}, shipped_events(0), sample="shipped events, mu = 0"))
