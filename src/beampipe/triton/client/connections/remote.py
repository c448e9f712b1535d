"""One model on one server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from time import monotonic
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from numpy import ndarray

from beampipe.errors import (
    DeadlineError,
    RegionLostError,
    RegionRefusedError,
    ServiceError,
    ServiceUnavailableError,
)
from beampipe.triton.client.codec import ConfigRequest
from beampipe.triton.client.endpoint import Endpoint, Security, WireProtocol
from beampipe.triton.client.grpc_transport import GrpcTransport
from beampipe.triton.client.http_transport import HttpTransport
from beampipe.triton.client.refusals import late
from beampipe.triton.client.shared_memory import SharedRegions, layout
from beampipe.triton.client.signature import Due, ModelSignature, signature_of
from beampipe.triton.client.transport import PendingAnswer, Transport

__all__ = ["SHARED_FROM", "NotSentError", "Question", "RemoteModel"]

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

    def outputs(self, signature: ModelSignature) -> Due:
        """Arrays to get."""

    def result(self, signature: ModelSignature, arrays: dict[str, ndarray]) -> _Result:
        """What the arrays mean; of those that were asked for, some may not have come."""


class NotSentError(DeadlineError):
    """The time was over before anything was sent."""


class RemoteModel:
    """One model on one server: its contract, its connection, its shared memory. Nothing is sent before it is asked.

    Args:
        endpoint: address of the server.
        model: name of the model.
        protocol: whether shared memory is used: ``auto`` on this machine, ``shm`` always, else never.
        security: token to show and certificates to trust.
        transport: connection to use, None for a new one that speaks what the endpoint says.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        protocol: WireProtocol,
        security: Security,
        transport: Transport | None = None,
    ) -> None:
        speaks = GrpcTransport if endpoint.protocol == "grpc" else HttpTransport
        self._transport: Transport = speaks(endpoint, security) if transport is None else transport
        self.url = str(endpoint)
        self._model = model
        self._must_share = protocol == "shm"
        self._shared_from = 1 if self._must_share else SHARED_FROM
        shares = self._must_share or (protocol == "auto" and endpoint.local)
        self._regions = SharedRegions(self._transport) if shares else None
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
            CancelledError: nobody waits any more.
        """
        try:
            return self._ask(question, deadline, pending)
        except ServiceError as error:
            if pending is not None:
                pending.check()  # that the request was cancelled here is no fault of the server
            error.model = error.model or self._model
            if isinstance(error, ServiceUnavailableError | DeadlineError):
                # It may be another server, with another configuration, when it is back.
                self._signature = None
                if self._regions is not None:
                    self._regions.offer_again()
            raise

    def signature(self, deadline: float, pending: PendingAnswer[Any] | None = None) -> ModelSignature:
        """What the model takes and gives; the server is asked once."""
        signature = self._signature
        if signature is None:
            if not self._lock.acquire(timeout=self._left(deadline)):
                raise late(self.url)
            try:
                signature = self._signature
                if signature is None:
                    config = self._transport.send(ConfigRequest(self._model), self._left(deadline), pending)
                    signature = self._signature = signature_of(config, self.url)
            finally:
                self._lock.release()
        return signature

    def close(self, limit: float = 0.5) -> None:
        """Free the shared memory, within so long [s], and drop the connection."""
        if self._regions is not None:
            self._regions.close(limit)
        self._transport.close()

    def _ask(self, question: Question[_Answer], deadline: float, pending: PendingAnswer[Any] | None) -> _Answer:
        signature = self.signature(deadline, pending)
        due = signature.due(question.outputs(signature))
        request = signature.request(question.inputs(signature), due)
        arrays, regions = None, self._regions
        if (
            regions is not None
            and any(tensor.array.nbytes >= self._shared_from for tensor in request.inputs)
            and (self._must_share or regions.offered)
        ):
            at, size = layout(request.inputs, signature.sizes(due))
            try:
                with regions.region(size) as region:
                    placed = replace(request, placed=region.place(request.inputs, request.outputs, at))
                    answer = self._transport.send(placed, self._left(deadline), pending)
                    arrays = signature.arrays(answer, due, region, at)
            except RegionLostError:
                regions.lost()
                if self._must_share:
                    raise
            except RegionRefusedError:
                regions.refused()
                if self._must_share:
                    raise
        if arrays is None:  # small, or no shared memory to be had
            arrays = signature.arrays(self._transport.send(request, self._left(deadline), pending), due)
        return question.result(signature, arrays)

    def _left(self, deadline: float) -> float:
        left = deadline - monotonic()
        if left <= 0:
            raise NotSentError(str(late(self.url)), url=self.url)
        return left
