"""Athena's client, as its ``TritonTool`` speaks: one blocking ModelInfer without headers, id, deadline and outputs."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
from numpy import ndarray
from tritonclient.grpc import service_pb2, service_pb2_grpc

__all__ = ["ask_as_athena", "athena_lists", "request_of_athena", "wide"]


def request_of_athena(model: str, features: ndarray) -> service_pb2.ModelInferRequest:
    """What it sends: raw bytes of one tensor, the latest version, no output named."""
    request = service_pb2.ModelInferRequest(model_name=model, model_version="")
    request.inputs.add(name="FEATURES", datatype="FP32", shape=list(features.shape))
    request.raw_input_contents.append(np.ascontiguousarray(features, "<f4").tobytes())
    return request


def ask_as_athena(url: str, model: str, features: ndarray, roots: Path | None = None) -> service_pb2.ModelInferResponse:
    """Its answer from ``HOST:PORT``, over a plain channel, or through TLS with the authorities that gRPC trusts."""
    unbounded = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with (
        grpc.insecure_channel(url, unbounded)
        if roots is None
        else grpc.secure_channel(url, grpc.ssl_channel_credentials(roots.read_bytes()), unbounded)
    ) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return stub.ModelInfer(request_of_athena(model, features))


def athena_lists(answer: service_pb2.ModelInferResponse) -> list[list[int]]:
    """The tracks that it reads, from the bytes of LABELS alone: what follows the last -1 is lost."""
    names = [output.name for output in answer.outputs]
    tracks: list[list[int]] = []
    track: list[int] = []
    for row in np.frombuffer(answer.raw_output_contents[names.index("LABELS")], "<i8").tolist():
        if row != -1:
            track.append(row)
        elif track:
            tracks.append(track)
            track = []
    return tracks


def wide(position: ndarray, width: int) -> ndarray:
    """Hits as Athena sends them: r, phi, z, then columns that have nothing to say here, some of them no numbers."""
    features = np.random.default_rng(len(position)).normal(0, 1e6, (len(position), width)).astype(np.float32)
    features[::3, 3:] = np.nan
    features[:, :3] = position
    return features
