"""A served model: its class, its repository, its canary, and the adapter of Triton's Python backend."""
