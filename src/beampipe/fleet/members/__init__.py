"""One server of a fleet: a Triton with its supervisor, and the record by which it is found."""
