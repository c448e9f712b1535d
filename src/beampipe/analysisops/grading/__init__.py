"""From a submission to a score: gates, then rules, then a judge whose word counts in a column of its own.

submission   whatever an agent answered, cut down to bounded, plain JSON
provenance   where each submitted number comes from, by the ledger
evidence     contents that submissions only name: histograms, labels, and the truth beside them
checks       one file per check: its settings and its formula
rubric       gates, rules and the judge's checks of a task
grade        a submission and a reference in, a result out
judging      prompts that cannot be talked out of, judges, samples and their agreement
"""
