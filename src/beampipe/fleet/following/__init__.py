"""A gateway whose servers come and go by themselves: it follows the registry, and starts none."""
