"""The same model in numpy, from which it is exported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beampipe.serving.contract import FEATURES, LABELS
from beampipe.triton import Instance, ModelAnswer, ModelRequest


class Identity:
    """The label of a hit is its row."""

    inputs = (FEATURES,)
    outputs = (LABELS,)

    def __init__(self, instance: Instance) -> None:
        pass

    def run(self, requests: Sequence[ModelRequest]) -> list[ModelAnswer]:
        """The rows of each request."""
        return [{"LABELS": np.arange(len(request["FEATURES"]))} for request in requests]

    @classmethod
    def example(cls) -> ModelRequest:
        """Three hits."""
        return {"FEATURES": np.ones((3, 3), np.float32)}
