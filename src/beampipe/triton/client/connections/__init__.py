"""What a client holds in one process: servers behind its URLs, whose turn it is, threads that wait for answers."""
