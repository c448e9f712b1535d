"""Loops over events, compiled by numba. Beside each stands a slow twin in `reference`; tests compare them."""

import multiprocessing

from numba.core import entrypoints

if multiprocessing.parent_process() is not None:
    # Not the extensions that other packages bring: no worker uses them, and with `vector` installed they take half a
    # second of each.
    entrypoints._already_initialized = True
