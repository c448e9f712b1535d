"""Runs: tasks x levels x seeds x agents x epochs, resumed after a kill, and graded again from their records.

A caller brings two functions. ``assess(assessment, folder)`` lets one agent work on one instance; ``grade(record)``
grades its record, then and at any later time::

    plan = RunPlan(tasks, agents, Seeds.first(20, secret=Path("secret")), levels=(1, 2, 3), epochs=3)
    records = run(plan, assess, Path("runs/first"), execute=as_samples(Path("runs/first/logs"), workers=2))
    summarise(scores_of(RunFolder(Path("runs/first")).read_results()), by=("agent", "family"))

engine       the assessments of a run and their keys; the folder of a run and the records in it; does the missing
             assessments, and grades a run again
samples      does them as samples of inspect_ai, several at once
statistics   means with errors, pass^k and totals
"""
