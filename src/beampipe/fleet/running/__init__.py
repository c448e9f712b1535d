"""A fleet on this machine: a process that keeps servers, gateway and Prometheus as they are wanted, and obeys."""
