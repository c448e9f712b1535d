"""What users call things: names, units, labels and weights of files that others wrote."""
