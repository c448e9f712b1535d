"""Load a task from its folder, or a shipped one by its name, and fill the placeholders of its prompts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol, cast, runtime_checkable

from beampipe.analysisops.agents.analysis import AnalysisResult
from beampipe.analysisops.agents.baselines import Analyse
from beampipe.analysisops.contract import Level, RunningSystem
from beampipe.analysisops.grading.checks import GATES, JUDGED, RULES
from beampipe.analysisops.grading.question import check_judge_prompt
from beampipe.analysisops.grading.rubric import Rubric, read_rubric
from beampipe.analysisops.grading.submission import MISSING, look_up
from beampipe.analysisops.references import CONSTANTS
from beampipe.analysisops.samples.dataset import HiddenTruth, Make
from beampipe.analysisops.tasks.spec import Range, TaskSpec, read_parameters, read_spec, read_text, read_yaml
from beampipe.errors import ConfigError, FileError, UnknownNameError, nearest
from beampipe.notebook import Shown, shown_folder
from beampipe.workflow import digest_of

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
        return self.spec.all_levels

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
    rubric = read_rubric(read_yaml(spec.rubric_path, "a rubric"), str(spec.rubric_path), own)
    eval_ref = read_yaml(spec.eval_ref_path, "what answers are compared with")
    if rubric.version != spec.version:
        raise ConfigError(
            f"{spec.rubric_path}: got version {rubric.version}, expected {spec.version} as in {spec_path.name}"
        )
    if "instance" in eval_ref:
        raise ConfigError(
            f"{spec.eval_ref_path}: got the key 'instance', expected it from the analysis of each instance"
        )
    _check_paths(rubric, eval_ref, spec)
    if spec.version == 2:
        _check_answers(rubric, spec)
        for setting, section in _SECTION_OF_SETTING.items():
            graded = {getattr(check.kind, setting, MISSING) for check in rubric.rules}
            ungraded = [name for name in getattr(spec, section) if name not in graded]
            warnings += tuple(f"{spec.id}: {section}.{name} is asked for, and no rule grades it" for name in ungraded)
    prompts: dict[Level, str] = {}
    first = spec.solver_prompt_path if spec.solver_prompt_path.exists() else spec.white_prompt_path
    for level in spec.all_levels:
        path = first if level == 1 else first.with_name(f"{first.stem}_l{level}{first.suffix}")
        if level != 1 and not path.exists():
            raise FileError(
                f"{path}: not there, expected the prompt of level {level} of {list(spec.levels)}", path=path
            )
        prompts[level] = read_text(path, "the prompt of an agent")
        _check_placeholders(prompts[level], spec, str(path))
    judge_prompt = ""
    if spec.judge_prompt_path.exists() or (rubric.judged and spec.version == 2):
        judge_prompt = read_text(spec.judge_prompt_path, "the prompt of a judge")
        check_judge_prompt(judge_prompt, str(spec.judge_prompt_path))
    elif rubric.judged:
        warnings += (f"{spec.judge_prompt_path}: not there; a judge is asked in plain words",)
    warnings += rubric.warnings
    return Task(spec, rubric, eval_ref, prompts, judge_prompt, parameters, warnings, folder)


def _check_paths(rubric: Rubric, eval_ref: Mapping[str, Any], spec: TaskSpec) -> None:
    """Check that each path of a check exists in the reference; paths into an instance must lead to declared answers."""
    of_instance = [f"instance.quantities.{name}.{part}" for name in spec.answers for part in ("value", "uncertainty")]
    of_instance += [f"instance.truth.{name}" for name in spec.answers]
    paths = [*_paths(eval_ref, ""), *of_instance]
    for check, setting, path in rubric.paths():
        if path not in paths:
            raise ConfigError(
                f"{spec.rubric_path}: {check}: {setting}: got {path!r}, which leads nowhere in"
                f" {spec.eval_ref_path.name}, expected some of {', '.join(paths)}{nearest(path, paths)}"
            )


def _paths(table: Mapping[str, Any], before: str) -> list[str]:
    """The paths to all values of nested mappings."""
    paths = []
    for key, value in table.items():
        paths.append(f"{before}{key}")
        if isinstance(value, Mapping):
            paths += _paths(value, f"{before}{key}.")
    return paths


def _check_answers(rubric: Rubric, spec: TaskSpec) -> None:
    """Check that each answer named by a check is declared by the task."""
    for check in (*rubric.gates, *rubric.rules):
        where = f"({spec.rubric_path}: {check.id})"
        for name in getattr(check.kind, "answers", ()):
            if name not in spec.answers:
                raise UnknownNameError(f"answer {where}", name, spec.answers)
        for setting, section in _SECTION_OF_SETTING.items():
            name = getattr(check.kind, setting, None)
            if name is not None and name not in getattr(spec, section):
                raise UnknownNameError(f"{setting} {where}", name, getattr(spec, section))
        if check.type == "word" and set(check.kind.choices) != set(spec.words[check.kind.word].choices):
            raise ConfigError(
                f"{spec.rubric_path}: {check.id}: got choices {list(check.kind.choices)}, expected"
                f" {list(spec.words[check.kind.word].choices)} as in {_SPEC}"
            )


def shipped_tasks() -> dict[str, Path]:
    """The folders of the shipped tasks on files, by their names; one over a running system runs only where named."""
    return {name: folder for name, folder in all_tasks().items() if not (folder / SYSTEM).exists()}


def all_tasks() -> dict[str, Path]:
    """The folders of all shipped tasks, by their names."""
    return {path.parent.name: path.parent for path in sorted(Path(__file__).parent.glob(f"*/{_SPEC}"))}


def shipped_task(name: str) -> Task:
    """A shipped task by its name.

    Raises:
        UnknownNameError: there is none.
    """
    tasks = all_tasks()
    if name not in tasks:
        raise UnknownNameError("task", name, tasks)
    return load_task(tasks[name])


@runtime_checkable
class TaskProgram(Protocol):
    """The code of a task, the module ``task.py`` of its folder.

    Attributes:
        make: generates the data of an instance.
        analyse: the reference analysis, whose result submissions are compared with; None if it is that of the steps in
            the prompt of level 1.
        RECALLED: published values of the answers, for the baseline that reads no data; empty by default.
    """

    make: Make
    analyse: Analyse | None
    RECALLED: AnalysisResult


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
    shipped = all_tasks()
    if name not in shipped:
        raise UnknownNameError("family of tasks", name, shipped)
    return shipped[name] / PROGRAM


def load_program(path: Path) -> TaskProgram:
    """Load the code of a task from its file. It runs in this process: load only code that you trust.

    The file is compiled each time and no bytecode is written, since all files of a task's folder enter its digest.

    Raises:
        FileError: the file cannot be read.
        ConfigError: it fails, or has no `make`.
    """
    module = _load_module(path, {"RECALLED": AnalysisResult(), "analyse": None})
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
    required = look_up(task.eval_ref, "method.required_fields")
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
