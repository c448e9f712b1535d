"""Tools for the data of one assessment: generic analysis steps that exchange handles; a ledger records every call.

session      all tools, with schemas made from their signatures; those of one assessment, their limits, and the origin
             of numbers between calls
handles      contents of handles, their store, and the context of a tool call
data_folder  the data files and their manifest
events       tools for files, columns, selections, invariant masses, histograms and parts of the answer
expressions  expressions that define columns and selections
fits         tools for fits, their shapes and likelihoods
workspaces   tools for HistFactory workspaces
counting     tools for counts: arithmetic, efficiencies, limits
systems      tools for metrics, logs, a running service and track finding
mcp          the tools as an MCP server, and a client of one
"""
