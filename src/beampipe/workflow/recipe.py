"""What determines an artifact: its recipe, and the key that is made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from beampipe.errors import ConfigError
from beampipe.notebook import Shown
from beampipe.workflow.digest import digest_of

__all__ = ["STAGE_NAME", "Input", "Recipe"]

STAGE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""What a stage may be called: its name is that of a folder."""


@dataclass(frozen=True)
class Input:
    """One thing that an artifact is made of.

    Attributes:
        name: what the input is to the stage, e.g. ``"events"``.
        key: the key of the recipe that makes the input, or the digest of a file.
        label: what the input is to a reader, e.g. a path; it is no part of any key.
    """

    name: str
    key: str
    label: str = ""


@dataclass(frozen=True, repr=False)
class Recipe(Shown):
    """All that determines an artifact. Equal keys mean equal bytes, so a stage must be deterministic.

    Attributes:
        stage: name of the stage that makes the artifact: lower-case letters, digits, ``_`` and ``-``.
        code: digest of the stage's code, as by `beampipe.workflow.code_digest`.
        parameters: settings of the stage, of types that `beampipe.workflow.canonical` takes; they must not change
            afterwards.
        inputs: what the artifact is made of; their order counts.
        label: what the artifact is to a reader; it is no part of the key.
    """

    stage: str
    code: str
    parameters: object = None
    inputs: tuple[Input, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        if not STAGE_NAME.fullmatch(self.stage):
            raise ConfigError(f"stage: got {self.stage!r}, expected lower-case letters, digits, '_' or '-'")

    def facts(self) -> Mapping[str, object]:
        """The stage, what the artifact is, its key, and the number of its inputs."""
        return {"stage": self.stage, "label": self.label, "key": self.key[:12], "inputs": len(self.inputs)}

    @cached_property
    def key(self) -> str:
        """The key of the artifact, 40 hexadecimal digits; it is a digest of all fields but the labels."""
        inputs = [(source.name, source.key) for source in self.inputs]
        return digest_of([self.stage, self.code, self.parameters, inputs])

    def __str__(self) -> str:
        """The artifact in a message, e.g. ``"fill of dijet 1/3"``."""
        return f"{self.stage} of {self.label or self.key}"
