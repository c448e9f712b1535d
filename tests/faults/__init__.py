"""A catalogue of what users' files, servers and plug-ins get wrong: each fault must end with its cause named."""
