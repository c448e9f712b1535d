"""Plain trees of ROOT files, read by little code; uproot reads all others, and is what this is compared with."""
