"""A running Triton: where it comes from, how it is started, supervised, asked for metrics and cleaned up."""
