"""What a judge says of the reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beampipe.analysisops.grading.submission import look_up, number_of
from beampipe.errors import ConfigError

__all__ = ["LlmReasoning"]


@dataclass(frozen=True)
class LlmReasoning:
    """``(clamped - low) / (high - low)`` of the number that a judge gives; it counts in the judge's column alone.

    The public benchmark divides by 100 whatever the clamp is, so that 40 of 40 points earn 16, and multiplies by how
    sure the judge says that it is. Here the clamp is the scale, and the confidence is reported and multiplies nothing.

    Attributes:
        output_key: dotted path of the number in the judge's reply.
        clamp: lowest and highest number of the scale that the judge is told of.
        confidence_key: dotted path of the judge's confidence, 0 to 1.
    """

    output_key: str
    clamp: tuple[float, ...] = (0.0, 100.0)
    confidence_key: str = "confidence"

    def __post_init__(self) -> None:
        if len(self.clamp) != 2 or not self.clamp[0] < self.clamp[1]:
            raise ConfigError(f"llm_reasoning: got clamp = {list(self.clamp)}, expected two numbers, the lower first")

    def fraction(self, reply: Mapping[str, Any]) -> float | None:
        """The fraction of the points that a reply gives, None if it holds no finite number there."""
        raw = number_of(look_up(reply, self.output_key))
        if raw is None:
            return None
        low, high = self.clamp
        return (min(max(raw, low), high) - low) / (high - low)
