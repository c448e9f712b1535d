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
    from beampipe.triton.client.fake import FakeTransport as FakeTransport
    from beampipe.triton.client.model_client import ModelClient as ModelClient
    from beampipe.triton.client.transports import Transport as Transport
    from beampipe.triton.client.transports import traced as traced
    from beampipe.triton.model.contract import EnsembleSettings as EnsembleSettings
    from beampipe.triton.model.contract import Instance as Instance
    from beampipe.triton.model.contract import Model as Model
    from beampipe.triton.model.contract import ModelAnswer as ModelAnswer
    from beampipe.triton.model.contract import ModelRequest as ModelRequest
    from beampipe.triton.model.contract import ModelSettings as ModelSettings
    from beampipe.triton.model.contract import TensorSpec as TensorSpec
    from beampipe.triton.model.repository import export_repository as export_repository
    from beampipe.triton.server.launch import ServerSettings as ServerSettings
    from beampipe.triton.server.launch import TelemetrySettings as TelemetrySettings
    from beampipe.triton.server.server import TritonServer as TritonServer

__getattr__, __dir__, __all__ = loader(__name__)
