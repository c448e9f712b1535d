"""The gluon taggers as models that Triton serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy import ndarray

from beampipe.calibration.taggers import CONSTITUENTS, COUNTS, JETS, SCORES, local_scores
from beampipe.errors import FileError, ShapeError
from beampipe.jets.network import CONSTITUENT_FEATURES, JetNetwork
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest, TensorSpec


class GluonTagger:
    """Features of jets in, probabilities for a gluon out.

    Args:
        instance: model instance; its folder of weights contains one LightGBM text file.
    """

    inputs: ClassVar[tuple[TensorSpec, ...]] = (JETS,)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (SCORES,)

    def __init__(self, instance: Instance) -> None:
        self._score = local_scores(_one_file(instance, "*.txt", "model of LightGBM"))

    def run(self, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        """Score the jets of each request."""
        return [{SCORES.name: self._score(request[JETS.name])} for request in requests]

    @classmethod
    def example(cls) -> ModelRequest:
        """A quark-like and a gluon-like jet."""
        jets = [[12, 0.05, 0.1, 800, 0.5], [35, 0.12, 0.3, 800, 0.5]]
        return {JETS.name: np.array(jets, np.float32)}


class ConstituentTagger:
    """Features of jets and of their constituents in, probabilities for a gluon out.

    Args:
        instance: model instance; its folder of weights contains one safetensors file.
    """

    inputs: ClassVar[tuple[TensorSpec, ...]] = (JETS, CONSTITUENTS, COUNTS)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (SCORES,)

    def __init__(self, instance: Instance) -> None:
        self._network = JetNetwork(_one_file(instance, "*.safetensors", "tagger of constituents"))

    def run(self, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        """Score the jets of each request."""
        return [{SCORES.name: self._scores(request)} for request in requests]

    def _scores(self, request: ModelRequest) -> ndarray:
        jets, constituents, counts = (request[spec.name] for spec in self.inputs)
        if len(counts) != len(jets) or (counts < 0).any() or counts.sum() != len(constituents):
            raise ShapeError(
                f"got {len(jets)} jets, {len(counts)} numbers of constituents with the sum {counts.sum()}, and"
                f" {len(constituents)} constituents, expected a number for each jet and their sum"
            )
        return self._network.scores(self._network.describe(constituents, counts), jets[:, 3:])

    @classmethod
    def example(cls) -> ModelRequest:
        """A jet with two constituents and one with a single one."""
        return {
            JETS.name: np.array([[2, 0.05, 0.1, 800, 0.5], [1, 0, 0, 800, 0.5]], np.float32),
            CONSTITUENTS.name: np.zeros((3, len(CONSTITUENT_FEATURES)), np.float32),
            COUNTS.name: np.array([2, 1], np.int64),
        }


def _one_file(instance: Instance, pattern: str, kind: str) -> Path:
    """The only file of a pattern in the folder of weights."""
    files = sorted(instance.weights.glob(pattern))
    if len(files) != 1:
        raise FileError(f"{instance.weights}: got {len(files)} files {pattern}, expected the one {kind}")
    return files[0]
