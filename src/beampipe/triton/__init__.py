"""NVIDIA Triton and no physics: what a served model is, servers that run it, clients that ask it.

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
    from beampipe.triton.client import FakeTransport, ModelClient, Transport
    from beampipe.triton.model.contract import TensorSpec
    from beampipe.triton.model.repository import export_repository
    from beampipe.triton.model.served_model import Instance, Model, ModelAnswer, ModelRequest
    from beampipe.triton.model.settings import EnsembleSettings, ModelSettings
    from beampipe.triton.server.launch import ServerSettings
    from beampipe.triton.server.server import TritonServer

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
    "TensorSpec",
    "Transport",
    "TritonServer",
    "export_repository",
]

__getattr__ = loader(
    __name__,
    {
        "client": ("FakeTransport", "ModelClient", "Transport"),
        "model.contract": ("TensorSpec",),
        "model.repository": ("export_repository",),
        "model.served_model": ("Instance", "Model", "ModelAnswer", "ModelRequest"),
        "model.settings": ("EnsembleSettings", "ModelSettings"),
        "server.launch": ("ServerSettings",),
        "server.server": ("TritonServer",),
    },
)
