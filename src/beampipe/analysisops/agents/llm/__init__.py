"""An agent that is a language model with tools, behind any server of OpenAI's protocol.

settings   which model, at what price, and what it may use
wire       one answer of such a server, read
client     asks it, again if it is busy, and replays what was asked before
cache      answers that are kept by what was asked
spending   tokens, calls, money and time, and their end
offer      the tools as a model is told of them
prompts    what a model is told
steps      what a model wants to do next, in either mode
agent      the agent
"""
