"""A judge behind OpenAI's protocol, by any program that speaks it: a company's, or one on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from beampipe.analysisops.grading.judging.judge import Reply
from beampipe.analysisops.grading.judging.question import Question
from beampipe.errors import ConfigError, DeadlineError, ServiceError, ServiceUnavailableError

if TYPE_CHECKING:
    import httpx

__all__ = ["EndpointJudge"]


@dataclass(frozen=True)
class EndpointJudge:
    """Asks ``POST {base_url}/chat/completions`` for a reply of the question's schema.

    Attributes:
        base_url: address up to and with the version, such as ``"http://127.0.0.1:8000/v1"``.
        model: name of the model there.
        samples: how often it is asked; more than once at the given temperature, once at 0.
        temperature: of more than one sample.
        timeout: for each reply [s].
        max_tokens: of a reply.
        api_key: sent as a bearer token; empty for none. It is not shown when a judge is printed.
        transport: how requests are sent; None for the network. Tests hand in a stand-in.
    """

    base_url: str
    model: str
    samples: int = 1
    temperature: float = 0.7
    timeout: float = 120.0
    max_tokens: int = 800
    api_key: str = field(default="", repr=False)
    transport: httpx.BaseTransport | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.timeout > 0.0 or not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"judge: got base_url = {self.base_url!r}, samples = {self.samples}, timeout = {self.timeout}, expected"
                " http:// or https://, at least one sample and some time"
            )

    @property
    def name(self) -> str:
        """The model and where it is."""
        return f"{self.model} at {self.base_url}"

    def ask(self, question: Question, sample: int) -> Reply:
        """One reply.

        Raises:
            ServiceError: the endpoint is out of reach, refused, was too slow or gave no object.
        """
        import httpx

        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question.prompt}],
            "temperature": 0.0 if self.samples == 1 else self.temperature,
            "seed": sample,
            "max_tokens": self.max_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": True, "schema": question.schema},
            },
        }
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        where: dict[str, str] = {"url": url, "model": self.model}
        try:
            with httpx.Client(timeout=self.timeout, transport=self.transport) as client:
                response = client.post(url, json=body, headers=headers)
        except httpx.TimeoutException as error:
            raise DeadlineError(f"{url}: no reply within {self.timeout:g} s", **where) from error
        except httpx.HTTPError as error:
            raise ServiceUnavailableError(f"{url}: out of reach ({error})", **where) from error
        if response.status_code != 200:
            raise ServiceError(
                f"{url}: got status {response.status_code}, expected 200: {response.text[:200]}", **where
            )
        return _reply(response.content, url, self.model)


def _reply(content: bytes, url: str, model: str) -> Reply:
    try:
        whole: Any = json.loads(content)
        text = whole["choices"][0]["message"]["content"]
        verdict: Any = json.loads(text)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        message = f"{url}: got {content[:120]!r}, expected a completion whose content is one JSON object"
        raise ServiceError(message, url=url, model=model) from error
    if not isinstance(verdict, Mapping):
        raise ServiceError(f"{url}: got {text[:80]!r}, expected a JSON object", url=url, model=model)
    usage = whole.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    return Reply(verdict, _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")))


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
