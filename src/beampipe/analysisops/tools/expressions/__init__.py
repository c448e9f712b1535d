"""Expressions over columns and numbers, read by a parser of our own: nothing of an agent's text is ever run."""
