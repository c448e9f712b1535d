"""Fingerprints of simulation, formats, evaluation and displays, for `fingerprints.py`.

Only the command line is used, so that the same script runs on trees whose modules lie elsewhere.

    tracking_io/simulate/SAMPLE     events of `beampipe tracking simulate`: generic and from a TOML file, gun and ttbar
    tracking_io/calibration/SAMPLE  files of `beampipe calibration simulate`, `toy` and `inject`
    tracking_io/write/FORM.ENDING   tracks of the first event shipped, as labels, lists, tables read again, proto tracks
    tracking_io/evaluate            what `beampipe tracking evaluate` writes, without times
    tracking_io/display/ENDING      what `beampipe tracking display` draws
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet
import uproot

__all__ = ["items"]

Items = Iterator[tuple[str, str]]

ROOT: Final = Path(__file__).resolve().parent.parent
LAYOUT: Final = ROOT / "examples" / "detectors" / "compact.toml"
ACTS_EVENT: Final = ROOT / "tests" / "tracking" / "formats" / "acts"
TIMES: Final = ("seconds", "wall", "cpu_seconds", "stages")

SIMULATED: Final = {
    "gun": ["--hard", "gun", "--multiplicity", "40", "--seed", "3"],
    "beside": ["--hard", "gun", "--species", "pion", "--origin", "0", "30", "--seed", "4", "--detector", str(LAYOUT)],
    "ttbar": ["--hard", "ttbar", "--seed", "5"],
}
WRITTEN: Final = (("labels", ".parquet"), ("labels", ".csv"), ("lists", ".parquet"), ("lists", ".jsonl"))


def items(folder: Path) -> Items:
    """Fingerprints of all commands."""
    for name, options in SIMULATED.items():
        path = folder / f"{name}.parquet"
        command("tracking", "simulate", "-q", "-o", path, "-n", "2", "--mu", "0", *options, cache=folder / "cache")
        yield f"tracking_io/simulate/{name}", table_digest(path)

    command("calibration", "simulate", "-q", "-o", folder, "-n", "600", "--seed", "2", "-j", "1")
    command("calibration", "toy", "-q", "-o", folder / "toy", "-n", "1000", "--seed", "2")
    toys = sorted((folder / "toy").glob("*.root"))
    command("calibration", "inject", "-q", "-o", folder / "inject", "--seed", "2", *toys)
    for name in ("nominal", "toy", "inject"):
        yield (
            f"tracking_io/calibration/{name}",
            digest(root_content(path) for path in sorted((folder / name).glob("*.root"))),
        )

    events = folder / "events.parquet"
    command("tracking", "example", "-q", events)
    for form, ending in WRITTEN:
        path = folder / f"{form}{ending}"
        command("track", "-q", events, "--as", form, "-o", path, "--parameters")
        yield f"tracking_io/write/{path.name}", file_digest(path)
    yield "tracking_io/write/parameters.csv", file_digest(folder / "labels.parameters.csv")
    again = folder / "again.csv"
    command("track", "-q", folder / "labels.csv", "--format", "table", "--as", "trackml", "-o", again, fails=True)
    command("track", "-q", folder / "labels.csv", "--format", "table", "-o", again)
    yield "tracking_io/write/table", file_digest(again)
    for form, output in (("acts", "proto"), ("labels", "acts.csv"), ("trackml", "submission.csv")):
        path = folder / output
        command("track", "-q", "--force", ACTS_EVENT, "--as", form, "-o", path)
        written = sorted(path.iterdir()) if path.is_dir() else [path]
        yield f"tracking_io/write/{output}", digest(file_digest(each).encode() for each in written)

    scores = folder / "scores.json"
    words = ["-p", "module_map", "-p", "exatrkx", "--by", "pt", "--degradation", "default"]
    command("tracking", "evaluate", "-q", events, *words, "-o", scores)
    body = without_times(json.loads(scores.read_text().replace(str(folder), "FOLDER")))
    yield "tracking_io/evaluate", sha256(json.dumps(body).encode()).hexdigest()
    for ending in (".png", ".html", ".json"):
        path = folder / f"display{ending}"
        command("tracking", "display", "-q", events, "-o", path)
        yield f"tracking_io/display/{ending[1:]}", file_digest(path)


def command(*words: str | Path, cache: Path | None = None, fails: bool = False) -> None:
    """Run `beampipe`; its cache of generated collisions may lie in a folder of its own."""
    variables = os.environ | ({} if cache is None else {"XDG_CACHE_HOME": str(cache)})
    texts = [str(word) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "beampipe", *texts], check=False, capture_output=True, text=True, env=variables
    )
    if bool(done.returncode) != fails:
        raise SystemExit(f"beampipe {' '.join(texts)}: exit code {done.returncode}\n{done.stderr}")


def without_times(value: Any) -> Any:
    """The same JSON without what takes another time in each run."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def table_digest(path: Path) -> str:
    """Digest of all columns of a Parquet file."""
    table = pyarrow.parquet.read_table(path)
    return digest(f"{name} {json.dumps(table[name].to_pylist())}".encode() for name in table.column_names)


def root_content(path: Path) -> bytes:
    """Name and all branches of a ROOT file, which itself holds times."""
    parts = [path.name.encode()]
    with uproot.open(path) as file:
        for tree in sorted(file.keys(cycle=False)):
            arrays = file[tree].arrays()
            parts += [f"{tree} {name} {json.dumps(arrays[name].to_list())}".encode() for name in sorted(arrays.fields)]
    return digest(parts).encode()


def file_digest(path: Path) -> str:
    """Digest of a file."""
    return sha256(path.read_bytes()).hexdigest()


def digest(parts: Any) -> str:
    """One sha256 over parts, with their lengths: no two splits of the same bytes are alike."""
    total = sha256()
    for part in parts:
        total.update(b"%d:" % len(part))
        total.update(part)
    return total.hexdigest()
