"""One command from events of any tracker to a whole tracker model: layers, windows, networks, validation, card."""
