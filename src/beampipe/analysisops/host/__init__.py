"""The assessment over A2A: requests come in, tasks go out to agents, results come back.

messages   what an assessment is asked for
executor   runs it, reports, and always ends with results
results    what of a result may be shown, and the result where there is none
card       how the host introduces itself
server     the host as a server
asking     a task goes to an agent, a submission comes back
sandbox    an agent as a process of its own that may do little
confine    what a process of a sandbox does to itself before it becomes the agent
"""
