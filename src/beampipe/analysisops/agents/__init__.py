"""Agents that solve tasks: shipped ones, and how an agent is put behind A2A.

agent      the seam: what an agent is, and what tools are
nop        does nothing
recall     answers what the tables of particles say, without a look at the data
follower   does the steps that a prompt spells out, and nothing else
scripted   looks at the files, and runs the program for the kind of task
oracle     the same, knowing names and units; what it finds is the reference
analyses   those programs
llm        a language model behind OpenAI's protocol, with the tools
team       planner, analyst and reviewer that talk over A2A
serving    any of them as an A2A server
wire       JSON documents over A2A, both ends
"""
