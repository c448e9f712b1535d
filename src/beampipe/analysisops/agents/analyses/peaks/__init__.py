"""Masses, widths and yields of peaks."""
