"""The tasks of a calibration: recipes of all artifacts, and the functions that workers run to make them."""
