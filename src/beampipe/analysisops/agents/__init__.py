"""Agents that solve tasks: shipped ones, and how an agent is served over A2A.

agent      the protocols of an agent and of its tools
analysis   building blocks of reference analyses; agents that do nothing, answer from memory, follow the steps listed in
           a prompt, or run the reference analysis
llm        a language model behind OpenAI's protocol, with the tools; a team of planner, analyst and reviewer
serving    serves any agent over A2A
"""
