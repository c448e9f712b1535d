"""The files of a task, read once and refused with the nearest valid name where they do not fit.

A task is a folder. Version 1 is the public benchmark's, loaded unchanged; version 2 is ours:

================== ===============================================================================================
file               what stands in it
================== ===============================================================================================
task_spec.yaml     ``version: 2``, id, family, levels, limits, ranges of what is hidden, and what is to be answered
rubric.yaml        gates, rules and what a judge is asked (`beampipe.analysisops.grading.rubric`)
eval_ref.yaml      what the method should tell; reference values come from the oracle of each instance
white_prompt.md    the question for agents at level 1; ``white_prompt_l2.md`` and ``white_prompt_l3.md`` the others
judge_prompt.md    the question for a judge
================== ===============================================================================================
"""
