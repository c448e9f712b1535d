"""One model on one server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from time import monotonic
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from numpy import ndarray

from beampipe.errors import DeadlineError, RegionLostError, ServiceError, ServiceUnavailableError
from beampipe.triton.client.codec import ConfigRequest, InferRequest
from beampipe.triton.client.endpoint import Endpoint, Security, WireProtocol
from beampipe.triton.client.grpc_transport import GrpcTransport
from beampipe.triton.client.http_transport import HttpTransport
from beampipe.triton.client.shared_memory import SharedRegions, layout
from beampipe.triton.client.signature import Due, ModelSignature, signature_of
from beampipe.triton.client.transport import PendingAnswer, Transport

__all__ = ["SHARED_FROM", "Question", "RemoteModel", "connect"]

SHARED_FROM: Final = 24_000
"""Bytes of the largest input from which on shared memory is clearly quicker than sending: by a tenth here, three times
at 1 MB."""

_Result = TypeVar("_Result", covariant=True)
_Answer = TypeVar("_Answer")


@runtime_checkable
class Question(Protocol[_Result]):
    """What a caller wants to know in terms of its own: it becomes arrays for the very model that is asked."""

    def inputs(self, signature: ModelSignature) -> Mapping[str, ndarray]:
        """Arrays to send, by name of tensor."""
        ...

    def outputs(self, signature: ModelSignature) -> Due:
        """Arrays to get."""
        ...

    def result(self, signature: ModelSignature, arrays: dict[str, ndarray]) -> _Result:
        """What the arrays mean; of those that were asked for, some may not have come."""
        ...


class RemoteModel:
    """One model on one server: its contract, its connection, its shared memory.

    Args:
        url: address of the server, for messages.
        transport: connection to the server.
        model: name of the model.
        shared_from: bytes of the largest input from which on shared memory is used, None for never.
        must_share: whether a request that cannot go through shared memory is an error.
    """

    def __init__(
        self,
        url: str,
        transport: Transport,
        model: str,
        *,
        shared_from: int | None = None,
        must_share: bool = False,
    ) -> None:
        self.url = url
        self._transport = transport
        self._model = model
        self._shared_from = 0 if shared_from is None else max(1, shared_from)
        self._must_share = must_share
        self._regions = None if shared_from is None else SharedRegions(transport)
        self._signature: ModelSignature | None = None
        self._lock = threading.Lock()

    def ask(self, question: Question[_Answer], deadline: float, pending: PendingAnswer[Any] | None = None) -> _Answer:
        """Ask the server and wait.

        Args:
            question: what is to be known.
            deadline: by `time.monotonic` [s].
            pending: who waits for the answer and may stop to.

        Raises:
            InputError: the server or the model cannot use the data.
            ServiceError: no usable answer.
        """
        try:
            return self._ask(question, deadline, pending)
        except ServiceError as error:
            error.model = error.model or self._model
            if isinstance(error, ServiceUnavailableError | DeadlineError):
                # It may be another server, with another configuration, when it is back.
                self._signature = None
            raise

    def signature(self, deadline: float) -> ModelSignature:
        """What the model takes and gives; the server is asked once."""
        signature = self._signature
        if signature is None:
            with self._lock:
                signature = self._signature
                if signature is None:
                    config = self._transport.send(ConfigRequest(self._model), self._left(deadline))
                    signature = self._signature = signature_of(config, self.url)
        return signature

    def close(self) -> None:
        """Free the shared memory and drop the connection."""
        if self._regions is not None:
            self._regions.close()
        self._transport.close()

    def _ask(self, question: Question[_Answer], deadline: float, pending: PendingAnswer[Any] | None) -> _Answer:
        signature = self.signature(deadline)
        due = signature.due(question.outputs(signature))
        request = signature.request(question.inputs(signature), due)
        arrays = None
        if self._regions is not None and self._is_large(request):
            arrays = self._through_memory(self._regions, signature, request, due, deadline, pending)
        if arrays is None:
            arrays = signature.arrays(self._transport.send(request, self._left(deadline), pending), due)
        return question.result(signature, arrays)

    def _is_large(self, request: InferRequest) -> bool:
        return max((tensor.array.nbytes for tensor in request.inputs), default=0) >= self._shared_from

    def _through_memory(
        self,
        regions: SharedRegions,
        signature: ModelSignature,
        request: InferRequest,
        due: Due,
        deadline: float,
        pending: PendingAnswer[Any] | None,
    ) -> dict[str, ndarray] | None:
        """The answer, None where the request has to be sent after all."""
        if not (self._must_share or regions.offered):
            return None
        at, size = layout(request.inputs, signature.sizes(due))
        try:
            with regions.region(size) as region:
                placed = replace(request, placed=region.place(request.inputs, request.outputs, at))
                answer = self._transport.send(placed, self._left(deadline), pending)
                return signature.arrays(answer, due, region, at)
        except RegionLostError:
            regions.refused()
            if self._must_share:
                raise
            return None

    def _left(self, deadline: float) -> float:
        left = deadline - monotonic()
        if left <= 0:
            message = f"{self.url}: got no answer in time; allow more, or send less at once"
            raise DeadlineError(message, url=self.url)
        return left


def connect(
    endpoint: Endpoint, model: str, protocol: WireProtocol, security: Security, transport: Transport | None = None
) -> RemoteModel:
    """The model at an endpoint; nothing is sent yet.

    Args:
        endpoint: address of the server.
        model: name of the model.
        protocol: whether shared memory is used: ``auto`` on this machine, ``shm`` always, else never.
        security: token to show and certificates to trust.
        transport: connection to use, None for a new one that speaks what the endpoint says.
    """
    if transport is None:
        speaks = GrpcTransport if endpoint.protocol == "grpc" else HttpTransport
        transport = speaks(endpoint, security)
    shared_from = None
    if protocol == "shm":
        shared_from = 0
    elif protocol == "auto" and endpoint.local:
        shared_from = SHARED_FROM
    return RemoteModel(str(endpoint), transport, model, shared_from=shared_from, must_share=protocol == "shm")
