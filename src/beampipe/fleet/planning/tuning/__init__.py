"""The best way to run a model: which configuration answers most requests within a latency, found by measuring."""
