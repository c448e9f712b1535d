"""The files of an instance: ROOT trees in its dialect, and the manifest that everybody may read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.dialects import ENERGIES, Dialect
from beampipe.analysisops.samples.events import Events
from beampipe.files import write_whole

__all__ = ["MANIFEST", "Layout", "checksum", "columns_of", "write_manifest", "write_text", "write_tree"]

MANIFEST: Final = "manifest.json"
"""Name of the file that lists the others, with what anybody may know of them."""


@dataclass(frozen=True)
class Layout:
    """How the files of an instance are laid out.

    Attributes:
        dialect: how things are named.
        tree: name of the tree.
        energy_unit: what one unit of energy in the files is [GeV].
        lengths: what one unit of length in the files is [mm].
    """

    dialect: Dialect
    tree: str
    energy_unit: float = 1.0
    lengths: float = 1.0


def columns_of(events: Events, layout: Layout) -> dict[str, str]:
    """Standard name of each column -> its name in the files."""
    dialect = layout.dialect
    names = {name: dialect.event_column(name) for name in events.columns}
    for prefix, objects in events.collections.items():
        names[f"{prefix}_n"] = dialect.counter_column(prefix)
        for name in objects.fields:
            names[f"{prefix}_{name}"] = dialect.object_column(prefix, name)
    return names


def write_tree(path: Path, events: Events, layout: Layout) -> dict[str, Any]:
    """Write events as a ROOT tree with jagged columns.

    Returns:
        What the manifest says of the file: bytes, checksums of the file and of its contents, number of events.
    """
    import awkward as ak
    import uproot

    dialect = layout.dialect
    data: dict[str, Any] = {
        dialect.event_column(name): _column(name, values, layout) for name, values in events.columns.items()
    }
    outer = {}
    for prefix, objects in events.collections.items():
        counts = objects.counts(events.number)
        here = dialect.collection(prefix)
        outer[here] = dialect.counter_column(prefix)
        data[here] = ak.zip(
            {
                dialect.fields.get(name, name): ak.unflatten(_column(name, values, layout), counts)
                for name, values in objects.fields.items()
            }
        )

    def write(part: Path) -> None:
        with uproot.recreate(part, compression=uproot.ZLIB(1)) as file:
            file.mktree(layout.tree, data, counter_name=lambda counted: outer[counted])

    write_whole(path, write)
    return {**_facts(path), "content_sha256": checksum(events, layout), "n_events": events.number}


def checksum(events: Events, layout: Layout) -> str:
    """SHA-256 over names, types and contents of all columns as written, whatever the date and the compression."""
    digest = hashlib.sha256()
    columns = {name: _column(name, values, layout) for name, values in events.columns.items()}
    for prefix, objects in events.collections.items():
        columns[f"{prefix}_n"] = objects.counts(events.number)
        for name, values in objects.fields.items():
            columns[f"{prefix}_{name}"] = _column(name, values, layout)
    for name in sorted(columns):
        digest.update(f"{name}:{columns[name].dtype.str}:".encode())
        digest.update(np.ascontiguousarray(columns[name]).tobytes())
    return digest.hexdigest()


def write_text(path: Path, text: str) -> dict[str, Any]:
    """Write a text file; returns what the manifest says of it."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
    facts = _facts(path)
    return {**facts, "content_sha256": facts["sha256"]}


def write_manifest(folder: Path, files: list[dict[str, Any]], public: Mapping[str, Any]) -> None:
    """Write `manifest.json` into a folder with data."""
    text = json.dumps({"files": files, "public": dict(public)}, indent=1, sort_keys=True, allow_nan=False)
    write_whole(folder / MANIFEST, lambda part: part.write_text(text + "\n", encoding="utf-8"))


def _facts(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _column(name: str, values: ndarray, layout: Layout) -> ndarray:
    """A column as it is written: in the units of the file, real numbers in single precision."""
    if name.removeprefix("jet_") in ENERGIES:
        values = values / layout.energy_unit
    elif name in ("r", "z"):
        values = values / layout.lengths
    return values.astype(np.float32) if values.dtype == np.float64 else values
