"""Send one JSON document to an A2A server, of version 1.0 or 0.3."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx

from beampipe.analysisops.a2a.documents import LARGEST_ANSWER, dump_object, parse_object
from beampipe.analysisops.a2a.server import ARTIFACT
from beampipe.errors import DeadlineError, InputError, ServiceError, ServiceUnavailableError

if TYPE_CHECKING:
    from a2a.types import Artifact, StreamResponse, Task, TaskStatus


_SHOWN: Final = 300

_POLL_SECONDS: Final = 1.0

_SECONDS: Final = 1800.0
"""Time from the first byte sent to the last byte received, if a caller names none [s]."""

_CONNECT_SECONDS: Final = 10.0
"""Time to get a connection [s]."""

_WIRE_BYTES: Final = 16 * LARGEST_ANSWER
"""Maximum size of all that a server sends, reports of progress included [bytes]."""


def send_document(
    url: str, document: Mapping[str, Any], seconds: float = _SECONDS, wire_bytes: int = _WIRE_BYTES
) -> dict[str, Any]:
    """Send a JSON object to a server; returns the JSON object of its answer.

    Messages go to the given address. The card may name another path there, but cannot redirect them to another machine.

    Args:
        url: address of the server.
        document: JSON object that is sent as text.
        seconds: time from the first byte sent to the last byte received [s].
        wire_bytes: maximum size of all that the server sends, reports of progress included [bytes].

    Raises:
        ServiceUnavailableError: no server listens at the address.
        DeadlineError: it took too long.
        ServiceError: it failed, sent too much, or its answer is not one JSON object.
    """
    text = dump_object(dict(document))

    async def within_time() -> _Answer:
        return await asyncio.wait_for(_converse(url, text, seconds, wire_bytes), seconds)

    try:
        return _result(within_time()).document(url)
    except TimeoutError as error:
        raise DeadlineError(
            f"{url}: got no answer within {seconds:g} s; allow more time or look into the agent's log", url=url
        ) from error
    except InputError as error:
        raise ServiceError(str(error), url=url) from error


def _result(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """The result of a coroutine; in another thread if this one runs an event loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    executor = ThreadPoolExecutor(1, thread_name_prefix="a2a")
    try:
        return executor.submit(asyncio.run, work).result()
    finally:
        executor.shutdown(wait=False)


@dataclass
class _Answer:
    """The answer of a server so far.

    Attributes:
        artifacts: by their ids.
        message: text and data of a message in place of a task.
        state: of the task, such as ``"TASK_STATE_WORKING"``; empty without a task.
        words: text of the last status.
        task_id: of the task.
    """

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    message: tuple[str, list[Any]] | None = None
    state: str = ""
    words: str = ""
    task_id: str = ""

    @property
    def unfinished(self) -> bool:
        """Whether the task is still running."""
        return self.message is None and self.state in ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING")

    def take(self, event: StreamResponse) -> None:
        """Add an event of a stream."""
        from a2a.helpers import get_data_parts, get_text_parts

        kind = event.WhichOneof("payload")
        if kind == "task":
            self.take_task(event.task)
        elif kind == "message":
            self.message = "".join(get_text_parts(event.message.parts)), get_data_parts(event.message.parts)
        elif kind == "status_update":
            self.task_id = event.status_update.task_id
            self._take_status(event.status_update.status)
        elif kind == "artifact_update":
            update = event.artifact_update
            earlier = self.artifacts.get(update.artifact.artifact_id)
            if update.append and earlier is not None:
                earlier.parts.extend(update.artifact.parts)
            else:
                self.artifacts[update.artifact.artifact_id] = update.artifact

    def take_task(self, task: Task) -> None:
        """Add a whole task."""
        self.task_id = task.id
        self._take_status(task.status)
        self.artifacts.update({artifact.artifact_id: artifact for artifact in task.artifacts})

    def _take_status(self, status: TaskStatus) -> None:
        from a2a.helpers import get_text_parts
        from a2a.types import TaskState

        self.state = TaskState.Name(status.state)
        self.words = "".join(get_text_parts(status.message.parts))

    def document(self, url: str) -> dict[str, Any]:
        """The JSON object of the answer."""
        from a2a.helpers import get_data_parts, get_text_parts

        if self.message is None and self.state != "TASK_STATE_COMPLETED":
            raise ServiceError(
                f"{url}: got a task that ended as {self.state.removeprefix('TASK_STATE_').lower() or 'nothing'}"
                f" ({self.words[:_SHOWN]!r}), expected it completed",
                url=url,
            )
        named = [artifact for artifact in self.artifacts.values() if artifact.name == ARTIFACT]
        artifacts = named or list(self.artifacts.values())
        if len(artifacts) > 1:
            raise ServiceError(
                f"{url}: got {len(artifacts)} artifacts, expected one, or one by the name of {ARTIFACT!r}", url=url
            )
        if artifacts:
            text, data = "".join(get_text_parts(artifacts[0].parts)), get_data_parts(artifacts[0].parts)
        else:
            text, data = self.message or (self.words, [])
        if len(data) == 1 and isinstance(data[0], dict) and not text.lstrip().startswith(("{", "```")):
            text = dump_object(data[0])  # text beside the data is meant for readers
        return parse_object(text, f"answer of {url}")


async def _converse(url: str, text: str, seconds: float, wire_bytes: int) -> _Answer:
    """Send a text, and collect the answer until the task has ended."""
    from a2a.client import A2AClientError, ClientConfig, ClientFactory
    from a2a.client.card_resolver import A2ACardResolver
    from a2a.helpers import new_message, new_text_part
    from a2a.types import GetTaskRequest, Role, SendMessageRequest

    answer = _Answer()
    timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
    # Compressed answers could be small on the wire and huge in memory; the environment's proxies would not count bytes.
    async with httpx.AsyncClient(
        transport=_Bounded(url, wire_bytes),
        timeout=timeout,
        headers={"Accept-Encoding": "identity"},
        trust_env=False,
    ) as http:
        try:
            card = await A2ACardResolver(http, url).get_agent_card()
            for interface in card.supported_interfaces:  # the given address replaces that of the card
                if urlsplit(interface.url)[:2] != urlsplit(url)[:2]:
                    interface.url = url
            client = ClientFactory(ClientConfig(httpx_client=http)).create(card)
            message = new_message([new_text_part(text, media_type="application/json")], role=Role.ROLE_USER)
            async for event in client.send_message(SendMessageRequest(message=message)):
                answer.take(event)
            # Some servers do not stream, and return before the task has ended.
            while answer.unfinished and answer.task_id:
                await asyncio.sleep(_POLL_SECONDS)
                answer.take_task(await client.get_task(GetTaskRequest(id=answer.task_id)))
        except (A2AClientError, httpx.HTTPError, OSError) as error:
            raise _refusal(url, error, seconds) from error
        except ServiceError:
            raise
        except Exception as error:  # the parser of the protocol may receive any bytes
            raise ServiceError(f"{url}: got no A2A ({type(error).__name__}: {str(error)[:_SHOWN]})", url=url) from error
    return answer


def _refusal(url: str, error: Exception, seconds: float) -> ServiceError:
    """Translate an error of the protocol or the connection."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ServiceError):
            return cause
        if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
            return ServiceUnavailableError(f"{url}: no server listens ({cause}); start the agent first", url=url)
        if isinstance(cause, httpx.TimeoutException):
            return DeadlineError(f"{url}: got no byte within {seconds:g} s", url=url)
        cause = cause.__cause__
    return ServiceError(
        f"{url}: got {type(error).__name__} ({str(error)[:_SHOWN]}), expected an answer by A2A", url=url
    )


class _Bounded(httpx.AsyncHTTPTransport):
    """Connections that close when a response exceeds its size limit."""

    def __init__(self, url: str, most: int) -> None:
        super().__init__()
        self._url, self._left, self._most = url, most, most

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        coding = response.headers.get("content-encoding", "identity")
        if coding != "identity":
            await response.aclose()
            raise ServiceError(f"{self._url}: got content coded as {coding!r}, expected it plain", url=self._url)
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        response.stream = _Counted(stream, self)
        return response

    def count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ServiceError(f"{self._url}: got more than {self._most} bytes, expected an answer", url=self._url)


class _Counted(httpx.AsyncByteStream):
    """A response body that counts its bytes."""

    def __init__(self, stream: httpx.AsyncByteStream, bound: _Bounded) -> None:
        self._stream, self._bound = stream, bound

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._bound.count(len(chunk))
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
