"""Who may see a task again: whoever sent it, and nobody else.

A caller that sends a token (``Authorization``) is known by it, and may list its tasks and get them. A caller without
one is known by its address and, for one task, by the number of the task, which is random and told to nobody else; it
can list nothing, since everybody at that address could. Tokens are kept as their hashes.
"""

from __future__ import annotations

import hashlib

from a2a.auth.user import User
from a2a.server.context import ServerCallContext
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import ListTasksRequest, ListTasksResponse
from starlette.requests import Request

__all__ = ["CallerContexts", "OwnedTasks"]


class _Caller(User):
    """Whoever has sent a request."""

    def __init__(self, name: str, *, known: bool) -> None:
        self._name, self._known = name, known

    @property
    def is_authenticated(self) -> bool:
        return self._known

    @property
    def user_name(self) -> str:
        return self._name


class CallerContexts(DefaultServerCallContextBuilder):
    """Contexts of calls that say who calls."""

    def build_user(self, request: Request) -> User:
        token = request.headers.get("authorization", "")
        if token:
            return _Caller(f"token {hashlib.sha256(token.encode()).hexdigest()}", known=True)
        return _Caller(f"address {request.client.host if request.client else ''}", known=False)


class OwnedTasks(InMemoryTaskStore):
    """Tasks in memory, each for its owner alone."""

    def __init__(self) -> None:
        super().__init__(owner_resolver=lambda context: context.user.user_name)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        if context.user.is_authenticated:
            return await super().list(params, context)
        return ListTasksResponse(page_size=params.page_size)
