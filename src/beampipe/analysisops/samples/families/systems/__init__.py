"""Families of the other areas: tracks, the calibration of a tagger, a service that fails."""
