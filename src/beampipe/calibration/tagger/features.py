"""What a boosted tagger looks at and gives: here, or behind a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.triton.model.contract import TensorSpec

__all__ = ["JETS", "JET_FEATURES", "SCORES", "ScoreJets"]

JET_FEATURES: Final = ("n_trk", "width", "c1", "pt", "abs_eta")
"""Columns of a boosted tagger's input, float32, pT in GeV."""

JETS: Final = TensorSpec("JETS", "FP32", np.float32, (-1, len(JET_FEATURES)))
"""Input of a served tagger: one row of `JET_FEATURES` per jet."""

SCORES: Final = TensorSpec("SCORES", "FP32", np.float32, (-1,))
"""Output of a served tagger: probability that each jet is a gluon's."""

ScoreJets = Callable[[Float32[ndarray, "m 5"]], Float32[ndarray, " m"]]
"""Function from features of jets to the probability that each is a gluon's."""
