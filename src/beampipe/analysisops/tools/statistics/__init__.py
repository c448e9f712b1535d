"""Tools for numbers: histograms, fits, limits, efficiencies, arithmetic."""
