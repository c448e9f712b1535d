"""Pipelines from hits to tracks: their table, their stages, the line that runs them, and how they are loaded."""
