"""Analyses of detectors and services."""
