"""Agents that solve tasks: shipped ones, and how an agent is served over A2A.

agent      the protocols of an agent and of its tools
analysis   building blocks of reference analyses; agents that do nothing, answer from memory, follow the steps listed in
           a prompt, or run the reference analysis
model      a language model of inspect_ai, with the tools
serving    serves any agent over A2A
"""
