"""The canary through the server's own port: a server that does not give the stored answer, byte for byte, is refused.

`beampipe.triton.model.canary` asks the model alone. Between the two lies the exchange of arrays with Triton, which can
lose data without an error.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
from numpy import ndarray

from beampipe.errors import ConfigError
from beampipe.triton.client.codec import InferRequest, Tensor
from beampipe.triton.client.endpoint import Security, parse_endpoint
from beampipe.triton.client.http_transport import HttpTransport
from beampipe.triton.model.canary import compare_answers, read_canary
from beampipe.triton.model.contract import TensorSpec, triton_type

__all__ = ["check_served"]


def check_served(url: str, version: Path, name: str, *, batched: bool = False, timeout: float = 60.0) -> bool:
    """Refuse a running server whose answer, asked over HTTP, is not the one that was found at the export.

    Args:
        url: address of the server for HTTP, ``host:port``.
        version: folder of the model's version, with the canary; without one nothing is asked.
        name: name of the model.
        batched: whether the model's tensors have one more axis in front.
        timeout: longest wait for the answer [s].

    Returns:
        Whether there was a canary to ask.

    Raises:
        ConfigError: the answer is an error, or another one.
    """
    if (stored := read_canary(version)) is None:
        return False
    arrays, expected = stored
    sent = tuple(Tensor(_spec(key, array), array[None] if batched else array) for key, array in arrays.items())
    request = InferRequest(name, sent, tuple(_spec(key, array) for key, array in expected.items()))
    with closing(HttpTransport(parse_endpoint(url, "http"), Security())) as transport:
        reply = transport.exchange(request.to_http(), timeout)
    if reply.status != 200:
        raise ConfigError(f"{name}: the canary got status {reply.status}, expected 200: {reply.data[:300]!r}")
    outputs = request.from_http(reply, url)
    answer = {
        key: np.frombuffer(outputs[key].data or b"", array.dtype) for key, array in expected.items() if key in outputs
    }
    compare_answers(name, answer, expected)
    return True


def _spec(name: str, array: ndarray) -> TensorSpec:
    return TensorSpec(name, triton_type(array.dtype), array.dtype.type, array.shape)
