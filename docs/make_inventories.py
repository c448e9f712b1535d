"""Write ``docs/inventories/``: where other projects describe the names that our pages link to, for use without network.

    python docs/make_inventories.py

A build with network reads the whole inventory of each project in place of these.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "inventories"

NAMES: Final = {
    "awkward": {"ak.Array": ("class", "reference/generated/ak.Array.html")},
    "hist": {"hist.Hist": ("class", "index.html")},
    "numpy": {
        "numpy.ndarray": ("class", "reference/generated/numpy.ndarray.html#numpy.ndarray"),
    },
    "pyarrow": {"pyarrow.Table": ("class", "python/generated/pyarrow.Table.html#pyarrow.Table")},
    "python": {
        "concurrent.futures.Executor": ("class", "library/concurrent.futures.html#concurrent.futures.Executor"),
        "concurrent.futures.Future": ("class", "library/concurrent.futures.html#concurrent.futures.Future"),
        "pathlib.Path": ("class", "library/pathlib.html#pathlib.Path"),
    },
    "uproot": {"uproot.open": ("function", "uproot.reading.open.html")},
}


def inventory(project: str) -> bytes:
    """The inventory of a project, in the format of Sphinx's ``objects.inv``."""
    lines = "".join(f"{name} py:{kind} 1 {place} -\n" for name, (kind, place) in sorted(NAMES[project].items()))
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    return head.encode() + zlib.compress(lines.encode())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        (FOLDER / f"{name}.inv").write_bytes(inventory(name))
