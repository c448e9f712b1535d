"""A running fleet: the loop that keeps it as specified, the commands that change it, and the process of both."""
