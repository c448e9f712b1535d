"""The gluon tagger as a model that Triton serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from beampipe.calibration.events.scores import JETS, SCORES, local_scores
from beampipe.errors import FileError
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest, TensorSpec


class GluonTagger:
    """Features of jets in, probabilities for a gluon out.

    Args:
        instance: model instance; its folder of weights contains one LightGBM text file.
    """

    inputs: ClassVar[tuple[TensorSpec, ...]] = (JETS,)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (SCORES,)

    def __init__(self, instance: Instance) -> None:
        files = sorted(instance.weights.glob("*.txt"))
        if len(files) != 1:
            raise FileError(f"{instance.weights}: got {len(files)} files *.txt, expected the one model of LightGBM")
        self._score = local_scores(files[0])

    def run(self, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        """Score the jets of each request."""
        return [{SCORES.name: self._score(request[JETS.name])} for request in requests]

    @classmethod
    def example(cls) -> ModelRequest:
        """A quark-like and a gluon-like jet."""
        jets = [[12, 0.05, 0.1, 800, 0.5], [35, 0.12, 0.3, 800, 0.5]]
        return {JETS.name: np.array(jets, np.float32)}
