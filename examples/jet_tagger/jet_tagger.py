"""Quark or gluon? A model of one's own to serve: jets in, scores out."""

from collections.abc import Sequence

import numpy as np
from safetensors.numpy import load_file

from beampipe.errors import InputError
from beampipe.triton import Instance, ModelAnswer, ModelRequest, TensorSpec


class JetTagger:
    """How likely it is that a jet comes from a quark, by logistic regression."""

    inputs = (TensorSpec("JETS", "FP32", np.float32, (-1, 5)),)  # pt [GeV], |eta|, n_trk, width, c1
    outputs = (TensorSpec("SCORES", "FP32", np.float32, (-1,)),)

    def __init__(self, instance: Instance) -> None:
        self.fit = load_file(instance.weights / "jet_tagger.safetensors")

    def run(self, requests: Sequence[ModelRequest]) -> list[ModelAnswer]:
        """Scores of the jets of each request, all in one go."""
        jets = np.concatenate([request["JETS"] for request in requests])
        if not (np.isfinite(jets).all() and (jets[:, 0] > 0).all()):
            raise InputError("JETS: got NaN, infinity or pt <= 0, expected pt [GeV], |eta|, n_trk, width, c1")
        ends = np.cumsum([len(request["JETS"]) for request in requests])
        return [{"SCORES": scores} for scores in np.split(self.scores(jets), ends[:-1])]

    def scores(self, jets: np.ndarray) -> np.ndarray:
        """One number in [0, 1] per jet, which does not depend on the jets beside it."""
        features = np.column_stack([np.log(jets[:, 0]), jets[:, 1:]])
        pull = (features - self.fit["mean"]) / self.fit["spread"]
        return 1 / (1 + np.exp(-(pull * self.fit["slope"]).sum(axis=1) - self.fit["offset"]))

    @classmethod
    def example(cls) -> ModelRequest:
        """A quark-like jet and a gluon-like one: what the canary asks."""
        return {"JETS": np.array([[1000, 0.5, 16, 0.03, 0.2], [1000, 0.5, 32, 0.08, 0.26]], np.float32)}
