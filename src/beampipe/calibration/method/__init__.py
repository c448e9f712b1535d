"""From histograms to scale factors: re-weighting, extraction, efficiencies, uncertainties, combination."""
