"""Fitted parameters of track candidates: helices at the beam line with their covariance."""
