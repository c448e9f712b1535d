"""What a judge is: somebody who gives numbers for words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from beampipe.analysisops.grading.judging.question import Question

__all__ = ["Judge", "Reply"]


@dataclass(frozen=True)
class Reply:
    """What a judge says.

    Attributes:
        content: the object that the schema of the question asks for.
        prompt_tokens: tokens that were read, 0 if nobody counts.
        completion_tokens: tokens that were written, 0 if nobody counts.
    """

    content: Mapping[str, Any]
    prompt_tokens: int = 0
    completion_tokens: int = 0


@runtime_checkable
class Judge(Protocol):
    """A judge of words."""

    @property
    def name(self) -> str:
        """Who it is, for the result."""
        ...

    @property
    def samples(self) -> int:
        """How often it is asked the same."""
        ...

    def ask(self, question: Question, sample: int) -> Reply:
        """One reply.

        Args:
            question: what is asked.
            sample: 0 for the first time that it is asked, then 1 and so on.

        Raises:
            BeampipeError: there is no usable reply.
        """
        ...
