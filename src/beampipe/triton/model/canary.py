"""Requests with a known answer: a model that does not give it, byte for byte, is not served.

Asked twice: by the model itself when it is made (`check_model`), and through the server's own port once it is up
(`check_served`), because between the two lies the exchange of arrays, which can lose data without an error.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import BeampipeError, ConfigError
from beampipe.triton.model.served_model import ModelAnswer, ModelRequest

__all__ = ["CANARY", "check_model", "check_served", "read_canary", "triton_type", "write_canary"]

CANARY: Final = "canary.npz"
"""In the folder of a model's version."""

_INPUT: Final = "in."
_OUTPUT: Final = "out."


def write_canary(version: Path, request: ModelRequest, answer: ModelRequest) -> None:
    """Store a request and the answer that it must get."""
    arrays = {_INPUT + key: array for key, array in request.items()}
    arrays |= {_OUTPUT + key: array for key, array in answer.items()}
    with (version / CANARY).open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_canary(version: Path) -> tuple[dict[str, ndarray], dict[str, ndarray]] | None:
    """Request and answer, or None where none is stored."""
    if not (version / CANARY).exists():
        return None
    with np.load(version / CANARY, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    request = {key.removeprefix(_INPUT): array for key, array in arrays.items() if key.startswith(_INPUT)}
    return request, {key.removeprefix(_OUTPUT): array for key, array in arrays.items() if key.startswith(_OUTPUT)}


def check_model(run: Callable[[Sequence[ModelRequest]], Sequence[ModelAnswer]], version: Path, name: str) -> None:
    """Refuse a model whose answer is not the one that was found when it was exported.

    Raises:
        ConfigError: it is not.
    """
    if (stored := read_canary(version)) is None:
        return
    (answer,) = run([stored[0]])
    if isinstance(answer, BeampipeError):
        raise ConfigError(f"{name}: the canary got an error, expected an answer: {answer}")
    _compare(name, answer, stored[1])


def check_served(url: str, version: Path, name: str, *, batched: bool = False, timeout: float = 60.0) -> bool:
    """Ask a running server over HTTP.

    Args:
        url: ``host:port`` of its HTTP endpoint.
        version: folder of the model's version, with the canary.
        name: of the model.
        batched: the model's tensors have one more axis in front.
        timeout: [s].

    Returns:
        Whether there was a canary to ask.

    Raises:
        ConfigError: the answer is an error, or another one.
    """
    if (stored := read_canary(version)) is None:
        return False
    request, expected = stored
    body, header_length = _encode(request, list(expected), batched)
    connection = http.client.HTTPConnection(url, timeout=timeout)
    try:
        headers = {"Inference-Header-Content-Length": str(header_length), "Content-Type": "application/octet-stream"}
        connection.request("POST", f"/v2/models/{name}/infer", body, headers)
        response = connection.getresponse()
        raw = response.read()
        if response.status != 200:
            raise ConfigError(f"{name}: the canary got status {response.status}, expected 200: {raw[:300]!r}")
        answer = _decode(raw, int(response.getheader("Inference-Header-Content-Length") or len(raw)), expected)
    finally:
        connection.close()
    _compare(name, answer, expected)
    return True


def _compare(name: str, answer: Mapping[str, ndarray], expected: Mapping[str, ndarray]) -> None:
    for key, array in expected.items():
        got = answer.get(key)
        if got is None or got.dtype != array.dtype or got.tobytes() != array.tobytes():
            raise ConfigError(
                f"{name}: the canary got another {key} than when the model was exported; export it again on this"
                " machine, and if that differs from what the direct pipeline gives, do not serve it"
            )


def triton_type(dtype: np.dtype[Any]) -> str:
    """Triton's name of an element type.

    >>> triton_type(np.dtype(np.float32)), triton_type(np.dtype(np.uint8)), triton_type(np.dtype(bool))
    ('FP32', 'UINT8', 'BOOL')
    """
    return str(dtype).upper().replace("FLOAT", "FP")


def _encode(request: ModelRequest, outputs: Sequence[str], batched: bool) -> tuple[bytes, int]:
    """The body of a binary request and the length of its header."""
    inputs = [
        {
            "name": key,
            "datatype": triton_type(array.dtype),
            "shape": [1, *array.shape] if batched else list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for key, array in request.items()
    ]
    wanted = [{"name": key, "parameters": {"binary_data": True}} for key in outputs]
    # Where no output is named, Triton gives all; then these too come as bytes.
    every = {"binary_data_output": True}
    header = json.dumps({"inputs": inputs, "outputs": wanted, "parameters": every}).encode()
    return header + b"".join(array.tobytes() for array in request.values()), len(header)


def _decode(raw: bytes, header_length: int, expected: Mapping[str, ndarray]) -> dict[str, ndarray]:
    header = json.loads(raw[:header_length])
    answer, at = {}, header_length
    for output in header["outputs"]:
        size = output["parameters"]["binary_data_size"]
        if output["name"] in expected:
            answer[output["name"]] = np.frombuffer(raw[at : at + size], expected[output["name"]].dtype)
        at += size
    return answer
