"""`TritonTrackFinder`: asks one server or several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from copy import copy
from functools import partial
from pathlib import Path

from beampipe.errors import ServiceError
from beampipe.notebook import Shown
from beampipe.serving.finders.question import FindTracks
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.layout.watch import Watch
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE
from beampipe.triton.client.endpoint import WireProtocol
from beampipe.triton.client.model_client import ModelClient
from beampipe.triton.client.transport import Transport

__all__ = ["TritonTrackFinder"]


class TritonTrackFinder(Shown):
    """Finds tracks by asking Triton servers that hold the same model.

    The model's configuration, read once, says what units it takes, whether it batches and whether it needs more than
    positions. Thread-safe. A copy in another process, by fork or by pickling, makes connections of its own.

    Args:
        urls: one or more of ``grpc://host:8001``, ``http://host:8000``, ``grpcs://``, ``https://``, ``host:8001``. A
            host's name that has several addresses stands for as many servers.
        model: name of the model on the servers.
        protocol: ``auto`` hands large events to a server on this machine through shared memory and sends the rest, and
            everything where that is impossible; ``shm`` does so with all events and insists; ``grpc`` and ``http``
            never do.
        timeout: longest wait for one event with its retries [s]. With several servers each gets its share of it.
        retries: how often an event is asked again at most if a server is down, stopping or broken; None for as often
            as `timeout` allows. With several servers and at least one retry, each is tried once. Before the same
            server is asked again there is a pause of 0.05 s at most, then twice that, up to 1 s. An event that is
            refused for its data is never asked again.
        token: secret that is sent as ``authorization: Bearer TOKEN``, or the path of a file that holds it. A finder
            with a secret as text cannot be pickled; of a file the path is pickled, and the file read again.
        tls: True to trust the system's certificates, a PEM file to trust those in it.
        certificate: PEM file with a certificate and its key, for servers that ask who comes (mutual TLS).
        stages: whether to ask also what the stages took; the tracks then have `seconds` and `counts`.
        parameters: whether to ask also for the fitted helix of each track; the tracks then have `parameters`, and the
            `beam_spot` that these are measured from. A model that fits none is a `ServiceError`.
        in_flight: most requests on their way at once from `submit` and `find_async`; the others wait here.
        on_failure: function that is told why an event is asked again, once until a server answers again; a copy in
            another process tells nobody.
        transport: asked instead of servers, such as a `beampipe.triton.client.FakeTransport` in tests; the URLs are
            then only names.

    Raises:
        ConfigError: a URL or number is out of range.
        UnknownNameError: no such scheme or protocol.
        FileError: no such file of certificates, or no token in its file.

    Warns:
        UserWarning: the token would be sent to another machine without encryption.
        LayoutWarning: once, while tracks are found: hits fit the detector only in part.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str = DEFAULT_PIPELINE,
        *,
        protocol: WireProtocol = "auto",
        timeout: float = 60.0,
        retries: int | None = None,
        token: str | Path | None = None,
        tls: bool | str | Path | None = None,
        certificate: str | Path | None = None,
        stages: bool = False,
        parameters: bool = False,
        in_flight: int = 16,
        on_failure: Callable[[ServiceError], None] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._ask = partial(FindTracks, stages=stages, parameters=parameters, watch=Watch(model))
        self._retries = retries
        self._client = ModelClient(
            urls,
            model,
            protocol=protocol,
            timeout=timeout,
            retries=retries,
            token=token,
            tls=tls,
            certificate=certificate,
            in_flight=in_flight,
            on_failure=on_failure,
            transport=transport,
        )

    def facts(self) -> Mapping[str, object]:
        """The model, and the servers that are asked for it."""
        return self._client.facts()

    def find(self, hits: Hits, /) -> Tracks:
        """The tracks of one event.

        Raises:
            InputError: the model cannot use these hits; a LayoutError if they are of another detector or in other
                units.
            ServiceUnavailableError: no server that answers, after the retries.
            DeadlineError: no answer in time.
            ServiceError: an answer that cannot be right, or a refusal for another reason.
        """
        return self._client.ask(self._ask(hits), retries=self._retries)

    def submit(self, hits: Hits, /) -> Future[Tracks]:
        """`find`, later; cancelling the future cancels the request. The time allowed begins when it is sent."""
        return self._client.ask_later(self._ask(hits), retries=self._retries)

    async def find_async(self, hits: Hits, /) -> Tracks:
        """`find` for asyncio; cancelling the task cancels the request."""
        return await asyncio.wrap_future(self.submit(hits))

    def impatient(self) -> TritonTrackFinder:
        """The same finder for who has something else to ask: it asks once more, and then waits for no server.

        The two share their connections. A finder that was made with a number of `retries` stays as it is.
        """
        if self._retries is not None:
            return self
        finder = copy(self)
        finder._retries = 1
        return finder

    def close(self) -> None:
        """Cancel what is on its way, free the shared memory and drop the connections."""
        self._client.close()

    def __enter__(self) -> TritonTrackFinder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
