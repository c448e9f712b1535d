"""Which model is asked, at what price, and what it may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beampipe.errors import ConfigError

__all__ = ["Budget", "Mode", "Model"]

Mode = Literal["native", "json"]
"""How a model calls tools: by the protocol's own calls, or by JSON objects that it writes as text."""


@dataclass(frozen=True)
class Model:
    """A model behind a server of OpenAI's protocol.

    Attributes:
        base_url: address up to and without ``/chat/completions``, such as ``"http://127.0.0.1:8000/v1"``.
        model: its name there.
        mode: how it calls tools.
        api_key_variable: environment variable that holds the key; empty if none is needed. The key itself is never
            kept, cached or sent anywhere else.
        temperature: randomness of its answers; None leaves it to the server, as some models want it.
        seed: of its random numbers, where the server knows that; None sends none.
        answer_tokens: longest answer [tokens].
        price_prompt: price of a million tokens that it reads [USD].
        price_answer: price of a million tokens that it writes [USD].
        request_seconds: time that one answer may take [s].
        retries: how often it is asked again when it is busy or out of reach.
    """

    base_url: str
    model: str
    mode: Mode = "native"
    api_key_variable: str = ""
    temperature: float | None = 0.0
    seed: int | None = None
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


@dataclass(frozen=True)
class Budget:
    """What one task may use; whichever is spent first ends it.

    Attributes:
        turns: number of answers of the model.
        tool_calls: number of calls of tools.
        tokens: number of tokens read and written, together.
        cost: money [USD].
        seconds: time [s].
    """

    turns: int = 60
    tool_calls: int = 200
    tokens: int = 400_000
    cost: float = 10.0
    seconds: float = 1500.0
