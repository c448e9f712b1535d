"""Training: event files -> learned windows and weight files. Needs torch; nothing here is imported to find tracks."""
