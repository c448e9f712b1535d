"""Agents that solve tasks: shipped ones, and how an agent is put behind A2A.

agent      the seam: what an agent is, and what tools are
nop        does nothing
recall     answers what the tables of particles say, without a look at the data
llm        a language model behind OpenAI's protocol, with the tools
team       planner, analyst and reviewer that talk over A2A
serving    any of them as an A2A server
wire       JSON documents over A2A, both ends

Agents that know how to analyse are in rooms of their own.
"""
