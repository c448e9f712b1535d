"""Exact histograms of jets: filling, sums, templates of quarks and gluons."""
