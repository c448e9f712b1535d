"""Counts: cross sections, limits, efficiencies."""
