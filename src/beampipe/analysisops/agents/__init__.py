"""Agents that solve tasks: shipped ones, and how an agent is served over A2A.

agent      the protocols of an agent and of its tools
baselines  do nothing, answer from memory, or run the reference analysis of the task
analysis   what the reference analyses share
follower   executes the steps listed in a prompt, and nothing else
llm        a language model behind OpenAI's protocol, with the tools
team       planner, analyst and reviewer that talk over A2A
serving    serves any agent over A2A
"""
