"""A running Triton: how it is started, asked to load models, supervised, stopped and cleaned up."""
