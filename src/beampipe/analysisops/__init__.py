"""Tasks for AI agents: analyses with a known truth, generic tools, and grades that cannot be gamed by words.

    from beampipe.analysisops import Seeds, evaluate, write_report

    evaluate(["zmumu"], ["scripted", "http://127.0.0.1:9019/"], Seeds.first(5), Path("runs/first"))
    write_report(Path("runs/first"), Path("first.html"))

A task is a folder: texts, and code that makes data and analyses them. An *instance* of it is a seed: data whose
parameters are hidden from the agent. The agent works with tools, whose calls the host keeps in a signed ledger, and
answers with numbers; gates, rules and a judge grade them.

tasks       a task in its folder, and the shipped ones
samples     what generators of tasks are built of
tools       what an agent may do with the data
agents      shipped agents: scripted, language models, teams, baselines
grading     gates, rules and a judge; where each number comes from
runs        tasks x seeds x agents x epochs, resumed, and graded again from their records
report      a run as one page
opendata    files of ATLAS Open Data
artifacts   answers of programs that bring their own code
a2a         JSON documents over A2A

instances   data and references, made once; `assessment` asks an agent about one and grades its answer
registry    agents and judges by name; `run` evaluates, `host` serves the same over A2A, `cli` has the commands
sandbox     processes with few rights; `chat` is the client of language models, `ledger` the record of tool calls
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.analysisops.contract import Quantity, Reference, TaskRequest
    from beampipe.analysisops.grading.grade import grade
    from beampipe.analysisops.report.page import write_report
    from beampipe.analysisops.run import evaluate, rescore
    from beampipe.analysisops.runs.plan import Seeds
    from beampipe.analysisops.tasks.load import Task, load_task, shipped_tasks

__all__ = [
    "Quantity",
    "Reference",
    "Seeds",
    "Task",
    "TaskRequest",
    "evaluate",
    "grade",
    "load_task",
    "rescore",
    "shipped_tasks",
    "write_report",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "contract": ["Quantity", "Reference", "TaskRequest"],
        "grading.grade": ["grade"],
        "report.page": ["write_report"],
        "run": ["evaluate", "rescore"],
        "runs.plan": ["Seeds"],
        "tasks.load": ["Task", "load_task", "shipped_tasks"],
    },
)
