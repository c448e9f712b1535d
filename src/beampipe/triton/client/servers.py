"""One model on several servers: name look-up, load balancing, and the request to one server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable

from numpy import ndarray

from beampipe.errors import DeadlineError, RegionLostError, RegionRefusedError, ServiceError, ServiceUnavailableError
from beampipe.triton.backoff import Backoff
from beampipe.triton.client.codec import ConfigRequest
from beampipe.triton.client.endpoint import Endpoint, Security, WireProtocol, connection_of
from beampipe.triton.client.error_mapping import deadline_error
from beampipe.triton.client.shared_memory import SharedRegions, layout
from beampipe.triton.client.signature import Due, ModelSignature, signature_of
from beampipe.triton.client.transports import GrpcTransport, HttpTransport, PendingAnswer, Transport

SHARED_FROM: Final = 24_000
"""Size of the largest input [bytes] from which on shared memory is faster than sending: by 10 % at this size, and
three times as fast at 1 MB."""

_OWN_SERVER: Final = 1.0
"""Time [s] for which it is assumed that a server still has a connection file, or has none."""

_Result = TypeVar("_Result", covariant=True)

_Answer = TypeVar("_Answer")


@runtime_checkable
class InferenceCall(Protocol[_Result]):
    """A request in the caller's own terms, turned into arrays by the signature of the model that gets it."""

    def inputs(self, signature: ModelSignature) -> Mapping[str, ndarray]:
        """Arrays to send, by name of tensor."""

    def outputs(self, signature: ModelSignature) -> Due:
        """Arrays to get."""

    def result(self, signature: ModelSignature, arrays: dict[str, ndarray]) -> _Result:
        """The result for the caller; some of the requested arrays may be missing."""


class NotSentError(DeadlineError):
    """The deadline passed before anything was sent."""


class RemoteModel:
    """One model on one server: its signature, connection and shared memory. Nothing is sent before the first call.

    Args:
        endpoint: address of the server.
        model: name of the model.
        protocol: whether shared memory is used: ``shm`` always, ``auto`` with a server of this machine and user, of
            which there is a connection file, else never. Other servers and gateways refuse it, and count the refusal.
        security: token to show and certificates to trust.
        transport: connection to use, None for a new one of the endpoint's protocol.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        protocol: WireProtocol,
        security: Security,
        transport: Transport | None = None,
    ) -> None:
        kind = GrpcTransport if endpoint.protocol == "grpc" else HttpTransport
        self._transport: Transport = kind(endpoint, security) if transport is None else transport
        self.url = str(endpoint)
        self._endpoint = endpoint
        self._model = model
        self._must_share = protocol == "shm"
        self._shared_from = 1 if self._must_share else SHARED_FROM
        shares = self._must_share or (protocol == "auto" and endpoint.local)
        self._regions = SharedRegions(self._transport) if shares else None
        self._signature: ModelSignature | None = None
        self._lock = threading.Lock()
        self._looked_up, self._own_server = float("-inf"), False

    def ask(self, call: InferenceCall[_Answer], deadline: float, pending: PendingAnswer[Any] | None = None) -> _Answer:
        """Send a request and wait for the answer.

        Args:
            call: the request.
            deadline: by `time.monotonic` [s].
            pending: future of the answer, by which the request may be cancelled.

        Raises:
            InputError: the server or the model cannot use the data.
            ServiceError: no usable answer.
            CancelledError: the request was cancelled.
        """
        try:
            return self._ask(call, deadline, pending)
        except ServiceError as error:
            if pending is not None:
                pending.check()  # a request that was cancelled here is no fault of the server
            error.model = error.model or self._model
            if isinstance(error, ServiceUnavailableError | DeadlineError):
                # After a restart the server may have another configuration.
                self._signature = None
                if self._regions is not None:
                    self._regions.offer_again()
            raise

    def signature(self, deadline: float, pending: PendingAnswer[Any] | None = None) -> ModelSignature:
        """The signature of the model, read once."""
        signature = self._signature
        if signature is None:
            if not self._lock.acquire(timeout=self._left(deadline)):
                raise deadline_error(self.url)
            try:
                signature = self._signature
                if signature is None:
                    config = self._transport.send(ConfigRequest(self._model), self._left(deadline), pending)
                    signature = self._signature = signature_of(config, self.url)
            finally:
                self._lock.release()
        return signature

    def close(self, limit: float = 0.5) -> None:
        """Free the shared memory, within `limit` seconds, and drop the connection."""
        if self._regions is not None:
            self._regions.close(limit)
        self._transport.close()

    def _ask(self, call: InferenceCall[_Answer], deadline: float, pending: PendingAnswer[Any] | None) -> _Answer:
        signature = self.signature(deadline, pending)
        due = signature.due(call.outputs(signature))
        request = signature.request(call.inputs(signature), due)
        arrays, regions = None, self._regions
        if (
            regions is not None
            and any(tensor.array.nbytes >= self._shared_from for tensor in request.inputs)
            and (self._must_share or (regions.offered and self._is_own_server()))
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
        if arrays is None:  # small, or no shared memory available
            arrays = signature.arrays(self._transport.send(request, self._left(deadline), pending), due)
        return call.result(signature, arrays)

    def _is_own_server(self) -> bool:
        """Whether there is a connection file of the server; looked up at most once per second, which takes 30 us."""
        now = monotonic()
        if now - self._looked_up > _OWN_SERVER:
            self._looked_up, self._own_server = now, connection_of(self._endpoint) is not None
        return self._own_server

    def _left(self, deadline: float) -> float:
        left = deadline - monotonic()
        if left <= 0:
            raise NotSentError(str(deadline_error(self.url)), url=self.url)
        return left


_Server = TypeVar("_Server")
"""Type that represents a server; hashable."""


_LEFT_OUT: Final = Backoff(longest=5.0)
"""Time for which a failed server is left out."""


class _State:
    """State of one server in the load balancer."""

    def __init__(self) -> None:
        self.requests = 0
        self.waiting = 0
        self.failures = 0
        self.back_at = float("-inf")


class LoadBalancer(Generic[_Server]):
    """Distributes requests over servers: to the one with the fewest of ours, avoiding those that failed lately.

    Args:
        servers: the servers, one or more.
        clock: gives the time [s], for tests.

    Attributes:
        servers: the current servers.
    """

    def __init__(self, servers: Sequence[_Server], clock: Callable[[], float] = monotonic) -> None:
        self.servers = tuple(servers)
        self._states = {server: _State() for server in self.servers}
        self._clock = clock
        self._lock = threading.Lock()

    def replace(self, servers: Sequence[_Server]) -> None:
        """Use other servers from now on; the state of those that stay is kept."""
        with self._lock:
            self._states = {server: self._states.get(server) or _State() for server in servers}
            self.servers = tuple(servers)

    def pick(self, tried: Sequence[_Server] = ()) -> _Server:
        """The server for the next request; one of `tried`, or one that is left out, only if there is no other."""

        def cost(server: _Server) -> tuple[bool, bool, float, int, int]:
            state = self._states[server]
            away = state.back_at > now
            return server in tried, away, state.back_at if away else 0.0, state.waiting, state.requests

        if len(self.servers) == 1:
            return self.servers[0]
        now = self._clock()
        with self._lock:
            server = min(self.servers, key=cost)
            self._states[server].requests += 1
            return server

    @contextmanager
    def in_flight(self, server: _Server) -> Iterator[None]:
        """A request in flight; leaves the server out for a while if the request finds it down."""
        state = self._states.get(server) or _State()  # it may have been replaced since it was picked
        begin = self._clock()
        with self._lock:
            state.waiting += 1
        try:
            yield
            with self._lock:
                state.failures, state.back_at = 0, float("-inf")
        except (ServiceUnavailableError, DeadlineError) as error:
            with self._lock:
                now, pause = self._clock(), _LEFT_OUT.pause(state.failures)
                if isinstance(error, DeadlineError):
                    pause = max(pause, now - begin)  # left out for as long as the request waited
                state.back_at = now + pause
                state.failures += 1
            raise
        finally:
            with self._lock:
                state.waiting -= 1


_LOOKED_UP: Final = 30.0
"""Time [s] after which names are looked up again."""

_SOON: Final = 2.0
"""After a failure, the time [s] since the last look-up after which names are looked up again."""


def addresses_of(endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """One endpoint for each address that the name of the host has.

    An IPv4 and an IPv6 address may belong to one machine, so several addresses count as several servers only within one
    family. With one of each, the endpoint is returned unchanged, and the transport finds out which one answers.

    Raises:
        OSError: the name cannot be looked up.
    """
    if not endpoint.named:
        return (endpoint,)
    families: dict[int, set[str]] = {}
    for family, _, _, _, address in socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM):
        families.setdefault(family, set()).add(str(address[0]))
    several = next((addresses for addresses in families.values() if len(addresses) > 1), ())
    return tuple(replace(endpoint, address=address) for address in sorted(several)) or (endpoint,)


class Servers:
    """One model on each server behind the URLs.

    Args:
        endpoints: endpoints of the URLs.
        connect: makes the model on one server.
        longest: longest time of a request [s].
        look_up: gives the servers behind an endpoint, None to use each endpoint as it is.
        clock: gives the time [s], for tests.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        connect: Callable[[Endpoint], RemoteModel],
        longest: float,
        look_up: Callable[[Endpoint], Sequence[Endpoint]] | None = addresses_of,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._connect, self._longest, self._clock = connect, longest, clock
        self._look_up = look_up if any(endpoint.named for endpoint in endpoints) else None
        self._lock = threading.Lock()
        self._resolved: dict[Endpoint, Sequence[Endpoint]] = {endpoint: (endpoint,) for endpoint in endpoints}
        self._remotes: dict[Endpoint, RemoteModel] = {}
        self._retired: list[tuple[float, RemoteModel]] = []
        self._looked_up = float("inf")
        self._due = float("inf")
        self._balance: LoadBalancer[RemoteModel] = LoadBalancer(())
        self.refresh()

    def balance(self) -> LoadBalancer[RemoteModel]:
        """The load balancer over the servers; starts a new look-up of names in the background if one is due."""
        if self._clock() >= self._due:
            self._due = float("inf")
            threading.Thread(target=self.refresh, name="beampipe-addresses", daemon=True).start()
        return self._balance

    def failed(self) -> None:
        """Schedule a look-up of names: a server that does not answer may have moved."""
        self._due = min(self._due, self._looked_up + _SOON)

    def refresh(self) -> None:
        """Look names up: connect to new servers, retire those that are gone."""
        resolved = {endpoint: self._addresses(endpoint, previous) for endpoint, previous in self._resolved.items()}
        with self._lock:
            now = self._clock()
            self._resolved = resolved
            endpoints = dict.fromkeys(address for addresses in resolved.values() for address in addresses)
            self._retired += [(now, self._remotes.pop(old)) for old in self._remotes.keys() - endpoints.keys()]
            for endpoint in endpoints:
                if endpoint not in self._remotes:
                    self._remotes[endpoint] = self._connect(endpoint)
            self._balance.replace([self._remotes[endpoint] for endpoint in endpoints])
            over = [remote for since, remote in self._retired if now - since > self._longest]
            self._retired = [(since, remote) for since, remote in self._retired if now - since <= self._longest]
            if self._look_up is not None:
                self._looked_up, self._due = now, now + _LOOKED_UP
        for remote in over:
            remote.close()

    def close(self, limit: float) -> None:
        """Free the shared memory, within `limit` seconds in all, and drop the connections."""
        deadline = monotonic() + limit
        with self._lock:
            remotes = [*self._remotes.values(), *(remote for _, remote in self._retired)]
            self._due = float("inf")
        for remote in remotes:
            remote.close(max(0.0, deadline - monotonic()))

    def _addresses(self, endpoint: Endpoint, previous: Sequence[Endpoint]) -> Sequence[Endpoint]:
        if self._look_up is None:
            return previous
        try:
            return self._look_up(endpoint)
        except OSError:
            return previous  # the transport reports a name that does not exist
