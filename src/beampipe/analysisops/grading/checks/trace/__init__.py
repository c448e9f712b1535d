"""The checks of the public benchmark's rubrics: its names and parameters, on traces that are read by dotted paths."""
