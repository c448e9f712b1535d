"""From sums to scale factors: re-weighting, extraction, efficiencies, combination."""
