"""Tools for the data of one assessment: generic analysis steps that exchange handles; a ledger records every call.

session      the tools of one assessment, their limits, and the origin of numbers between calls
catalogue    all tools, with schemas made from their signatures
handles      contents of handles, their store, and the context of a tool call
data_folder  the data files and their manifest
events       tools for files, columns, selections, histograms and parts of the answer
masses       tools for invariant masses
expressions  expressions that define columns and selections
fits         tools for fits; likelihood: the shapes and likelihoods that they share
counting     tools for counts: arithmetic, efficiencies, limits
systems      tools for metrics, logs and track finding
mcp          the tools as an MCP server, and a client of one
"""
