"""How large a fleet must be, and how its servers should run: a simulator, and a search on a live server."""
