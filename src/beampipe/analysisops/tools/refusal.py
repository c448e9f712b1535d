"""What a tool says when it does not do what it was asked."""

from __future__ import annotations

from beampipe.errors import BeampipeError

__all__ = ["ToolRefusedError"]


class ToolRefusedError(BeampipeError):
    """A tool was called with what it cannot use; the message is for the agent and says what to do next."""
