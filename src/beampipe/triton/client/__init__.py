"""Clients of Triton, for any model: arrays to servers and back.

with ModelClient("grpc://127.0.0.1:8001", "doubler") as client:
    doubled = client.infer({"X": np.arange(3, dtype=np.float32)})["Y"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.triton.client.fake import FakeTransport as FakeTransport
    from beampipe.triton.client.model_client import ModelClient as ModelClient
    from beampipe.triton.client.transports import Transport as Transport

__getattr__, __dir__, __all__ = loader(__name__)
