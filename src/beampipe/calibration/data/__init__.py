"""Shipped with the package: a small toy sample, the configuration of the demo, the trained tagger."""
