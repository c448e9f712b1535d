"""SuperSONIC's chart: where it is, and which keys of values it reads.

python -m tests.fleet.deploy.chart FOLDER   # writes the list of keys
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
import tarfile
import urllib.request
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

CHART_VERSION = "0.3.1"
"""The release of the chart for which values are written."""

KEYS = Path(__file__).with_name(f"supersonic-{CHART_VERSION}.json")
"""File of the keys that the chart reads: path -> type of the value."""

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

TABLES = r"nameOverride|serverLoad\w+|(triton|envoy|keda|prometheus\.external)(\..+)?|prometheus(\.enabled)?"
"""Keys of the values that we write or may write; the rest is of other charts."""


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


def chart_keys(chart: Path) -> dict[str, str]:
    """Path of each key -> type of its value, from the schema; ``any`` for those that templates read besides.

    ``open`` is a table that goes into a manifest as it is, whatever its keys.
    """
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    keys = _described(schema, "")
    for path in sorted((chart / "templates").rglob("*")):
        if path.suffix in (".yaml", ".tpl"):
            text = path.read_text(encoding="utf-8")
            for result in re.findall(r"(?<!\w)\$?\.Values\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", text):
                _add(keys, result)
            for table, block in re.findall(r"range \.Values\.([\w.]+) }}(.*?){{-? end", text, re.S):
                for name in re.findall(r"{{ \.(\w+) }}", block):
                    _add(keys, f"{table}[].{name}")
            for table in re.findall(r"toYaml \.Values\.([\w.]+)", text):
                if keys.get(table) == "object":
                    keys = {key: kind for key, kind in keys.items() if not key.startswith(f"{table}.")}
                    keys[table] = "open"
    return {key: keys[key] for key in sorted(keys) if re.fullmatch(TABLES, key)}


def _add(keys: dict[str, str], found: str) -> None:
    parts = found.split(".")
    for length in range(1, len(parts) + 1):
        keys.setdefault(".".join(parts[:length]), "any" if length == len(parts) else "object")


def _described(schema: dict[str, Any], path: str) -> dict[str, str]:
    keys = {path: schema["type"]} if path else {}
    if schema["type"] == "array" and "properties" in schema.get("items", {}):
        return {**keys, **_described(schema["items"], f"{path}[]")}
    if schema["type"] == "object" and path and not schema.get("properties"):
        return {path: "open"}
    for name, below in schema.get("properties", {}).items():
        keys |= _described(below, f"{path}.{name}" if path else name)
    return keys


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


if __name__ == "__main__":
    document = {"chart": "supersonic", "version": CHART_VERSION, "keys": chart_keys(Path(sys.argv[1]))}
    KEYS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
