"""A tracking model that only waits, for `simulator.py`: 1 ms and 3 us for each hit, which costs no processor time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from beampipe.serving.contract import FEATURES, LABELS
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest, TensorSpec


class Waiter:
    """Finds no track in any event, and takes its time."""

    inputs: ClassVar[tuple[TensorSpec, ...]] = (FEATURES,)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (LABELS,)

    def __init__(self, instance: Instance) -> None:
        pass

    def run(self, requests: Sequence[ModelRequest], /) -> list[ModelAnswer]:
        hits = [len(request[FEATURES.name]) for request in requests]
        time.sleep(sum(1e-3 + 3e-6 * n for n in hits))
        return [{LABELS.name: np.full(n, -1, np.int64)} for n in hits]

    @classmethod
    def example(cls) -> ModelRequest:
        return {FEATURES.name: np.zeros((3, 3), np.float32)}
