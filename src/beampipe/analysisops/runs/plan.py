"""The plan of a run: tasks x levels x seeds x agents x epochs, and the key of each assessment.

Seeds of instances are public ones to develop with, or secret ones to evaluate with. A development seed is a public
number, the index of the instance. An evaluation seed is made from a secret file by HMAC-SHA256, so that the instance
cannot be generated in advance without the file, and the seeds of one task reveal nothing about another's. Records hold
its index and a fingerprint of the secret, never its value.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from beampipe.analysisops.contract import Level
from beampipe.errors import ConfigError, FileError
from beampipe.workflow import Recipe, digest_of, file_digest

Kind = Literal["development", "evaluation"]

_SHORTEST: Final = 32
"""Minimum length of a secret [bytes]; a shorter one could be guessed from its fingerprint or from the data."""

_BITS: Final = 63
"""Length of an evaluation seed [bits]: too long to try all values, and short enough for a signed integer."""


@dataclass(frozen=True)
class Seed:
    """The seed of one instance of a task.

    Attributes:
        kind: ``"development"`` or ``"evaluation"``.
        index: the number of the instance, from 1 on.
        secret: fingerprint of the secret that it was derived from; empty for development.
        value: number that the data are generated with. It is neither printed nor written.
    """

    kind: Kind
    index: int
    secret: str = ""
    value: int = field(default=0, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The seed in words, e.g. ``"dev-3"`` or ``"eval-3"``."""
        return f"{'dev' if self.kind == 'development' else 'eval'}-{self.index}"


@dataclass(frozen=True)
class Seeds:
    """The instances of each task in a run.

    Attributes:
        indices: numbers of the instances, unique, each 1 or more.
        secret: file of the secret, at least 32 bytes; None for development seeds.

    Raises:
        ConfigError: there are no indices, or one is less than 1 or occurs twice.
    """

    indices: tuple[int, ...]
    secret: Path | None = None

    def __post_init__(self) -> None:
        if not self.indices or min(self.indices) < 1 or len(set(self.indices)) < len(self.indices):
            raise ConfigError(f"seeds: got {list(self.indices)}, expected numbers of 1 or more, none of them twice")

    @classmethod
    def first(cls, count: int, secret: Path | None = None) -> Seeds:
        """The first `count` instances."""
        return cls(tuple(range(1, count + 1)), secret)

    def of(self, task_id: str) -> tuple[Seed, ...]:
        """The seeds of a task.

        Raises:
            FileError: the secret cannot be read, or is too short.
        """
        if self.secret is None:
            return tuple(Seed("development", index, "", index) for index in self.indices)
        key = _read(self.secret)
        mark = _digest(key, "fingerprint").hex()[:16]
        values = (int.from_bytes(_digest(key, f"seed\n{task_id}\n{index}")[:8]) for index in self.indices)
        return tuple(
            Seed("evaluation", index, mark, value >> 64 - _BITS)
            for index, value in zip(self.indices, values, strict=True)
        )


def _digest(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise FileError(
            f"{path}: cannot be read ({error.strerror}), expected the secret of evaluation", path=path
        ) from error
    if len(key) < _SHORTEST:
        raise FileError(
            f"{path}: got a secret of {len(key)} bytes, expected at least {_SHORTEST}; make one:"
            f" head -c 32 /dev/urandom | base64 > {path}",
            path=path,
        )
    return key


ALL_LEVELS: Final[tuple[Level, ...]] = (1, 2, 3)
"""Every level that a task can have."""

STAGE: Final = "assessment"
"""Name of the workflow stage of assessments."""

_FOR_GRADING: Final = frozenset({"rubric.yaml", "checks.py", "eval_ref.yaml", "judge_prompt.md"})
"""Files of a task that do not affect agents: when they change, records are graded again, but no agent runs."""


@dataclass(frozen=True)
class TaskChoice:
    """A task of a run.

    Attributes:
        task_id: name of the task.
        family: kind of analysis, such as ``"zmumu"``.
        digest: digest of the prompts and of the code that makes the data; if it changes, agents run again.
        levels: levels of the task.
        folder: folder of the task's files; keys do not depend on it.
    """

    task_id: str
    family: str
    digest: str
    levels: tuple[Level, ...] = ALL_LEVELS
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def from_folder(cls, folder: Path, task_id: str, family: str, levels: tuple[Level, ...] = ALL_LEVELS) -> TaskChoice:
        """A task by its folder. Its digest covers all files except bytecode and those used only for grading.

        Raises:
            FileError: a file cannot be read.
        """
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and path.name not in _FOR_GRADING and path.parent.name != "__pycache__"
        )
        digest = digest_of([(path.relative_to(folder).as_posix(), file_digest(path)) for path in files])
        return cls(task_id, family, digest, levels, folder)


@dataclass(frozen=True)
class AgentChoice:
    """An agent of a run.

    Attributes:
        name: name in results.
        settings: JSON types on which its answers depend, such as the name of a model and the version of the agent. They
            are written to the records: no secret belongs here.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Assessment:
    """One agent working once on one instance of a task.

    Attributes:
        task: the task.
        level: level of the prompt.
        seed: seed of the instance.
        agent: the agent.
        epoch: number of the repetition, from 1 on.
        code: digest of the code that runs agents and makes the data.
    """

    task: TaskChoice
    level: Level
    seed: Seed
    agent: AgentChoice
    epoch: int
    code: str = ""

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that determines the assessment. Its parameters hold no secret."""
        return recipe_of(self.to_json())

    @property
    def key(self) -> str:
        """Digest of the recipe; an assessment with a stored record of this key is not repeated."""
        return self.recipe.key

    @property
    def label(self) -> str:
        """The assessment in words."""
        return f"{self.task.task_id} level {self.level}, {self.seed.label}, {self.agent.name}, epoch {self.epoch}"

    def to_json(self) -> dict[str, Any]:
        """As JSON types, without the value of the seed."""
        return {
            "task_id": self.task.task_id,
            "family": self.task.family,
            "task": self.task.digest,
            "level": self.level,
            "seed": self.seed.label,
            "secret": self.seed.secret,
            "agent": self.agent.name,
            "settings": dict(self.agent.settings),
            "epoch": self.epoch,
            "code": self.code,
        }


def recipe_of(assessment: Mapping[str, Any]) -> Recipe:
    """The recipe of an assessment from its JSON; it needs no secret."""
    label = "{task_id} level {level}, {seed}, {agent}, epoch {epoch}".format_map(assessment)
    return Recipe(STAGE, str(assessment["code"]), dict(assessment), label=label)


@dataclass(frozen=True)
class RunPlan:
    """The assessments of a run: every task at each of its levels, with every seed, for every agent, in every epoch.

    Attributes:
        tasks: the tasks.
        agents: the agents.
        seeds: the instances of each task.
        levels: the levels.
        epochs: number of repetitions of each assessment.

    Raises:
        ConfigError: there is no task or no agent, two have the same name, or no task has a requested level.
    """

    tasks: tuple[TaskChoice, ...]
    agents: tuple[AgentChoice, ...]
    seeds: Seeds
    levels: tuple[Level, ...] = ALL_LEVELS
    epochs: int = 1

    def __post_init__(self) -> None:
        for what, names in (
            ("tasks", [task.task_id for task in self.tasks]),
            ("agents", [agent.name for agent in self.agents]),
            ("levels", [str(level) for level in self.levels]),
        ):
            if not names or len(set(names)) < len(names):
                raise ConfigError(f"plan: got {what} {names}, expected at least one and none twice")
        if self.epochs < 1:
            raise ConfigError(f"plan: got {self.epochs} epochs, expected at least 1")
        if not any(level in task.levels for task in self.tasks for level in self.levels):
            there = sorted({level for task in self.tasks for level in task.levels})
            raise ConfigError(f"plan: got levels {list(self.levels)}, expected some of {there}, which the tasks have")

    def assessments(self, code: str = "") -> tuple[Assessment, ...]:
        """All assessments, the first epoch of all of them first, so that a run that is stopped covers all tasks.

        Args:
            code: digest of the code that runs agents and makes data.

        Raises:
            FileError: the file of the secret cannot be used.
        """
        seeds = {task.task_id: self.seeds.of(task.task_id) for task in self.tasks}
        return tuple(
            Assessment(task, level, seeds[task.task_id][index], agent, epoch, code)
            for epoch in range(1, self.epochs + 1)
            for index in range(len(self.seeds.indices))
            for task in self.tasks
            for level in self.levels
            if level in task.levels
            for agent in self.agents
        )
