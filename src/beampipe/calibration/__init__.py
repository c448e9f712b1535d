"""Quark/gluon tagging calibration: scale factors from ROOT files."""
