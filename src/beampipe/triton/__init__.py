"""NVIDIA Triton, without physics: served models, servers that run them, and clients.

from beampipe.triton import ModelClient, ModelSettings, ServerSettings, TritonServer, export_repository

export_repository(Path("models"), [ModelSettings("doubler", "doubler.py:Doubler")])
with TritonServer(ServerSettings(Path("models"))) as server:
    with ModelClient(f"grpc://{server.grpc_url}", "doubler") as client:
        doubled = client.infer({"X": np.arange(3, dtype=np.float32)})["Y"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.triton.client.fake import FakeTransport
    from beampipe.triton.client.model_client import ModelClient
    from beampipe.triton.client.tracing import traced
    from beampipe.triton.client.transports import Transport
    from beampipe.triton.model.contract import (
        EnsembleSettings,
        Instance,
        Model,
        ModelAnswer,
        ModelRequest,
        ModelSettings,
        TensorSpec,
    )
    from beampipe.triton.model.repository import export_repository
    from beampipe.triton.server.launch import ServerSettings
    from beampipe.triton.server.server import TritonServer
    from beampipe.triton.server.telemetry import TelemetrySettings

__all__ = [
    "EnsembleSettings",
    "FakeTransport",
    "Instance",
    "Model",
    "ModelAnswer",
    "ModelClient",
    "ModelRequest",
    "ModelSettings",
    "ServerSettings",
    "TelemetrySettings",
    "TensorSpec",
    "Transport",
    "TritonServer",
    "export_repository",
    "traced",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "client.fake": ["FakeTransport"],
        "client.model_client": ["ModelClient"],
        "client.tracing": ["traced"],
        "client.transports": ["Transport"],
        "model.contract": [
            "EnsembleSettings",
            "Instance",
            "Model",
            "ModelAnswer",
            "ModelRequest",
            "ModelSettings",
            "TensorSpec",
        ],
        "model.repository": ["export_repository"],
        "server.launch": ["ServerSettings"],
        "server.server": ["TritonServer"],
        "server.telemetry": ["TelemetrySettings"],
    },
)
