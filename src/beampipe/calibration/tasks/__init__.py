"""The work of a calibration as tasks: recipes of artifacts, the work of one chunk."""
