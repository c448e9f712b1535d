"""Tasks for AI agents: analyses with a known truth, generic tools, and grades that do not depend on persuasive text.

    from beampipe.analysisops import Seeds, evaluate, write_report

    evaluate(["zmumu"], ["scripted", "http://127.0.0.1:9019/"], Seeds.first(5), Path("runs/first"))
    write_report(Path("runs/first"), Path("first.html"))

A task is a folder with texts, and with code that generates data and analyses them. A seed defines an *instance* of the
task: data whose parameters are hidden from the agent. The agent analyses them with tools and answers with numbers; the
host records every tool call in a signed ledger. Gates, rules and a judge grade the answer.

tasks       reads the folder of a task; the shipped tasks
samples     building blocks of data generators; in `samples.composed` tasks that each seed composes
tools       tools with which an agent analyses the data
agents      shipped agents: scripted, language models, baselines
grading     gates, rules and a judge; the origin of each number
runs        tasks x seeds x agents x epochs, resumed, and graded again from their records
report      an HTML page of a run
opendata    downloads of ATLAS Open Data
own_code    programs of agents, run on two instances
a2a         JSON documents over A2A

instances   data and references, made once; `assessment` opens one for an attempt, and grades its answer
registry    agents and judges by name; `evaluation` runs them, `host` serves assessments over A2A, `cli` is the commands
sandbox     processes with restricted rights; `ledger` is the record of tool calls, `seeds` are those of instances

`inspect_tasks` has the tasks of inspect_ai, which runs agents and models. Tools, grading and host do not import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.analysisops.agents.agent import Answer as Answer
    from beampipe.analysisops.agents.agent import submission as submission
    from beampipe.analysisops.agents.serving import serve_agent as serve_agent
    from beampipe.analysisops.agents.serving import serving_agent as serving_agent
    from beampipe.analysisops.assessment import TaskInstance as TaskInstance
    from beampipe.analysisops.assessment import grade_log as grade_log
    from beampipe.analysisops.assessment import open_instance as open_instance
    from beampipe.analysisops.contract import Quantity as Quantity
    from beampipe.analysisops.contract import Reference as Reference
    from beampipe.analysisops.contract import TaskRequest as TaskRequest
    from beampipe.analysisops.evaluation import evaluate as evaluate
    from beampipe.analysisops.evaluation import rescore as rescore
    from beampipe.analysisops.grading.grade import grade as grade
    from beampipe.analysisops.report.page import write_report as write_report
    from beampipe.analysisops.seeds import Seeds as Seeds
    from beampipe.analysisops.tasks.load import Task as Task
    from beampipe.analysisops.tasks.load import load_task as load_task
    from beampipe.analysisops.tasks.load import shipped_tasks as shipped_tasks
    from beampipe.analysisops.tools.session import Session as Session

__getattr__, __dir__, __all__ = loader(__name__)
