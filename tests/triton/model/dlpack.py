"""Arrays as Triton's backend hands them over."""

from __future__ import annotations

from typing import Any


class Capsule:
    """Lets numpy read a DLPack capsule."""

    def __init__(self, capsule: object) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: object) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0
