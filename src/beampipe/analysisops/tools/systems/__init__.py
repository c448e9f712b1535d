"""Tools for what is no spectrum: the tracks of an event, and services with metrics and logs."""
