"""One file per family of tasks. Each has `make`, and its docstring says how the best analysis goes.

dileptons    what the families with two muons share
diphotons    what the families with two photons share
peaks        the mass, width or yield of a peak
counts       numbers of events: cross sections, limits, efficiencies
systems      no peaks at all: tracks, calibrations of taggers, services that fail
"""
