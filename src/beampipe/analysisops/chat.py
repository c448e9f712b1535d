"""Client of OpenAI's chat protocol, for agents and judges: retries, a bound on the reply, and a replay cache."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from beampipe.errors import ConfigError, DeadlineError, FileError, ServiceError, ServiceUnavailableError
from beampipe.files import write_whole

Mode = Literal["native", "json"]
"""How a model calls tools: by tool calls of the protocol, or by JSON objects in its text."""


@dataclass(frozen=True)
class Model:
    """A model on a server with OpenAI's chat protocol.

    Attributes:
        base_url: address up to and without ``/chat/completions``, such as ``"http://127.0.0.1:8000/v1"``.
        model: name of the model on the server.
        mode: how the model calls tools.
        api_key_variable: environment variable that holds the key; empty if none is needed. The key itself is never
            stored, cached or sent elsewhere.
        temperature: sampling temperature; None uses the server's default, which some models require.
        seed: seed of the sampling, if the server supports one; a negative seed is not sent.
        answer_tokens: maximum length of a reply [tokens].
        price_prompt: price of a million input tokens [USD].
        price_answer: price of a million output tokens [USD].
        request_seconds: time limit of one reply [s].
        retries: number of further attempts if the server is busy or unreachable.
    """

    base_url: str
    model: str
    mode: Mode = "native"
    api_key_variable: str = ""
    temperature: float | None = 0.0
    seed: int = -1
    answer_tokens: int = 4096
    price_prompt: float = 0.0
    price_answer: float = 0.0
    request_seconds: float = 300.0
    retries: int = 4

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url: got {self.base_url!r}, expected an address such as http://127.0.0.1:8000/v1")
        if not self.model:
            raise ConfigError("model: got no name, expected that of a model of the server")

    def key(self) -> str:
        """The key in the environment; empty if none is needed.

        Raises:
            ConfigError: it is not there.
        """
        key = os.environ.get(self.api_key_variable, "")
        if self.api_key_variable and not key:
            raise ConfigError(
                f"api_key_variable: got no ${self.api_key_variable}, expected the key of {self.model} there"
            )
        return key


_CHARACTERS_PER_TOKEN: Final = 4
"""Estimated length of a token, used if a server does not count tokens."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one reply.

    Attributes:
        prompt: number of input tokens.
        answer: number of output tokens.
        estimated: the numbers are estimates from the length of the text, since the server reported none.
    """

    prompt: int
    answer: int
    estimated: bool = False


@dataclass(frozen=True)
class Call:
    """A tool call that the model requests.

    Attributes:
        id: identifier of the call in the conversation.
        name: name of the tool.
        arguments: arguments as the model wrote them.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """The reply of a model.

    Attributes:
        text: its text.
        calls: requested tool calls.
        usage: its tokens.
        finish: reason for its end, such as ``"stop"``, ``"length"``, ``"tool_calls"`` or ``"content_filter"``.
        refusal: text of a refusal; empty if the model did not refuse.
        cached: whether it comes from the cache.
    """

    text: str
    calls: tuple[Call, ...]
    usage: Usage
    finish: str
    refusal: str
    cached: bool = False


def read_reply(answer: Any, request: Mapping[str, Any], *, url: str, cached: bool = False) -> Reply:
    """Parse the JSON of a chat completion.

    Args:
        answer: the JSON.
        request: the request, from which tokens are estimated if the server reports none.
        url: address of the server, for messages.
        cached: whether the answer comes from the cache.

    Raises:
        ServiceError: it is not a chat completion.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if isinstance(text, list):  # text in parts
            text = "".join(part.get("text", "") for part in text)
        calls = tuple(
            Call(
                str(call.get("id") or f"call_{number}"),
                str(call["function"]["name"]),
                _as_text(call["function"].get("arguments")),
            )
            for number, call in enumerate(message.get("tool_calls") or ())
        )
        usage = _usage(answer.get("usage"), request, text + "".join(call.arguments for call in calls))
        return Reply(
            str(text), calls, usage, str(choice.get("finish_reason") or ""), str(message.get("refusal") or ""), cached
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ServiceError(
            f"{url}: got {str(answer)[:200]!r}, expected a chat completion with choices",
            url=url,
            model=str(request.get("model", "")),
        ) from error


def _as_text(arguments: Any) -> str:
    """Arguments as text; some servers send the object itself."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {})


def _usage(counts: Any, request: Mapping[str, Any], text: str) -> Usage:
    """The tokens that a server counted, or an estimate."""
    if isinstance(counts, Mapping):
        prompt, answer = counts.get("prompt_tokens"), counts.get("completion_tokens") or 0
        if isinstance(prompt, int | float) and isinstance(answer, int | float):
            return Usage(max(0, int(prompt)), max(0, int(answer)))
    read = len(json.dumps(request.get("messages", "")))
    return Usage(ceil(read / _CHARACTERS_PER_TOKEN), ceil(len(text) / _CHARACTERS_PER_TOKEN), estimated=True)


class ReplayCache:
    """A folder of answers by the hashes of their requests, with which a run can be replayed without a model.

    Args:
        folder: the folder; created with the first answer.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, request: Mapping[str, Any]) -> Any | None:
        """The stored answer; None if there is none.

        Raises:
            FileError: the file is not an answer.
        """
        path = self._path(request)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return kept["answer"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(f"{path}: got no stored answer of a model; remove the file", path=path) from error

    def keep(self, request: Mapping[str, Any], answer: Any) -> None:
        """Store an answer with its request."""
        text = json.dumps({"asked": dict(request), "answer": answer}, indent=1)
        write_whole(self._path(request), lambda part: part.write_text(text, encoding="utf-8"))

    def _path(self, request: Mapping[str, Any]) -> Path:
        plain = json.dumps([dict(request), 0], sort_keys=True, separators=(",", ":"))
        return self._folder / f"{hashlib.sha256(plain.encode()).hexdigest()}.json"


_BUSY: Final = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""HTTP statuses after which the server may answer later."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_LARGEST: Final = 8 * 1024 * 1024
_SHOWN: Final = 300


class ChatClient:
    """Conversations with one model.

    Args:
        model: the model.
        cache: stored answers; None sends every request.
        sleep: waits so many seconds before the next attempt.
        transport: sends the requests; None for the network. Tests pass a substitute.
    """

    def __init__(
        self,
        model: Model,
        cache: ReplayCache | None = None,
        sleep: Callable[[float], object] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.model = model
        self._cache, self._sleep, self._transport = cache, sleep, transport
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
            messages: messages so far.
            tools: what the model may call.
            must_call: tool that the model must call now; empty leaves it the choice.
            response_format: required format of its text.
            seconds: time for this reply with all retries [s]; None applies the limit of the model to each attempt.

        Raises:
            ServiceUnavailableError: the server is busy or unreachable in all attempts.
            DeadlineError: the server did not answer in time.
            ServiceError: the server refuses the request, or its answer is not a chat completion.
            FileError: a file of the cache is not an answer.
        """
        model = self.model
        request: dict[str, Any] = {"model": model.model, "messages": list(messages), "max_tokens": model.answer_tokens}
        if model.temperature is not None:
            request["temperature"] = model.temperature
        if model.seed >= 0:
            request["seed"] = model.seed
        if tools:
            request["tools"] = [{"type": "function", "function": dict(tool)} for tool in tools]
            request["tool_choice"] = {"type": "function", "function": {"name": must_call}} if must_call else "auto"
        if response_format is not None:
            request["response_format"] = dict(response_format)
        stored = self._cache.find(request) if self._cache is not None else None
        if stored is not None:
            return read_reply(stored, request, url=self._url, cached=True)
        answer = self._post(request, seconds)
        reply = read_reply(answer, request, url=self._url)
        if self._cache is not None:
            self._cache.keep(request, answer)
        return reply

    def _post(self, request: Mapping[str, Any], seconds: float | None) -> Any:
        """The JSON of the server's answer, with all allowed retries."""
        until = time.monotonic() + (seconds if seconds is not None else float("inf"))
        for attempt in range(self.model.retries + 1):
            left = min(self.model.request_seconds, until - time.monotonic())
            if left <= 0:
                break
            try:
                return self._once(request, left)
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

    def _once(self, request: Mapping[str, Any], seconds: float) -> Any:
        """The JSON of one attempt."""
        key = self.model.key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            timeout = httpx.Timeout(seconds, connect=min(seconds, 10.0))
            with (
                httpx.Client(timeout=timeout, transport=self._transport) as http,
                http.stream("POST", self._url, json=request, headers=headers) as answer,
            ):
                status, pause, content = answer.status_code, answer.headers.get("retry-after", ""), bytearray()
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > _LARGEST:
                        raise ServiceError(
                            f"{self._url}: got more than {_LARGEST} bytes, expected a chat completion", url=self._url
                        )
                text = content.decode(errors="replace")
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
            raise ServiceError(
                f"{self._url}: got {text[:_SHOWN]!r}, expected JSON", url=self._url, model=self.model.model
            ) from error


class _BusyError(Exception):
    """The server is busy; it may state a pause [s] before the next attempt."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause
