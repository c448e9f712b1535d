"""Watching a Triton: processes that die, answers that stay away, and what is done about either."""
