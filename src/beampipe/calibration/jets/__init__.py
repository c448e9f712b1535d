"""Selected jets and their variations: selection, table of jets, energy, hashes of events."""
