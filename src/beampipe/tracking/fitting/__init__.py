"""The track fit: helices at the perigee with their covariance, from the hits of track candidates."""
