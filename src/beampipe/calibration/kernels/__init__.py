"""Loops over events, compiled by numba. Beside each stands a slow twin in `reference`; tests compare them."""

import multiprocessing

from numba.core import entrypoints

if multiprocessing.parent_process() is not None:
    # A worker has no use for what other packages add to numba at its first call; with `vector` installed that takes half a second.
    entrypoints._already_initialized = True
