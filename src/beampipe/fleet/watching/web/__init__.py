"""The page of a fleet: its text, the server that hands it out, and pictures of it."""
