"""Tasks, one folder each. Files are checked when they are read; an error names the nearest valid name.

A task is a folder. Version 1 is the public benchmark's, loaded unchanged; version 2 is ours:

================== ===============================================================================================
file               what stands in it
================== ===============================================================================================
task_spec.yaml     ``version: 2``, id, family, levels, limits, ranges of what is hidden, and what is to be answered
rubric.yaml        gates, rules and what a judge is asked (`beampipe.analysisops.grading.rubric`)
eval_ref.yaml      what the method should tell; reference values come from the analysis of each instance
white_prompt.md    the question for agents at level 1; ``white_prompt_l2.md`` and ``white_prompt_l3.md`` the others
judge_prompt.md    the question for a judge
task.py            ``make``, the generator of the data, and ``analyse``, whose result is the reference; what tables say
================== ===============================================================================================

What a task of version 2 asks for stands in its task_spec.yaml alone, and all else refers to it by name:

- ``answers: {NAME: {unit, description}}``, numbers with their uncertainties, graded by `pull` and `uncertainty`;
- ``words: {NAME: {choices, description}}``, graded by `word` with the same choices (yes and no in quotes);
- ``histograms: {NAME: {bins, low, high, unit, description}}``, named by handle, graded by `histogram_l2`;
- ``artifacts: {NAME: {description}}``, named by handle, such as the labels that `tracks` grades;
- ``facts: [NAME]``, public facts of an instance that the prompts hold as ``{{NAME}}`` in capitals.

The prompts may also hold ``{{ANSWERS}}`` (the form of a submission), ``{{HISTOGRAM_NAME}}`` (its bins in words) and the
task's own values, such as ``{{TIME_LIMIT}}``. The rubric needs the gates `status_ok` and `calls_made`, and `traceable`
where numbers are graded; what can be guessed or told is ``scaled_by`` what must be measured.

``task.py`` is loaded by its path when data are made or analysed, never when a task is only read, see `load_program`. A
folder without it uses the generator of the shipped task that ``family`` names and the analysis of the one that ``type``
names. ``zmumu`` is the shortest example.
"""
