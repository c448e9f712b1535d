"""A running Triton: start, access control, management of models, stop and cleanup."""
