"""Tools for events: files, columns, selections, masses."""
