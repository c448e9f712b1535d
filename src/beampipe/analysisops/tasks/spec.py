"""Read task_spec.yaml, the definition of a task; YAML files with duplicate keys are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from beampipe.analysisops.contract import Level
from beampipe.errors import ConfigError, FileError
from beampipe.settings import build


def read_text(path: Path, what: str) -> str:
    """The text of a file.

    Raises:
        FileError: it cannot be read, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        names = sorted(other.name for other in path.parent.iterdir()) if path.parent.is_dir() else []
        others = f"; there are {', '.join(names[:12])}" if names else ""
        raise FileError(f"{path}: cannot be read ({error.strerror}), expected {what}{others}", path=path) from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: got bytes that are no text in UTF-8, expected {what}", path=path) from error


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read the mapping in a YAML file of plain types, without Python objects.

    Raises:
        FileError: it cannot be read, is not YAML or not a mapping, or has a duplicate key.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # the package has no types
        """Refuses duplicate keys; the plain loader silently uses the last one."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = [str(key) for number, key in enumerate(keys) if key in keys[:number]]
            if twice:
                raise yaml.constructor.ConstructorError(None, None, f"got the key {twice[0]!r} twice", node.start_mark)
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    text = read_text(path, what)
    try:
        content = yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: got no YAML ({' '.join(str(error).split())}), expected {what}", path=path) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise FileError(f"{path}: got {type(content).__name__}, expected a mapping with names as keys", path=path)
    return content


Range = tuple[float, float]
"""Lowest and highest value of a hidden parameter."""

_V5: Final = (
    "evaluation_mode",
    "input_requirements",
    "input_strategy",
    "level",
    "requires_large_input_data",
    "solver_backend",
    "solver_model",
    "solver_response_mode",
    "supports_local_shared_input",
    "supports_scenario_shared_input",
)
"""Fields of the public benchmark's fifth generation that are accepted and ignored."""

_OURS: Final = ("family", "levels", "parameters", "answers", "words", "histograms", "artifacts", "facts", "constants",
                "time_limit_sec", "max_tool_calls")  # fmt: skip
"""Fields of version 2 only."""


@dataclass(frozen=True)
class Constraints:
    """Limits of the work on a task; the host enforces time, memory and network.

    Attributes:
        time_limit_sec: time limit of the whole assessment [s].
        memory_gb: memory limit of an agent that the host starts [GB].
        allow_network: whether such an agent may use the network.
        max_files: maximum number of data files.
        response_format: form of a submission; a field of the public benchmark's fifth generation.
        allow_purple_network: name of `allow_network` in that generation.
    """

    time_limit_sec: float | None = None
    memory_gb: float | None = None
    allow_network: bool | None = None
    max_files: int | None = None
    response_format: str = ""
    allow_purple_network: bool | None = None


@dataclass(frozen=True)
class NumberAnswer:
    """A number that a submission answers under ``answers``, with its uncertainty.

    Attributes:
        description: what it is, in words.
        unit: such as ``"GeV"``; empty for a pure number.
    """

    description: str
    unit: str = ""


@dataclass(frozen=True)
class WordAnswer:
    """A word of a closed list that a submission answers under ``words``.

    Attributes:
        choices: the possible words; quote yes and no in YAML.
        description: what it is, in words.
    """

    choices: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class HistogramAnswer:
    """A histogram that a submission names under ``histograms`` by its handle.

    Attributes:
        bins: number of equal bins.
        low: lower edge of the first bin.
        high: upper edge of the last bin.
        description: description of the filled quantity.
        unit: of the edges.
    """

    bins: int
    low: float
    high: float
    description: str
    unit: str = ""

    def __post_init__(self) -> None:
        if self.bins < 1 or not self.low < self.high:
            raise ConfigError(f"histogram: got {self.bins} bins from {self.low} to {self.high}, expected some bins")

    @property
    def edges(self) -> tuple[float, ...]:
        """Edges of the bins, one more than there are bins."""
        width = (self.high - self.low) / self.bins
        return (*(self.low + number * width for number in range(self.bins)), self.high)

    @property
    def words(self) -> str:
        """The bins in words, for a prompt."""
        return f"{self.bins} equal bins from {self.low:g} to {self.high:g} {self.unit}".rstrip()


@dataclass(frozen=True)
class ArtifactAnswer:
    """An exported result that a submission names under ``artifacts`` by its handle.

    Attributes:
        description: what it is, in words.
    """

    description: str


@dataclass(frozen=True)
class Constant:
    """A number that expressions of calculations may contain.

    Attributes:
        value: the number.
        description: what it is, in words.
    """

    value: float
    description: str


@dataclass(frozen=True)
class TaskSpec:
    """The content of task_spec.yaml. Fields without a note on versions are those of the public benchmark.

    Attributes:
        id: name of the task.
        type: family of the task; version 1 has free names.
        version: 1 for the public benchmark's files, 2 for ours.
        mode: ``"call_white"`` runs an agent, ``"mock"`` grades a stored trace.
        needs_data: whether the task has data files.
        release: release of ATLAS Open Data.
        dataset: dataset of ATLAS Open Data.
        skim: skim of ATLAS Open Data.
        protocol: download protocol.
        max_files: maximum number of data files.
        workers: accepted and ignored.
        cache: accepted and ignored.
        reuse_existing: whether existing files are reused.
        description: the task in a sentence.
        rubric_path: the rubric.
        eval_ref_path: the reference.
        white_prompt_path: the agent's prompt.
        solver_prompt_path: the agent's prompt; takes precedence over `white_prompt_path` if the file exists.
        judge_prompt_path: the judge's prompt.
        submission_contract_path: accepted and ignored; a field of the public benchmark's later generations.
        constraints: limits.
        family: version 2: generator of the data of an instance.
        levels: version 2: levels of the prompts.
        time_limit_sec: version 2: time limit of an assessment [s].
        max_tool_calls: version 2: maximum number of tool calls in an assessment.
        answers: version 2: requested numbers.
        words: version 2: requested words.
        histograms: version 2: requested histograms.
        artifacts: version 2: requested artifacts.
        facts: version 2: names of public facts of an instance, placeholders of the prompts.
        constants: version 2: numbers that calculations may contain beside those of the prompt, by name.
    """

    id: str
    type: str
    version: int = 1
    mode: Literal["mock", "call_white"] = "mock"
    needs_data: bool = True
    release: str = "2025e-13tev-beta"
    dataset: str = "data"
    skim: str = ""
    protocol: str = "https"
    max_files: int = 3
    workers: int = 0
    cache: bool = True
    reuse_existing: bool = True
    description: str = ""
    rubric_path: Path = Path("rubric.yaml")
    eval_ref_path: Path = Path("eval_ref.yaml")
    white_prompt_path: Path = Path("white_prompt.md")
    solver_prompt_path: Path = Path("solver_prompt.md")
    judge_prompt_path: Path = Path("judge_prompt.md")
    submission_contract_path: Path = Path("submission_contract.yaml")
    constraints: Constraints = field(default_factory=Constraints)
    family: str = ""
    levels: tuple[int, ...] = (1,)
    time_limit_sec: float | None = None
    max_tool_calls: int = 100
    answers: Mapping[str, NumberAnswer] = field(default_factory=dict)
    words: Mapping[str, WordAnswer] = field(default_factory=dict)
    histograms: Mapping[str, HistogramAnswer] = field(default_factory=dict)
    artifacts: Mapping[str, ArtifactAnswer] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    constants: Mapping[str, Constant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        levels = list(self.levels)
        if not levels or levels != sorted(set(levels)) or not set(levels) <= {1, 2, 3}:
            raise ConfigError(f"levels: got {levels}, expected some of 1, 2, 3, each once and in order")
        if self.max_tool_calls < 1 or self.time_limit <= 0.0 or self.max_files < 0:
            raise ConfigError(
                "limits: expected at least one call of a tool, some time, and no negative number of files"
            )

    @property
    def time_limit(self) -> float:
        """Time limit of an assessment [s], by default ten minutes."""
        return self.time_limit_sec or self.constraints.time_limit_sec or 600.0

    @property
    def all_levels(self) -> tuple[Level, ...]:
        """Levels of the prompts."""
        return cast("tuple[Level, ...]", self.levels)


def read_spec(table: Mapping[str, Any], where: str, folder: Path) -> tuple[TaskSpec, tuple[str, ...]]:
    """Read a task from the content of task_spec.yaml; also returns warnings about ignored settings.

    Args:
        table: the content.
        where: the file, for messages.
        folder: folder that its paths are relative to.

    Raises:
        ConfigError: a key is unknown or missing, or a value is of another type or impossible.
    """
    values = dict(table)
    version = values.get("version", 1)
    if version not in (1, 2):
        raise ConfigError(f"{where}: got version {version!r}, expected 1 or 2")
    warnings = []
    unused = sorted(set(values) & set(_V5))
    if unused and version == 1:
        warnings.append(f"{where}: {', '.join(unused)} have no effect here; the tools tell which data there are")
        values = {key: value for key, value in values.items() if key not in unused}
    ours = sorted(set(values) & set(_OURS))
    if ours and version == 1:
        raise ConfigError(f"{where}: got {', '.join(ours)}, which only `version: 2` has; expected it first in the file")
    values.pop("parameters", None)
    for key in ("answers", "words", "histograms", "artifacts"):
        if values.get(key, "") is None:
            del values[key]
    for attribute in fields(TaskSpec):
        if attribute.name.endswith("_path"):
            values.setdefault(attribute.name, str(attribute.default))
    spec = build(TaskSpec, values, where, folder)
    if version == 2:
        if not spec.family:
            raise ConfigError(f"{where}: got no family, expected the name of the generator of the data")
        if not (spec.answers or spec.words or spec.artifacts):
            raise ConfigError(f"{where}: got nothing to answer, expected some of answers, words, artifacts")
        limits = {spec.time_limit_sec, spec.constraints.time_limit_sec} - {None}
        if len(limits) > 1:
            raise ConfigError(
                f"{where}: got two time limits, {sorted(map(str, limits))}, expected time_limit_sec alone"
            )
    return spec, tuple(warnings)


def read_parameters(table: Mapping[str, Any], where: str) -> Mapping[str, Range]:
    """Ranges of hidden parameters by name, under ``parameters`` in task_spec.yaml.

    Raises:
        ConfigError: a value is not a number, a range or a list of texts.
    """
    table = table.get("parameters") or {}
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: parameters: got {table!r}, expected names with ranges such as [88.0, 94.0]")
    ranges: dict[str, Range] = {}
    for name, value in table.items():
        values = value if isinstance(value, list) else [value]
        numbers = all(type(number) in (int, float) and math.isfinite(number) for number in values)
        if not numbers or len(values) not in (1, 2) or values[0] > values[-1]:
            raise ConfigError(f"{where}: parameters: {name}: got {value!r}, expected one number, or two in order")
        ranges[str(name)] = float(values[0]), float(values[-1])
    return MappingProxyType(ranges)
