"""Families that count events: cross sections, limits, efficiencies."""
