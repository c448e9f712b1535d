"""Asks a server of OpenAI's protocol, again if it is busy, and not at all for what was asked before."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx

from beampipe.analysisops.agents.llm.cache import ReplayCache
from beampipe.analysisops.agents.llm.settings import Model
from beampipe.analysisops.agents.llm.wire import Reply, read_reply
from beampipe.errors import ConfigError, DeadlineError, ServiceError, ServiceUnavailableError

__all__ = ["ChatClient"]

_BUSY: Final = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_LARGEST: Final = 8 * 1024 * 1024
_SHOWN: Final = 300


class ChatClient:
    """Conversations with one model.

    Args:
        model: which.
        cache: answers that were given before; None asks always.
        sleep: waits so many seconds before it is asked again.
    """

    def __init__(
        self, model: Model, cache: ReplayCache | None = None, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.model = model
        self._cache, self._sleep = cache, sleep
        self._url = f"{model.base_url.rstrip('/')}/chat/completions"

    def ask(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        must_call: str = "",
        response_format: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> Reply:
        """The next message of a conversation.

        Args:
            messages: those so far.
            tools: what the model may call.
            must_call: the one tool that it has to call now; empty leaves it the choice.
            response_format: what its text must look like.
            seconds: time for this answer with all retries [s]; None takes that of the model for each try.

        Raises:
            ServiceUnavailableError: it is busy or out of reach, for all retries.
            DeadlineError: it did not answer in time.
            ServiceError: it refuses the request, or answers no chat completion.
            FileError: the cache has no answer, and nobody may be asked.
        """
        model = self.model
        asked: dict[str, Any] = {"model": model.model, "messages": list(messages), "max_tokens": model.answer_tokens}
        if model.temperature is not None:
            asked["temperature"] = model.temperature
        if model.seed is not None:
            asked["seed"] = model.seed
        if tools:
            asked["tools"] = [{"type": "function", "function": dict(tool)} for tool in tools]
            asked["tool_choice"] = {"type": "function", "function": {"name": must_call}} if must_call else "auto"
        if response_format is not None:
            asked["response_format"] = dict(response_format)
        kept = self._cache.find(asked) if self._cache is not None else None
        if kept is not None:
            return read_reply(kept, asked, url=self._url, cached=True)
        answer = self._post(asked, seconds)
        reply = read_reply(answer, asked, url=self._url)
        if self._cache is not None:
            self._cache.keep(asked, answer)
        return reply

    def _post(self, asked: Mapping[str, Any], seconds: float | None) -> Any:
        """The JSON that the server sends, after as many tries as are allowed."""
        until = time.monotonic() + (seconds if seconds is not None else float("inf"))
        for attempt in range(self.model.retries + 1):
            left = min(self.model.request_seconds, until - time.monotonic())
            if left <= 0:
                break
            try:
                return self._once(asked, left)
            except _BusyError as busy:
                fault = busy
            if attempt < self.model.retries:
                pause = min(
                    fault.pause or _FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE, max(0.0, until - time.monotonic())
                )
                self._sleep(pause)
        else:
            raise ServiceUnavailableError(
                f"{self._url}: got {fault} after {self.model.retries + 1} tries; try again later",
                url=self._url,
                model=self.model.model,
            )
        raise DeadlineError(f"{self._url}: got no answer within {seconds:g} s", url=self._url, model=self.model.model)

    def _once(self, asked: Mapping[str, Any], seconds: float) -> Any:
        try:
            timeout = httpx.Timeout(seconds, connect=min(seconds, 10.0))
            with (
                httpx.Client(timeout=timeout) as http,
                http.stream("POST", self._url, json=asked, headers=self._headers()) as answer,
            ):
                status, text = answer.status_code, _bounded(answer, self._url)
                pause = answer.headers.get("retry-after", "")
        except httpx.TransportError as error:
            raise _BusyError(f"{type(error).__name__} ({error})") from error
        except httpx.HTTPError as error:
            raise ServiceError(f"{self._url}: got {type(error).__name__} ({error})", url=self._url) from error
        if status in _BUSY:
            raise _BusyError(f"status {status}", float(pause) if pause.isdigit() else 0.0)
        if status != 200:
            raise ServiceError(
                f"{self._url}: got status {status} ({text[:_SHOWN]!r}), expected a chat completion;"
                " check the address, the name of the model and the key",
                url=self._url,
                model=self.model.model,
            )
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ServiceError(f"{self._url}: got {text[:_SHOWN]!r}, expected JSON", url=self._url) from error

    def _headers(self) -> dict[str, str]:
        variable = self.model.api_key_variable
        if not variable:
            return {}
        key = os.environ.get(variable)
        if not key:
            raise ConfigError(f"api_key_variable: got no variable {variable} in the environment; set it to the key")
        return {"Authorization": f"Bearer {key}"}


class _BusyError(Exception):
    """The server may answer later, perhaps after a pause [s] that it named."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


def _bounded(answer: httpx.Response, url: str) -> str:
    found = bytearray()
    for chunk in answer.iter_bytes():
        found += chunk
        if len(found) > _LARGEST:
            raise ServiceError(f"{url}: got more than {_LARGEST} bytes, expected a chat completion", url=url)
    return found.decode(errors="replace")
