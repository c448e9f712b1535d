"""Tasks for AI agents: analyses with a known truth, generic tools, and grades that cannot be talked into.

from beampipe.analysisops import Seeds, evaluate, write_report

evaluate(["zmumu"], ["scripted", "http://127.0.0.1:9019/"], Seeds.first(5), Path("runs/first"))
write_report(Path("runs/first"), Path("first.html"))

A task is five files. An *instance* of it is a seed: data whose parameters nobody told the agent. The agent works with
tools that the host keeps a signed ledger of, and answers with numbers; gates, rules and a judge grade them. The rooms:

tasks      the five files of a task, and the shipped ones
samples    the data of an instance: Pythia, a fast detector, ROOT files, and the parameters that are hidden
tools      what an agent may do with the data; the ledger of it
grading    checks, gates, rules, judge, and where each number comes from
agents     agents that are shipped: scripted, language models, teams, baselines
host       the assessment: tasks go out, submissions come in, over A2A
runs       tasks x seeds x agents x epochs, resumed and graded again from their log
report     one page of results
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
