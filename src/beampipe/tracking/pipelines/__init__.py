"""Pipelines from hits to tracks: their table, their stages, the check of their order, and the line that runs them."""
