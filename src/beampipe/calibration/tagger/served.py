"""Scores from a server: the tagger's model behind Triton, asked through the client of `beampipe.triton`."""

from __future__ import annotations

import weakref
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.calibration.tagger.features import JETS, SCORES, ScoreJets
from beampipe.errors import ConfigError
from beampipe.triton.client.model_client import ModelClient

__all__ = ["served_scores"]

_MOST_JETS: Final = 50_000  # in one request
_RETRIES: Final = 8  # some four seconds of pauses, in which a server is back that died


def served_scores(url: str) -> ScoreJets:
    """What asks a server; its connection is closed once nobody holds it any more.

    Args:
        url: ``grpc://HOST:PORT/MODEL`` or ``http://HOST:PORT/MODEL``.

    Raises:
        ConfigError: the address names no model.
    """
    address, _, model = url.rpartition("/")
    if not model or "://" not in address:
        raise ConfigError(f"tagger: got model {url!r}, expected grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL")
    return _ServedScores(address, model)


class _ServedScores:
    """Scores of one model on one server."""

    def __init__(self, address: str, model: str) -> None:
        self._client = ModelClient(address, model, retries=_RETRIES)
        weakref.finalize(self, self._client.close)

    def __call__(self, features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        parts = [self._scores(features[start : start + _MOST_JETS]) for start in range(0, len(features), _MOST_JETS)]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def _scores(self, features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        scores: Float32[ndarray, " m"]
        scores = self._client.infer({JETS.name: features}, {SCORES.name: (len(features),)})[SCORES.name]
        return scores
