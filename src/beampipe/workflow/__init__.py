"""Stages that meet on disk: a content-addressed store, and tasks run in parallel, resumed and explained."""
