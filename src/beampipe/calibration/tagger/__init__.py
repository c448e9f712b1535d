"""Scores of jets: taggers here or behind Triton, prediction, training."""
