"""Load a task from its folder, or a shipped one by its name, and fill the placeholders of its prompts.

Its definition is task_spec.yaml; YAML files with duplicate keys are refused.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final, Literal, Protocol, cast, runtime_checkable

from beampipe.analysisops.agents.analysis import Analyse, AnalysisResult
from beampipe.analysisops.contract import Level, RunningSystem
from beampipe.analysisops.grading.checks import GATES, JUDGED, RULES, CallsMade
from beampipe.analysisops.grading.judge import check_judge_prompt
from beampipe.analysisops.grading.rubric import Rubric, read_rubric
from beampipe.analysisops.grading.submission import MISSING, value_at
from beampipe.analysisops.references import CONSTANTS
from beampipe.analysisops.samples.dataset import HiddenTruth, Make
from beampipe.errors import ConfigError, FileError, UnknownNameError, look_up, nearest
from beampipe.notebook import Shown, shown_folder
from beampipe.settings import build
from beampipe.workflow import digest_of


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

_UNUSED: Final = ("workers", "cache", "submission_contract_path", "evaluation_mode", "input_requirements", "level",
                  "input_strategy", "requires_large_input_data", "solver_backend", "solver_model",
                  "solver_response_mode", "supports_local_shared_input", "supports_scenario_shared_input")  # fmt: skip
"""Fields of the public benchmark's generations that have no effect here."""

_UNUSED_CONSTRAINTS: Final = ("allow_network", "allow_purple_network", "response_format")
"""Constraints of these that have no effect: a program never has a network, where the system can close it."""

_OURS: Final = ("family", "levels", "parameters", "answers", "words", "histograms", "artifacts", "facts", "constants",
                "time_limit_sec", "max_tool_calls")  # fmt: skip
"""Fields of version 2 only."""


@dataclass(frozen=True)
class Constraints:
    """Limits of the work on a task.

    Attributes:
        time_limit_sec: time limit of the whole assessment [s].
        memory_gb: memory of the container of an exported task [GB].
        max_files: maximum number of data files.
    """

    time_limit_sec: float | None = None
    memory_gb: float | None = None
    max_files: int | None = None


@dataclass(frozen=True)
class NumberAnswer:
    """A number that a submission answers under ``answers``, with its uncertainty.

    Attributes:
        description: what it is, in words.
        unit: such as ``"GeV"``; empty for a pure number.
        recalled: value and uncertainty by well-known tables, or a guess of the usual size: the answer of the agent
            `recall`; empty if it gives none.
    """

    description: str
    unit: str = ""
    recalled: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.recalled) not in (0, 2):
            raise ConfigError(f"recalled: got {list(self.recalled)}, expected a value and its uncertainty")


@dataclass(frozen=True)
class WordAnswer:
    """A word of a closed list that a submission answers under ``words``.

    Attributes:
        choices: the possible words; quote yes and no in YAML.
        description: what it is, in words.
        recalled: the answer of the agent `recall`; empty if it gives none.
    """

    choices: tuple[str, ...]
    description: str
    recalled: str = ""

    def __post_init__(self) -> None:
        if self.recalled not in ("", *self.choices):
            raise ConfigError(f"recalled: got {self.recalled!r}, expected one of {', '.join(self.choices)}")


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
        reuse_existing: whether existing files are reused.
        description: the task in a sentence.
        rubric_path: the rubric.
        eval_ref_path: the reference.
        white_prompt_path: the agent's prompt.
        solver_prompt_path: the agent's prompt; takes precedence over `white_prompt_path` if the file exists.
        judge_prompt_path: the judge's prompt.
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
    reuse_existing: bool = True
    description: str = ""
    rubric_path: Path = Path("rubric.yaml")
    eval_ref_path: Path = Path("eval_ref.yaml")
    white_prompt_path: Path = Path("white_prompt.md")
    solver_prompt_path: Path = Path("solver_prompt.md")
    judge_prompt_path: Path = Path("judge_prompt.md")
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
    unused = [key for key in _UNUSED if version == 1 and values.pop(key, None) is not None]
    if isinstance(values.get("constraints"), Mapping):
        constraints = values["constraints"] = dict(values["constraints"])
        unused += [f"constraints.{key}" for key in _UNUSED_CONSTRAINTS if constraints.pop(key, None) is not None]
    warnings = (f"{where}: no effect here: {', '.join(unused)}",) if unused else ()
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
    return spec, warnings


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


_PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z_][\w.]*)\s*\}\}")

PROGRAM: Final = "task.py"
"""Name of the file with the code of a task."""

CHECKS: Final = "checks.py"
"""Name of the file with checks that only this task has."""

SYSTEM: Final = "system.py"
"""Name of the file of a task that runs a system during each assessment."""

_SPEC: Final = "task_spec.yaml"
_SECTION_OF_SETTING: Final = {"answer": "answers", "word": "words", "histogram": "histograms", "artifact": "artifacts"}
"""Setting of a check that names an answer -> where the task declares it."""


@dataclass(frozen=True, repr=False)
class Task(Shown):
    """A task with all its files.

    Attributes:
        spec: content of task_spec.yaml.
        rubric: how submissions are graded.
        eval_ref: content of eval_ref.yaml.
        prompts: the agent's prompts by level, placeholders unfilled.
        judge_prompt: the judge's prompt, placeholders unfilled; empty if there is none.
        parameters: ranges of hidden parameters that override those of the family.
        warnings: settings whose effect may surprise their author.
        folder: folder of the files.
    """

    spec: TaskSpec
    rubric: Rubric
    eval_ref: Mapping[str, Any]
    prompts: Mapping[Level, str]
    judge_prompt: str = ""
    parameters: Mapping[str, Range] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    folder: Path = field(default=Path(), compare=False)

    def facts(self) -> Mapping[str, object]:
        """Name of the task, its levels, checks and points, and its folder."""
        checks = len(self.rubric.gates) + len(self.rubric.rules)
        points, levels = f"{self.rubric.max_points:g}", ", ".join(map(str, self.levels))
        return {
            "task": self.id,
            "levels": levels,
            "checks": checks,
            "points": points,
            "folder": shown_folder(self.folder),
        }

    @property
    def id(self) -> str:
        """Name of the task."""
        return self.spec.id

    @property
    def type(self) -> str:
        """Family of the task."""
        return self.spec.type

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels of the prompts."""
        return tuple(self.prompts)

    @property
    def is_live(self) -> bool:
        """Whether the host runs a system for each assessment; agents without tools cannot solve such a task."""
        return (self.folder / SYSTEM).exists()


def load_task(folder: str | Path) -> Task:
    """Load a task from a folder and check its files against each other. Of its code, only ``checks.py`` is loaded.

    Raises:
        FileError: the folder or a required file is missing, or is not YAML.
        ConfigError: an unknown key, a placeholder without a value, an invalid path, an undeclared answer, or a total
            that is not the sum (version 2).
        UnknownNameError: an unknown type of check, answer or choice.
    """
    folder = Path(folder)
    spec_path = folder / _SPEC
    table = read_yaml(spec_path, "the specification of a task")
    spec, warnings = read_spec(table, str(spec_path), folder)
    parameters = read_parameters(table, str(spec_path))
    own = load_checks(folder / CHECKS) if (folder / CHECKS).exists() else {}
    rules = read_yaml(spec.rubric_path, "a rubric")
    rubric = read_rubric(rules, str(spec.rubric_path), own)
    eval_ref = read_yaml(spec.eval_ref_path, "what answers are compared with")
    _check_plain(rules, spec.rubric_path)
    _check_plain(eval_ref, spec.eval_ref_path)
    if rubric.version != spec.version:
        raise ConfigError(
            f"{spec.rubric_path}: got version {rubric.version}, expected {spec.version} as in {spec_path.name}"
        )
    if "instance" in eval_ref:
        raise ConfigError(
            f"{spec.eval_ref_path}: got the key 'instance', expected it from the analysis of each instance"
        )
    _check_rubric(rubric, eval_ref, spec)
    if spec.version == 2:
        for name in (spec.family, spec.type):
            program_file(name, folder)
        if folder.resolve() != all_tasks().get(spec.id, folder).resolve():
            warnings += (f"id {spec.id} is that of a shipped task, by whose rubric `rescore` grades; choose another",)
        for setting, section in _SECTION_OF_SETTING.items():
            graded = {getattr(check.kind, setting, MISSING) for check in rubric.rules}
            several = (getattr(check.kind, section, None) for check in rubric.rules)
            graded.update(*(names for names in several if isinstance(names, tuple)))
            ungraded = [name for name in getattr(spec, section) if name not in graded]
            warnings += tuple(f"{spec.id}: {section}.{name} is asked for, and no rule grades it" for name in ungraded)
    prompts: dict[Level, str] = {}
    first = spec.solver_prompt_path if spec.solver_prompt_path.exists() else spec.white_prompt_path
    for level in cast("tuple[Level, ...]", spec.levels):
        path = first if level == 1 else first.with_name(f"{first.stem}_l{level}{first.suffix}")
        if level != 1 and not path.exists():
            raise FileError(
                f"{path}: not there, expected the prompt of level {level} of {list(spec.levels)}", path=path
            )
        prompts[level] = read_text(path, "the prompt of an agent")
        _check_placeholders(prompts[level], spec, str(path))
        if spec.version == 2 and "ANSWERS" not in _PLACEHOLDER.findall(prompts[level]):
            warnings += (f"{path}: no {{{{ANSWERS}}}}, so agents do not learn the form of the answer",)
    judge_prompt = ""
    if spec.judge_prompt_path.exists() or (rubric.judged and spec.version == 2):
        judge_prompt = read_text(spec.judge_prompt_path, "the prompt of a judge")
        check_judge_prompt(judge_prompt, str(spec.judge_prompt_path))
    elif rubric.judged:
        warnings += (f"{spec.judge_prompt_path}: not there; a judge is asked in plain words",)
    warnings += rubric.warnings
    return Task(spec, rubric, eval_ref, prompts, judge_prompt, parameters, warnings, folder)


def _check_plain(content: Mapping[str, Any], path: Path) -> None:
    """Refuse what records cannot hold, such as NaN, or a date without quotes, which is no text in YAML."""
    try:
        json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: got {error}, expected texts and finite numbers for records", path=path) from error


def _paths(table: Mapping[str, Any], before: str) -> list[str]:
    """The paths to all values of nested mappings."""
    paths = []
    for key, value in table.items():
        paths.append(f"{before}{key}")
        if isinstance(value, Mapping):
            paths += _paths(value, f"{before}{key}.")
    return paths


def _check_rubric(rubric: Rubric, eval_ref: Mapping[str, Any], spec: TaskSpec) -> None:
    """Check that the paths of checks lead to values of the reference, and that the task declares their answers."""
    of_instance = [f"quantities.{name}.{part}" for name in spec.answers for part in ("value", "uncertainty")]
    of_instance += [f"truth.{name}" for name in spec.answers]
    paths = [*_paths(eval_ref, ""), *(f"instance.{path}" for path in of_instance)]
    if wrong := [one for one in rubric.paths() if one[-1] not in paths]:
        check_id, setting, path = wrong[0]
        raise ConfigError(
            f"{spec.rubric_path}: {check_id}: {setting}: got {path!r}, which leads nowhere in"
            f" {spec.eval_ref_path.name}, expected some of {', '.join(paths)}{nearest(path, paths)}"
        )
    for check in (*rubric.gates, *rubric.rules) if spec.version == 2 else ():
        where = f"({spec.rubric_path}: {check.id})"
        for name in getattr(check.kind, "answers", ()):
            if name not in spec.answers:
                raise UnknownNameError(f"answer {where}", name, spec.answers)
        if isinstance(check.kind, CallsMade):
            if check.kind.minimum > spec.max_tool_calls:
                raise ConfigError(f"{where}: got minimum {check.kind.minimum}, expected at most max_tool_calls")
            for name in check.kind.tools:
                from beampipe.analysisops.tools.session import tools  # takes 20 ms, and few rubrics name tools

                if name not in tools():
                    raise UnknownNameError(f"tool {where}", name, tools())
        for setting, section in _SECTION_OF_SETTING.items():
            name = getattr(check.kind, setting, None)
            if name is not None and name not in getattr(spec, section):
                raise UnknownNameError(f"{setting} {where}", name, getattr(spec, section))
        if check.type == "word" and set(check.kind.choices) != set(spec.words[check.kind.word].choices):
            raise ConfigError(
                f"{spec.rubric_path}: {check.id}: got choices {list(check.kind.choices)}, expected"
                f" {list(spec.words[check.kind.word].choices)} as in {_SPEC}"
            )


COMPOSED: Final = "composed"
"""The shipped task that each seed composes anew; no scripted agent solves it."""


def shipped_tasks() -> dict[str, Path]:
    """The folders of the shipped tasks on files that have an analysis, by their names.

    One over a running system, and the composed one, run only where they are named.
    """
    return {name: folder for name, folder in all_tasks().items() if name != COMPOSED and not (folder / SYSTEM).exists()}


def all_tasks() -> dict[str, Path]:
    """The folders of all shipped tasks, by their names."""
    return {path.parent.name: path.parent for path in sorted(Path(__file__).parent.glob(f"*/{_SPEC}"))}


def shipped_task(name: str) -> Task:
    """A shipped task by its name.

    Raises:
        UnknownNameError: there is none.
    """
    return load_task(look_up("task", name, all_tasks()))


@runtime_checkable
class TaskProgram(Protocol):
    """The code of a task, the module ``task.py`` of its folder.

    Attributes:
        make: generates the data of an instance.
        analyse: the reference analysis, whose result submissions are compared with; None if it is that of the steps in
            the prompt of level 1.
    """

    make: Make
    analyse: Analyse | None


def program_file(name: str, folder: Path | None = None) -> Path:
    """The file with the code of a task: the one in its own folder, or else that of the shipped task of the given name.

    Args:
        name: family or type of the task.
        folder: folder of the task; None for a shipped one.

    Raises:
        UnknownNameError: the folder has no code, and no shipped task has that name.
    """
    if folder is not None and (folder / PROGRAM).exists():
        return folder / PROGRAM
    return look_up("family of tasks", name, all_tasks()) / PROGRAM


def load_program(path: Path) -> TaskProgram:
    """Load the code of a task from its file. It runs in this process: load only code that you trust.

    The file is compiled each time and no bytecode is written, since all files of a task's folder enter its digest.

    Raises:
        FileError: the file cannot be read.
        ConfigError: it fails, or has no `make`.
    """
    module = _load_module(path, {"analyse": None})
    if not callable(getattr(module, "make", None)):
        raise ConfigError(f"{path}: got no make, expected a function of this name")
    return cast("TaskProgram", module)


def reference_analysis(name: str, folder: Path | None = None) -> Analyse | str:
    """The reference analysis: a function of the code of a task, or the prompt of level 1 beside it, whose steps it is.

    Args:
        name: type of the task.
        folder: folder of the task; None for a shipped one.

    Raises:
        UnknownNameError: the folder has no code, and no shipped task has that name.
    """
    path = program_file(name, folder)
    return load_program(path).analyse or load_task(path.parent).prompts[1]


def recalled_answers(name: str, folder: Path | None = None) -> AnalysisResult:
    """The answers ``recalled`` in the specification of a task, or of the shipped task whose code it uses.

    Args:
        name: type of the task.
        folder: folder of the task; None for a shipped one.

    Raises:
        UnknownNameError: the folder has no code, and no shipped task has that name.
    """
    spec = load_task(program_file(name, folder).parent).spec
    numbers = {name: (pair[0], pair[1]) for name, answer in spec.answers.items() if (pair := answer.recalled)}
    return AnalysisResult(numbers, {name: answer.recalled for name, answer in spec.words.items() if answer.recalled})


def load_checks(path: Path) -> Mapping[str, type[Any]]:
    """Load the checks of a task from its file: the mapping ``CHECKS`` of types in the rubric to classes.

    A check is a frozen dataclass whose fields are its settings in the rubric. It is called with a
    `beampipe.analysisops.grading.submission.Case` and returns an `Outcome`. It runs in this process, like `task.py`.

    Raises:
        FileError: the file cannot be read.
        ConfigError: it fails, has no such mapping, or gives a check the name of a general one.
    """
    checks = getattr(_load_module(path), "CHECKS", None)
    if not isinstance(checks, Mapping) or not all(is_dataclass(kind) and callable(kind) for kind in checks.values()):
        raise ConfigError(f"{path}: got no CHECKS, expected a mapping of names to dataclasses that can be called")
    general = checks.keys() & {*GATES, *RULES, *JUDGED}
    if general:
        raise ConfigError(f"{path}: got {', '.join(sorted(general))}, which all tasks have; expected other names")
    return checks


@runtime_checkable
class Start(Protocol):
    """Runs the system of an assessment until the block ends, from hidden truth, public facts, and a new folder."""

    def __call__(
        self, hidden: HiddenTruth, public: Mapping[str, Any], data: Path
    ) -> AbstractContextManager[RunningSystem]: ...


def load_start(path: Path) -> Start:
    """Load the function `start` of a task's file `SYSTEM`. It runs in this process, like `task.py`.

    Raises:
        FileError: the file cannot be read.
        ConfigError: it fails, or has no such function.
    """
    start = getattr(_load_module(path), "start", None)
    if not callable(start):
        raise ConfigError(f"{path}: got no start, expected a function of that name")
    return cast("Start", start)


def _load_module(path: Path, names: Mapping[str, Any] | None = None) -> ModuleType:
    """Execute a file as a module that already has some names."""
    name = f"beampipe_task_{digest_of(str(path.resolve()))[:16]}"
    module = ModuleType(name)
    module.__dict__.update(names or {}, __file__=str(path))
    text = read_text(path, "the code of a task")
    sys.modules[name] = module  # dataclasses look up their module there
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    except Exception as error:
        raise ConfigError(f"{path}: cannot be loaded ({type(error).__name__}: {error})") from error
    return module


def render_prompt(task: Task, level: Level, values: Mapping[str, object] | None = None) -> str:
    """The prompt of an agent, every placeholder filled.

    Args:
        task: the task.
        level: level of the prompt.
        values: public facts of the instance, by name in any case; the other values are the task's own.

    Raises:
        UnknownNameError: the task has no such level.
        ConfigError: a placeholder has no value.
    """
    if level not in task.prompts:
        raise UnknownNameError(f"level of {task.id}", str(level), map(str, task.prompts))
    required = value_at(task.eval_ref, "method.required_fields")
    method_fields = map(str, required) if isinstance(required, list) else ()
    facts = {name.upper(): str(value) for name, value in (values or {}).items()}
    filled = {**facts, **_own_values(task.spec, level, method_fields)}
    for name in _PLACEHOLDER.findall(task.prompts[level]):
        if name not in filled:
            raise ConfigError(
                f"{task.id}: prompt of level {level}: got no value for {{{{{name}}}}}{nearest(name, filled)}; expected"
                " it from the data"
            )
    # In one pass: inserted values are not searched for placeholders.
    return _PLACEHOLDER.sub(lambda match: filled[match[1]], task.prompts[level])


def _own_values(spec: TaskSpec, level: Level = 1, method_fields: Iterable[str] = ()) -> dict[str, str]:
    """The values of a task for placeholders: its identity, its limits, the bins and the form of the answer."""
    return {
        "TASK_ID": spec.id,
        "TASK_TYPE": spec.type,
        "DESCRIPTION": spec.description,
        "LEVEL": str(level),
        "RELEASE": spec.release,
        "DATASET": spec.dataset,
        "SKIM": spec.skim,
        "PROTOCOL": spec.protocol,
        "MAX_FILES": str(spec.constraints.max_files or spec.max_files),
        "TIME_LIMIT": f"{spec.time_limit:g}",
        "MAX_TOOL_CALLS": str(spec.max_tool_calls),
        "ANSWERS": _answer_form(spec, method_fields),
        **{f"HISTOGRAM_{name.upper()}": histogram.words for name, histogram in spec.histograms.items()},
    }


def _check_placeholders(prompt: str, spec: TaskSpec, where: str) -> None:
    """Refuse a prompt with a placeholder that neither the task nor its facts fill; the error suggests a name."""
    names = [*_own_values(spec), *(name.upper() for name in spec.facts)]
    for name in _PLACEHOLDER.findall(prompt):
        if name not in names:
            raise ConfigError(
                f"{where}: got the placeholder {{{{{name}}}}}, expected some of"
                f" {', '.join(names)}{nearest(name, names)}"
                "; name facts of an instance under `facts` in task_spec.yaml"
            )


def _answer_form(spec: TaskSpec, method_fields: Iterable[str] = ()) -> str:
    """The form of a submission, without numbers that could be copied, and the meaning of each answer."""
    shape: dict[str, Any] = {"task_id": spec.id, "status": "ok"}
    lines = []
    if spec.answers:
        shape["answers"] = dict.fromkeys(spec.answers, "RESULT")
        for name, number in spec.answers.items():
            lines.append(f"- `answers.{name}`{f' [{number.unit}]' if number.unit else ''}: {number.description}")
    if spec.words:
        shape["words"] = dict.fromkeys(spec.words, "WORD")
        for name, word in spec.words.items():
            lines.append(f"- `words.{name}`: {word.description}; one of {', '.join(map(json.dumps, word.choices))}")
    if spec.histograms:
        shape["histograms"] = dict.fromkeys(spec.histograms, "HANDLE")
        for name, bins in spec.histograms.items():
            lines.append(f"- `histograms.{name}`: handle of a histogram with {bins.words}; {bins.description}")
    if spec.artifacts:
        shape["artifacts"] = dict.fromkeys(spec.artifacts, "HANDLE")
        lines += [f"- `artifacts.{name}`: handle; {exported.description}" for name, exported in spec.artifacts.items()]
    shape |= {"method": dict.fromkeys(method_fields, "TEXT"), "comments": "TEXT"}
    text = re.sub(r'"(RESULT|TEXT|WORD|HANDLE)"', r"\1", json.dumps(shape))
    if spec.answers:
        constants = [f"{number:g}" for number in CONSTANTS]
        constants += [f"{constant.value:g} ({constant.description})" for constant in spec.constants.values()]
        lines += [
            '- RESULT is {"value": NUMBER, "from": CALL, "uncertainty": NUMBER, "uncertainty_from": CALL}.',
            '- CALL is a reference such as "call_7.mu": mu in the result with "call": "call_7". A number that is no'
            " result from the data makes the whole answer void.",
            "- Calculations take such references, too; numbers in their expressions stand in this text, or are"
            f" {', '.join(constants)}.",
        ]
    return f"```\n{text}\n```\n\n" + "\n".join(lines)
