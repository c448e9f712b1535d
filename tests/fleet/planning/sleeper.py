"""A model that waits: 4 ms for a call, 1 ms for each of its requests. Batches pay off, and so do instances."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy import ndarray

from beampipe.triton import Instance, TensorSpec


class Sleeper:
    inputs = (TensorSpec("X", "FP32", np.float32, (-1,)),)
    outputs = (TensorSpec("THREADS", "INT64", np.int64, (-1,), exact=False),)

    def __init__(self, instance: Instance) -> None:
        self._threads = np.array([instance.threads], np.int64)

    def run(self, requests: Sequence[Mapping[str, ndarray]]) -> list[dict[str, ndarray]]:
        time.sleep(0.004 + 0.001 * len(requests))
        return [{"THREADS": self._threads} for _ in requests]

    @classmethod
    def example(cls) -> dict[str, ndarray]:
        return {"X": np.zeros(2, np.float32)}
