"""The closed door of a server: who may manage it, and what of a stranger's request reaches its parsers."""
