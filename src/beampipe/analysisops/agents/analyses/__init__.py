"""Analyses as programs over the tools, one for each family. They know a method, and nothing of an instance."""
