"""Load test of the service: direct, one model, batching model, ensemble, shared memory; with physics beside speed."""
