"""One model on one server."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Final

from beampipe.errors import DeadlineError, ServiceUnavailableError
from beampipe.serving.finders.signature import Signature, signature_of
from beampipe.tracking.events import Hits, Tracks
from beampipe.triton.client.endpoint import Endpoint, Protocol, Security
from beampipe.triton.client.failures import RegionLostError
from beampipe.triton.client.grpc_transport import GrpcTransport
from beampipe.triton.client.http_transport import HttpTransport
from beampipe.triton.client.shared_memory import Regions, layout
from beampipe.triton.client.wire import Call, Request, Transport

__all__ = ["Remote", "connect"]

SHARED_FROM: Final = 2000
"""Hits from which on shared memory is clearly quicker than sending: by a tenth here, three times at 100,000."""


class Remote:
    """One model on one server: its contract, its connection, its shared memory.

    Args:
        where: the server, for messages.
        transport: to it.
        model: name.
        stages: also ask for times and counts of the stages.
        shared_from: hits from which on shared memory is used; None for never.
        must_share: an event that cannot go through shared memory is an error.
    """

    def __init__(
        self,
        where: str,
        transport: Transport,
        model: str,
        *,
        stages: bool = False,
        shared_from: int | None = None,
        must_share: bool = False,
    ) -> None:
        self.where = where
        self._transport = transport
        self._model = model
        self._stages = stages
        self._shared_from = shared_from
        self._must_share = must_share
        self._regions = None if shared_from is None else Regions(transport)
        self._signature: Signature | None = None
        self._lock = threading.Lock()

    def find(self, hits: Hits, deadline: float, call: Call | None = None) -> Tracks:
        """Ask.

        Args:
            hits: one event.
            deadline: by `time.monotonic` [s].
            call: who may stop waiting.

        Raises:
            InputError: the server or the model cannot use these hits.
            ServiceError: no usable answer.
        """
        try:
            return self._find(hits, deadline, call)
        except (ServiceUnavailableError, DeadlineError):
            # It may be another server, with another configuration, when it is back.
            self._signature = None
            raise

    def signature(self, deadline: float) -> Signature:
        """What the model takes and gives; asked for once."""
        signature = self._signature
        if signature is None:
            with self._lock:
                signature = self._signature
                if signature is None:
                    config = self._transport.config(self._model, _left(deadline, self.where))
                    signature = self._signature = signature_of(config, self.where)
        return signature

    def close(self) -> None:
        """Free the shared memory and drop the connection."""
        if self._regions is not None:
            self._regions.close()
        self._transport.close()

    def _find(self, hits: Hits, deadline: float, call: Call | None) -> Tracks:
        signature = self.signature(deadline)
        request = signature.request(hits, stages=self._stages)
        n_hits = len(hits)
        if self._shared_from is not None and n_hits >= max(1, self._shared_from):
            assert self._regions is not None
            if self._must_share or self._regions.offered:
                try:
                    return self._through_memory(self._regions, signature, request, n_hits, deadline, call)
                except RegionLostError:
                    self._regions.refused()
                    if self._must_share:
                        raise
        answer = self._transport.infer(request, _left(deadline, self.where), call)
        return signature.tracks(answer, n_hits, None, self.where)

    def _through_memory(
        self, regions: Regions, signature: Signature, request: Request, n_hits: int, deadline: float, call: Call | None
    ) -> Tracks:
        at, size = layout(request, n_hits)
        with regions.region(size) as region:
            placed = Request(request.model, request.inputs, request.outputs, region.place(request, at))
            answer = self._transport.infer(placed, _left(deadline, self.where), call)
            return signature.tracks(answer, n_hits, region.labels(at, n_hits), self.where)


def connect(endpoint: Endpoint, model: str, protocol: Protocol, security: Security, *, stages: bool) -> Remote:
    """The model at an endpoint; nothing is sent yet."""
    transport: Transport
    transport = GrpcTransport(endpoint, security) if endpoint.protocol == "grpc" else HttpTransport(endpoint, security)
    shared_from = None
    if protocol == "shm":
        shared_from = 0
    elif protocol == "auto" and endpoint.local:
        shared_from = SHARED_FROM
    return Remote(
        str(endpoint),
        transport,
        model,
        stages=stages,
        shared_from=shared_from,
        must_share=protocol == "shm",
    )


def _left(deadline: float, where: str) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise DeadlineError(f"{where}: got no answer in time; allow more, or send less at once")
    return left
