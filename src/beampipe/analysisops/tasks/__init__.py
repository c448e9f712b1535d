"""Tasks, one folder each. Files are checked when they are read; an error names the nearest valid name.

A task is a folder. Version 1 is the public benchmark's, loaded unchanged; version 2 is ours:

================== ===============================================================================================
file               content
================== ===============================================================================================
task_spec.yaml     ``version: 2``, id, family, levels, limits, ranges of hidden parameters, and answers
rubric.yaml        gates, rules and checks of a judge (`beampipe.analysisops.grading.rubric`)
eval_ref.yaml      terms expected in the method; reference values come from the analysis of each instance
white_prompt.md    prompt of agents at level 1; its steps are the reference analysis (`agents.analysis`)
white_prompt_l2.md prompts of level 2, and of level 3 in ``white_prompt_l3.md``
judge_prompt.md    prompt of a judge
task.py            ``make`` generates the data; ``analyse``: the reference analysis, if it is not the steps
checks.py          optional: ``CHECKS``, gates and rules that only this task has
system.py          optional: ``start`` runs a system during each assessment, such as a fleet of servers
================== ===============================================================================================

Only task_spec.yaml defines the answers of a task of version 2; all other files refer to them by name:

- ``answers: {NAME: {unit, description, recalled}}``, numbers with their uncertainties, graded by `pull` and
  `uncertainty`; what is ``recalled`` is the answer of the agent `recall`;
- ``words: {NAME: {choices, description, recalled}}``, graded by `word` with the same choices (yes and no in quotes);
- ``histograms: {NAME: {bins, low, high, unit, description}}``, named by handle, graded by `histogram_l2`;
- ``artifacts: {NAME: {description}}``, named by handle, such as the labels that `tracks` grades;
- ``facts: [NAME]``, public facts of an instance, placeholders ``{{NAME}}`` (in capitals) of the prompts.

The prompts may also contain ``{{ANSWERS}}`` (the form of a submission), ``{{HISTOGRAM_NAME}}`` (its bins in words) and
the task's own values, such as ``{{TIME_LIMIT}}``. The rubric needs the gates `status_ok` and `calls_made`, and
`traceable` if numbers are graded. Checks of texts and of answers that can be guessed are ``scaled_by`` a check of a
measured number.

``task.py`` is loaded by its path when data are generated or analysed, not when a task is only read, see `load_program`.
A folder without it uses the generator of the shipped task that ``family`` names and the analysis of the one that
``type`` names. ``zmumu`` is the shortest example.
"""
