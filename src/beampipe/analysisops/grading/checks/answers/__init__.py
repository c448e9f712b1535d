"""Answers against the reference of the same instance, smooth in every number."""
