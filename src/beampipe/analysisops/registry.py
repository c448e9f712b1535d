"""Create agents and judges by name or by a file that describes one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe.analysisops.agents.agent import Agent
from beampipe.analysisops.agents.analysis import FollowerAgent, NopAgent, RecallAgent, ScriptedAgent
from beampipe.analysisops.agents.model import ModelAgent, ModelFile
from beampipe.analysisops.grading.judge import Judge, ModelJudge, OfflineJudge
from beampipe.analysisops.runs.engine import AgentChoice
from beampipe.analysisops.tasks.load import recalled_answers, reference_analysis
from beampipe.errors import UnknownNameError
from beampipe.settings import build, read_toml
from beampipe.workflow import digest_of, file_digest

AGENTS: Final = ("scripted", "follower", "nop", "recall")
"""Agents without a language model. Only the host starts ``oracle``, which receives the hidden truth."""

ORACLE: Final = "oracle"
"""Name of the agent that receives the hidden truth."""

_SOURCES: Final = (*AGENTS, ORACLE)


@dataclass(frozen=True)
class JudgeFile(ModelFile):
    """A TOML file that describes a language model as a judge; its other keys are those of a model.

    Attributes:
        samples: number of replies; a single one uses temperature 0.
    """

    samples: int = 1
    temperature: float = 0.7
    answer_tokens: int = 800
    request_seconds: float = 120.0


@dataclass(frozen=True)
class JudgeChoice:
    """The judge of free-text answers in a run.

    Attributes:
        name: ``offline``, ``none`` or the path of a `JudgeFile`.
        described: content of the file; None without one.
    """

    name: str = "offline"
    described: JudgeFile | None = None

    @property
    def digest(self) -> str:
        """Digest for the keys of records; empty for the offline judge."""
        return "" if self == JudgeChoice() else digest_of(["judge", self.described or self.name])

    def judge(self) -> Judge | None:
        """The judge; None for ``none``.

        Raises:
            ConfigError: the file describes no judge, or the environment has no key for it.
        """
        described = self.described
        if described is None:
            return OfflineJudge() if self.name == "offline" else None
        described.key()
        return ModelJudge(f"{described.model} at {described.base_url}", described.make, described.samples)


def agent_choice(name: str) -> AgentChoice:
    """An agent by its name, its address (``http://...``, or ``NAME=http://...``), its file (``NAME.toml``) or program.

    Raises:
        UnknownNameError: there is none.
        ConfigError: the file describes none, or the environment has no key for it.
    """
    if name in _SOURCES:
        return AgentChoice(name)
    address = re.fullmatch(r"(?:([\w. -]{1,40})=)?(https?://.*)", name)
    if address:
        return AgentChoice(address[1] or name, {"url": address[2]})
    if name.endswith(".toml"):
        described = model_file(Path(name))
        described.key()
        shown = {"base_url": described.base_url, "model": described.model}
        return AgentChoice(Path(name).stem, {"file": name, "digest": digest_of(described), **shown})
    if "/" in name or name.endswith(".py"):
        return AgentChoice(Path(name).stem, {"program": name, "digest": file_digest(Path(name))})
    raise UnknownNameError("agent", name, [*_SOURCES, "http://HOST:PORT/", "FILE.toml", "./PROGRAM"])


def make_agent(name: str, folder: Path | None = None) -> Agent:
    """An agent that runs in this process, by its name or its file.

    Args:
        name: one of `AGENTS`, or the TOML file of a model.
        folder: folder of the task, for the agents that run its code; None restricts them to the shipped tasks.

    Raises:
        UnknownNameError: there is no such agent, or only the host can start it.
    """

    if name == "scripted":
        return ScriptedAgent(lambda task_type: reference_analysis(task_type, folder))
    if name == "recall":
        return RecallAgent(lambda task_type: recalled_answers(task_type, folder))
    if name == "follower":
        return FollowerAgent()
    if name == "nop":
        return NopAgent()
    if name.endswith(".toml"):
        return ModelAgent(model_file(Path(name)))
    raise UnknownNameError("agent", name, [*AGENTS, "FILE.toml"])


def judge_choice(name: str) -> JudgeChoice:
    """A judge by its name, ``offline`` or ``none``, or by its file (``NAME.toml``).

    Raises:
        UnknownNameError: there is none.
        ConfigError: the file describes no judge, or its key is missing; this is checked before any agent runs.
    """
    if name in ("offline", "none"):
        return JudgeChoice(name)
    if not name.endswith(".toml"):
        raise UnknownNameError("judge", name, ["offline", "none", "FILE.toml"])
    choice = JudgeChoice(name, build(JudgeFile, read_toml(Path(name), "the TOML file of a judge"), name))
    choice.judge()
    return choice


def model_file(path: Path) -> ModelFile:
    """The model that a file describes.

    Raises:
        ConfigError: it describes none.
    """
    return build(ModelFile, read_toml(path, "the TOML file of a model"), str(path))
