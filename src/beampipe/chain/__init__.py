"""From collisions to a measurement in one run: events, hits, tracks, jets, ntuples, scale factors, a fit."""
