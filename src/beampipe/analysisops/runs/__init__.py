"""Runs: tasks x levels x seeds x agents x epochs, resumed after a kill, and graded again from their records.

A caller brings two functions. ``assess(assessment, folder)`` lets one agent work on one instance; ``grade(record)``
grades its record, then and at any later time::

    plan = RunPlan(tasks, agents, Seeds.first(20, secret=Path("secret")), levels=(1, 2, 3), epochs=3)
    records = run(plan, assess, Path("runs/first"), workers=2)
    summarise(scores_of(RunFolder(Path("runs/first")).read_results()), by=("agent", "family"))

plan         the assessments of a run, their keys, and the seeds of instances
folder       the folder of a run and the records in it
engine       does the missing assessments, and grades a run again
statistics   means with errors, pass^k and totals
"""

from beampipe.analysisops.runs.engine import Assess, CurrentTask, Difference, Grade, Rescored, rescore, run
from beampipe.analysisops.runs.folder import Record, RunFolder, read_record
from beampipe.analysisops.runs.plan import ALL_LEVELS, AgentChoice, Assessment, RunPlan, Seed, Seeds, TaskChoice
from beampipe.analysisops.runs.statistics import (
    PASSED,
    By,
    Score,
    Summary,
    difference,
    mean_with_error,
    pass_hat,
    scores_of,
    summarise,
)

__all__ = [
    "ALL_LEVELS",
    "PASSED",
    "AgentChoice",
    "Assess",
    "Assessment",
    "By",
    "CurrentTask",
    "Difference",
    "Grade",
    "Record",
    "Rescored",
    "RunFolder",
    "RunPlan",
    "Score",
    "Seed",
    "Seeds",
    "Summary",
    "TaskChoice",
    "difference",
    "mean_with_error",
    "pass_hat",
    "read_record",
    "rescore",
    "run",
    "scores_of",
    "summarise",
]
