"""Scores from a server: the tagger's model behind Triton, asked through the clients of `beampipe.serving`."""

from __future__ import annotations

import weakref
from time import sleep
from typing import Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from beampipe.calibration.tagger.taggers import JET_FEATURES, ScoreJets
from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError
from beampipe.triton.client.endpoint import Security, parse_endpoint
from beampipe.triton.client.grpc_transport import GrpcTransport
from beampipe.triton.client.http_transport import HttpTransport
from beampipe.triton.client.wire import Request, Tensor, Transport
from beampipe.triton.model.contract import TensorSpec

__all__ = ["JETS", "SCORES", "served_scores"]

JETS: Final = TensorSpec("JETS", "FP32", np.float32, (-1, len(JET_FEATURES)))
"""One row of `JET_FEATURES` per jet."""

SCORES: Final = TensorSpec("SCORES", "FP32", np.float32, (-1,))
"""Probability that each jet is a gluon's."""

_MOST_JETS: Final = 50_000  # in one request
_SECONDS: Final = 60.0
_PAUSES: Final = (0.2, 1.0, 3.0)  # between tries [s]


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
        endpoint, security = parse_endpoint(address), Security()
        grpc = endpoint.protocol == "grpc"
        self._transport: Transport = GrpcTransport(endpoint, security) if grpc else HttpTransport(endpoint, security)
        self._model, self._url = model, f"{address}/{model}"
        weakref.finalize(self, self._transport.close)

    def __call__(self, features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        parts = [
            _ask(self._transport, self._model, self._url, features[start : start + _MOST_JETS])
            for start in range(0, len(features), _MOST_JETS)
        ]
        return np.concatenate([np.empty(0, np.float32), *parts])


def _ask(transport: Transport, model: str, url: str, features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
    request = Request(model, (Tensor(JETS, np.ascontiguousarray(features)),), (SCORES,))
    for pause in (*_PAUSES, None):
        try:
            answer = transport.infer(request, _SECONDS, None).get(SCORES.name)
            break
        except ServiceUnavailableError:
            if pause is None:
                raise
            sleep(pause)
    if answer is None or answer.datatype != SCORES.triton_type or answer.shape != (len(features),):
        got = "nothing" if answer is None else f"{answer.datatype} {list(answer.shape)}"
        raise ServiceError(f"{url}: got {got}, expected {SCORES.name} {SCORES.triton_type} [{len(features)}]")
    assert answer.data is not None  # nothing was placed in shared memory
    return np.frombuffer(answer.data, np.float32)
