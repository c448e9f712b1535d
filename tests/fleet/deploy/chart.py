"""SuperSONIC's chart: where it is, and which keys of values it reads."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import urllib.request
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

CHART_VERSION = "0.3.1"
"""The release of the chart for which values are written."""

KEYS = Path(__file__).with_name(f"supersonic-{CHART_VERSION}.json")
"""File of the keys that the chart reads, from its schema and templates: path -> type of the value."""

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "open": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}

VARIABLE = "BEAMPIPE_SUPERSONIC"
"""Name of the environment variable with a folder of the chart, ``helm/supersonic`` of a clone at its tag."""

SOURCE = f"https://github.com/fastmachinelearning/SuperSONIC/archive/refs/tags/supersonic-{CHART_VERSION}.tar.gz"
SCHEMA = "cc6067a9fd1cfbc9d5398a327e22fb022d78bec04055a5af2bd44a5e1b9d53e8"
"""Where the chart is fetched, and the sha256 of its schema: an archive of GitHub's is not the same for ever."""


def find_chart() -> Path | None:
    """A folder of the chart of the version that we write for, or None."""
    for folder in (os.environ.get(VARIABLE), _cache()):
        if folder is not None and (Path(folder) / "Chart.yaml").is_file():
            described = (Path(folder) / "Chart.yaml").read_text(encoding="utf-8")
            if re.search(rf"^version: {re.escape(CHART_VERSION)}$", described, re.M):
                return Path(folder)
    return None


def fetch_chart() -> Path | None:
    """Fetch the chart into the cache; None if it is out of reach."""
    try:
        with urllib.request.urlopen(SOURCE, timeout=5) as answer:
            archive = answer.read()
    except OSError:
        return None
    folder = _cache()
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for file in files.getmembers():
            _, result, name = file.name.partition("/helm/supersonic/")
            content = files.extractfile(file) if result and file.isfile() else None
            if content is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content.read())
    assert hashlib.sha256((folder / "values.schema.json").read_bytes()).hexdigest() == SCHEMA
    return find_chart()


def _cache() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    return Path(cache) / "beampipe" / f"supersonic-{CHART_VERSION}"


@cache
def listed_keys() -> dict[str, str]:
    """The keys of the file."""
    keys: dict[str, str] = json.loads(KEYS.read_text(encoding="utf-8"))["keys"]
    return keys


def ignored(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Keys of values that the chart does not read, or whose values have another type: Helm accepts and ignores them."""
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        kind = listed_keys().get(key)
        if kind is None:
            yield key
            continue
        if kind != "any" and (not isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
            yield f"{key}, {kind}"
        if kind in ("object", "any") and isinstance(value, Mapping):
            yield from ignored(value, key)
        for item in value if isinstance(value, list) else ():
            if isinstance(item, Mapping) and f"{key}[]" in listed_keys():
                yield from ignored(item, f"{key}[]")
