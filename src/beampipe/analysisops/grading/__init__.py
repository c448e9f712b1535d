"""Score a submission: gates, then rules, then a judge whose points form a separate column.

submission   reads the answer of an agent as bounded, plain JSON; input and result of a check
provenance   where each submitted number comes from, by the ledger
checks       gates, without which the score is 0; numbers, words, histograms and track labels against the reference of
             the instance; the checks of the public benchmark's rubrics
rubric       gates, rules and the judge's checks of a task
judge        judges, their samples and their agreement; their prompts, protected against instructions in the submission
grade        grades a submission against a reference
result       the result of grading
"""
