"""Tasks for AI agents: analyses with a known truth, generic tools, and grades that cannot be talked into.

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
