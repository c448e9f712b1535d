"""Loops over events, compiled by numba. Beside each stands a slow twin in `reference`; tests compare them."""
