"""A door on this machine to a fleet elsewhere, for clients that know neither tokens nor TLS."""
