"""Serve a function over A2A: each message is a JSON object, and the answer is one, as the text of an artifact.

Only its owner can read a task again. A caller with a token (``Authorization``) is identified by it, and may list and
get its tasks. A caller without one is identified by its address and, for one task, by the random number of the task; it
cannot list tasks, since every other client at that address could, too. Tokens are kept as their hashes.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from a2a.auth.user import User
from a2a.helpers import get_data_parts, get_text_parts, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import ListTasksRequest, ListTasksResponse, Message, Task, TaskState, TaskStatus
from starlette.requests import Request

from beampipe.analysisops.a2a.documents import dump_object, parse_object
from beampipe.analysisops.http_server import listen, serve, serving
from beampipe.errors import BeampipeError, InputError

if TYPE_CHECKING:
    from a2a.types import AgentCard
    from starlette.applications import Starlette


class _Caller(User):
    """The sender of a request."""

    def __init__(self, name: str, *, authenticated: bool) -> None:
        self._name, self._authenticated = name, authenticated

    @property
    def is_authenticated(self) -> bool:
        return self._authenticated

    @property
    def user_name(self) -> str:
        return self._name


class CallerContexts(DefaultServerCallContextBuilder):
    """Identifies the caller of a request by its token, or else by its address."""

    def build_user(self, request: Request) -> User:
        token = request.headers.get("authorization", "")
        if token:
            return _Caller(f"token {hashlib.sha256(token.encode()).hexdigest()}", authenticated=True)
        return _Caller(f"address {request.client.host if request.client else ''}", authenticated=False)


class OwnedTasks(InMemoryTaskStore):
    """Tasks in memory; only its owner can read a task."""

    def __init__(self) -> None:
        super().__init__(owner_resolver=lambda context: context.user.user_name)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        if context.user.is_authenticated:
            return await super().list(params, context)
        return ListTasksResponse(page_size=params.page_size)


_VERSIONS: Final = ("1.0", "0.3")
_JSON: Final = ("application/json", "text/plain")


def agent_card(name: str, description: str, *, url: str, skill: str, tags: tuple[str, ...]) -> AgentCard:
    """The card of a server that exchanges JSON documents.

    The address is listed once for each version of the protocol: clients of version 0.3 refuse a card without theirs.

    Args:
        name: name of the server.
        description: its purpose, in a sentence.
        url: address under which clients reach it.
        skill: its only skill, in a few words.
        tags: keywords of the skill.
    """
    from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill

    return AgentCard(
        name=name,
        description=description,
        version=version("beampipe"),
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version=number) for number in _VERSIONS
        ],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=list(_JSON),
        default_output_modes=list(_JSON),
        skills=[AgentSkill(id=skill.replace(" ", "-"), name=skill, description=description, tags=list(tags))],
    )


ARTIFACT: Final = "submission"
"""Name of the artifact with the answer."""

_LARGEST_REQUEST: Final = 4 * 1024 * 1024

_P = ParamSpec("_P")

_T = TypeVar("_T")


class JsonExecutor(AgentExecutor):
    """Answers each message by a function of its JSON object.

    Args:
        answer: the function; each message runs it in a new thread.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._answer = answer

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        updater = await updates(context, event_queue)
        try:
            document = read_document(context.message)
        except InputError as error:
            await updater.reject(new_text_message(str(error)))
            return
        await updater.start_work(new_text_message("at work"))
        try:
            text = dump_object(await in_thread(self._answer, document))
        except BeampipeError as error:
            await updater.failed(new_text_message(str(error)))
        except Exception as error:
            await updater.failed(new_text_message(f"{type(error).__name__} in this agent"))
        else:
            await updater.add_artifact([new_text_part(text, media_type="application/json")], name=ARTIFACT)
            await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


async def updates(context: RequestContext, event_queue: EventQueue) -> TaskUpdater:
    """The updater of the task of a request. A new task is announced first, without the message of the caller."""
    task_id, context_id = context.task_id or "", context.context_id or ""
    if context.current_task is None:
        status = TaskStatus(state=TaskState.TASK_STATE_SUBMITTED)
        await event_queue.enqueue_event(Task(id=task_id, context_id=context_id, status=status))
    return TaskUpdater(event_queue, task_id, context_id)


def read_document(message: Message | None) -> dict[str, Any]:
    """The JSON object of a message: its text, or else its only data part (whose integers have become floats).

    Raises:
        InputError: the message has none.
    """
    parts = message.parts if message is not None else ()
    text = "".join(get_text_parts(parts))
    if text.strip():
        return parse_object(text, "message", largest=_LARGEST_REQUEST)
    data = get_data_parts(parts)
    if len(data) == 1 and isinstance(data[0], dict):
        return data[0]
    raise InputError(f"message: got {len(data)} parts with data and no text, expected one JSON object as text")


async def in_thread(function: Callable[_P, _T], *arguments: _P.args, **keywords: _P.kwargs) -> _T:
    """Call a function in a daemon thread, for which the end of the program does not wait."""
    future: Future[_T] = Future()
    future.set_running_or_notify_cancel()  # from now on, only the thread ends it

    def work() -> None:
        try:
            future.set_result(function(*arguments, **keywords))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True, name=getattr(function, "__name__", "work")).start()
    return await asyncio.wrap_future(future)


Card = Callable[..., "AgentCard"]
"""The card of a server for the address under which clients reach it: `agent_card` with all but its ``url``."""


def serve_a2a(executor: AgentExecutor, card: Card, host: str, port: int, *, card_url: str = "") -> None:
    """Serve until the process is stopped.

    Args:
        executor: answers messages.
        card: of the server.
        host: address to listen at.
        port: port to listen at; 0 takes a free one.
        card_url: address under which clients reach the server, if it differs.
    """
    listener = listen(host, port)
    url = card_url or f"http://{host}:{listener.getsockname()[1]}/"
    serve(a2a_app(executor, card(url=url)), listener)


@contextmanager
def serving_a2a(executor: AgentExecutor, card: Card) -> Iterator[str]:
    """A server on loopback while the block runs.

    Yields:
        Its address.
    """
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with serving(a2a_app(executor, card(url=url)), listener):
        yield url


def a2a_app(executor: AgentExecutor, card: AgentCard) -> Starlette:
    """An A2A server of both protocol versions at one address; only its owner can read a task.

    Idle streams send a ping every 15 s, so that proxies do not close them.
    """
    from a2a.server.request_handlers import DefaultRequestHandlerV2
    from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
    from starlette.applications import Starlette

    handler = DefaultRequestHandlerV2(executor, OwnedTasks(), card)
    routes = create_jsonrpc_routes(handler, "/", context_builder=CallerContexts(), enable_v0_3_compat=True)
    return Starlette(routes=[*create_agent_card_routes(card), *routes])
