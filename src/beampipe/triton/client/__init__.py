"""Clients of Triton: addresses, transports, failures, load balancing, shared memory."""
