"""Compiled loops over events. Each has a twin in numpy beside its caller, which gives the same bits."""
