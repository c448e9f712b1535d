"""Makes the files of this folder: what a test reads of a file that somebody else wrote, byte for byte, and zeros.

A program: ``slim.py FILE.root TREE BRANCH... [--also TREE]`` writes ``FILE.root.xz`` here. Nothing is decoded and
written again: baskets, headers and descriptions are those of the first author, at their places.
"""

from __future__ import annotations

import lzma
import sys
from pathlib import Path
from typing import Any

import uproot


class Watched:
    """A file that notes which of its bytes were asked for."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0
        self.asked = bytearray(len(content))

    def seek(self, place: int, whence: int = 0) -> int:
        self.place = place + (0, self.place, len(self.content))[whence]
        return self.place

    def tell(self) -> int:
        return self.place

    def read(self, size: int = -1) -> bytes:
        stop = len(self.content) if size < 0 else min(self.place + size, len(self.content))
        self.asked[self.place : stop] = b"\xff" * (stop - self.place)
        result, self.place = self.content[self.place : stop], stop
        return result

    def close(self) -> None:
        pass

    @property
    def slimmed(self) -> bytes:
        """The bytes that were asked for, each at its place, and zeros elsewhere."""
        return bytes(a & b for a, b in zip(self.content, self.asked, strict=True))


def slim(path: Path, trees: dict[str, list[str]]) -> bytes:
    """A file of which only some branches are left, packed."""
    watched: Any = Watched(path.read_bytes())
    with uproot.open(watched) as file:
        for key in file.keys(recursive=False):
            if hasattr(file[key], "num_entries"):
                file[key].keys()
        for tree, branches in trees.items():
            for branch in branches:
                file[tree][branch].array()
    return lzma.compress(watched.slimmed, preset=9)


if __name__ == "__main__":
    given: dict[str, list[str]] = {}
    for word in sys.argv[2:]:
        tree, _, branches = word.partition("=")
        given[tree] = branches.split(",") if branches else []
    source = Path(sys.argv[1])
    to = Path(__file__).parent / f"{source.name}.xz"
    to.write_bytes(slim(source, given))
    print(to, to.stat().st_size)
