"""Fingerprints of the calibration: fills, sums, factors and tables of several configurations, for `fingerprints.py`.

Only the command line is used, so that the same script runs on trees whose modules lie elsewhere. Artifacts are compared
by content: their keys hold digests of the code, and the archives of arrays hold times.

    calibration/FILE                   results of `beampipe calibration demo` in a fresh folder
    calibration/CONFIGURATION/STAGE    all artifacts of a stage; 1,000 events per chunk
    calibration/CONFIGURATION/FILE     results

Configurations:
    demo             two taggers, jet tables and scores kept
    tables           n_trk, jet tables kept (the default)
    no_tables        n_trk, no jet tables
    groups           20 groups of events and many systematics, some of them smoothed
    branch           files of another layout: expressions, regions and scores by branch, no jet tables
    branch_tables    the same with jet tables
    *_numpy          the same without compiled kernels
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet
import uproot

__all__ = ["items"]

Items = Iterator[tuple[str, str]]

STAGES: Final = ("inspect", "bookkeeping", "select", "predict", "fill", "merge", "reweight", "extract", "factors")

WITHOUT_KERNELS: Final = """
import sys, runpy, warnings
warnings.simplefilter("ignore", RuntimeWarning)
class Hidden:
    @staticmethod
    def find_spec(name, path, target=None):
        if name.startswith("beampipe.calibration") and name.endswith("._native"):
            raise ModuleNotFoundError("hidden for this fingerprint", name=name)
sys.meta_path.insert(0, Hidden)
sys.argv[0] = "beampipe"
runpy.run_module("beampipe", run_name="__main__", alter_sys=True)
"""

COMMON: Final = """
pt_edges = [500.0, 600.0, 800.0, 1000.0, 1200.0, 1500.0, 2000.0]
working_points = [0.5, 0.6, 0.7, 0.8]
chunk_events = 1000
"""

TOYS: Final = """
[samples.nominal]
files = "nominal/*.root"
luminosity = 30.0
[samples.data]
files = "data/*.root"
kind = "data"
[samples.shower]
files = "shower/*.root"
luminosity = 30.0
"""

SOURCES: Final = """
[systematics.pdf]
weights = "pdf_*"
rule = "envelope"
[systematics.scale]
weights = ["fsr_*", "isr_*"]
rule = "envelope"
[systematics.parton_shower]
samples = "shower"
[systematics.gluon_reweight]
method = "gluon_reweight"
[systematics.nonclosure]
method = "nonclosure"
[systematics.tracking]
kinematics = "trk_*"
rule = "quadrature"
experimental = true
[systematics.jet_energy]
kinematics = ["jes_*", "jer_*"]
rule = "up_down"
experimental = true
"""

TRACKS: Final = """
[taggers.n_trk]
bins = 60
low = 0.0
high = 60.0
cut = "nearest"
[bootstrap]
replicas = 50
"""

BRANCH: Final = """
[samples.nominal]
files = "branch_nominal/*.root"
luminosity = 20.0
cross_section = 100.0
[samples.data]
files = "branch_data/*.root"
kind = "data"
[regions]
rule = "branch"
[bootstrap]
replicas = 20
[energy]
scale = 2
resolution = 1
[taggers.n_trk]
bins = 50
low = 0.0
high = 100.0
[taggers.net]
bins = 40
low = 0.0
high = 1.0
cut = "inside"
[layout]
preset = "ntuple"
energy_unit = "MeV"
[layout.branches]
pt = ["lead_pt", "sub_pt * 1.0"]
eta = ["lead_eta", "sub_eta"]
phi = ""
n_trk = ["lead_n + 0", "sub_n"]
clean = ["(lead_id & 2) != 0 or lead_n > 90", "not (sub_id == 0)"]
width = ""
c1 = ""
label = ["lead_label", "sub_label"]
region = ["1 - kind", "1 - 2 * kind"]
[layout.weights]
nominal = "w"
factors = ["0.75 + 0.25 * (pileup > 0.5)"]
[layout.weights.variations.mur]
branch = "w_ratio"
ratio = true
[layout.sums]
source = "events"
[layout.scores.net]
branch = "score"
[systematics.mur]
weights = "mur*"
[systematics.energy]
kinematics = ["jes_*", "jer_*"]
rule = "up_down"
experimental = true
"""


def configurations() -> dict[str, str]:
    """TOML text of each configuration, by name."""
    single = "".join(f'[systematics.pdf{k}]\nweights = "pdf_{k:03d}"\nsmooth = true\n' for k in range(3))
    groups = f"[shifts]\ngroups = 20\nprune = 0.01\n{single}"
    return {
        "tables": COMMON + TOYS + TRACKS + SOURCES,
        "no_tables": "keep_tables = false\n" + COMMON + TOYS + TRACKS + SOURCES,
        "groups": "keep_tables = false\n" + COMMON + TOYS + TRACKS.replace("50", "10") + SOURCES + groups,
        "branch": "keep_tables = false\n" + COMMON + BRANCH,
        "branch_tables": COMMON + BRANCH,
    }


def items(folder: Path) -> Items:
    """Fingerprints of all configurations."""
    demo = folder / "demo"
    command(["demo", "-o", str(demo), "--workers", "1"])
    report = demo / "report"
    for path in (demo / "factors.json", report / "corrections.json"):
        yield f"calibration/{path.name}", sha256(path.read_bytes()).hexdigest()
    tables = sorted(path for path in (report / "tables").iterdir() if path.name != "cost.csv")
    yield "calibration/tables", digest([part for path in tables for part in (path.name.encode(), path.read_bytes())])
    names = sorted(str(path.relative_to(report)) for path in report.rglob("*") if path.is_file())
    yield "calibration/report_names", digest([name.encode() for name in names])
    yield from stage_items("demo", demo)

    make_samples(folder)
    for name, text in configurations().items():
        file = folder / f"{name}.toml"
        file.write_text(text)
        for suffix, kernels in (("", True), ("_numpy", False)):
            if name == "groups" and not kernels:
                continue  # the same code, and slow
            output = folder / f"{name}{suffix}"
            command(["factors", str(file), "-o", str(output), "--executor", "inline"], kernels=kernels)
            yield from stage_items(f"{name}{suffix}", output)
            yield f"calibration/{name}{suffix}/factors.json", sha256((output / "factors.json").read_bytes()).hexdigest()


def command(words: list[str], *, kernels: bool = True) -> None:
    """Run `beampipe calibration`, with or without the compiled kernels."""
    program = ["-m", "beampipe"] if kernels else ["-c", WITHOUT_KERNELS]
    done = subprocess.run(
        [sys.executable, *program, "calibration", *words], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"beampipe calibration {' '.join(words)}: exit code {done.returncode}\n{done.stderr}")


def make_samples(folder: Path) -> None:
    """Toy events in the layout of this package, and others in another layout."""
    toy = ["toy", "-q", "--files", "3", "--event-weights", "8"]
    command([*toy, "-o", str(folder / "nominal"), "-n", "6000", "--seed", "1"])
    command([*toy, "-o", str(folder / "data"), "-n", "3000", "--seed", "2", "--data", "--quark-tracks", "1.05"])
    command([*toy, "-o", str(folder / "shower"), "-n", "3000", "--seed", "3", "--gluon-tracks", "0.95"])
    for name, seed, events in (("nominal", 4, 5000), ("data", 5, 3000)):
        (folder / f"branch_{name}").mkdir()
        write_pairs(folder / f"branch_{name}" / "a.root", seed, events, simulated=name == "nominal")


def write_pairs(path: Path, seed: int, n: int, *, simulated: bool) -> None:
    """Events of two jets as plain numbers: momenta in MeV, scores, and a code that says which region they belong to."""
    rng = np.random.default_rng(seed)
    pt = np.sort(500e3 * (1 - rng.random((n, 2))) ** (-1 / 3), axis=1)[:, ::-1].astype(np.float32)
    quark = rng.random((n, 2)) < np.array([0.7, 0.4])
    tracks = rng.poisson(np.where(quark, 15, 27))
    score = 1 / (1 + np.exp(-(tracks - 20) / 6 + rng.normal(0, 0.5, (n, 2))))
    table: dict[str, Any] = {
        "run": np.full(n, 7, np.uint32),
        "event": np.arange(n, dtype=np.uint64),
        "kind": rng.integers(0, 2, n).astype(np.int8),
        "pileup": rng.random(n),
    }
    for place, jet in enumerate(("lead", "sub")):
        table[f"{jet}_pt"] = pt[:, place]
        table[f"{jet}_eta"] = rng.uniform(-2.6, 2.6, n).astype(np.float32)
        table[f"{jet}_n"] = tracks[:, place].astype(np.int32)
        table[f"{jet}_id"] = np.full(n, 2, np.int32) - 2 * (rng.random(n) < 0.01)
        if simulated:
            table[f"{jet}_label"] = np.where(quark[:, place], rng.integers(1, 4, n), 21).astype(np.int32)
    if simulated:
        table["w"] = rng.normal(1.0, 0.2, n).astype(np.float32)
        table["w_ratio"] = rng.normal(1.0, 0.05, n).astype(np.float32)
    table["score"] = score.astype(np.float32)
    with uproot.recreate(path) as file:
        kinds = {key: (each.dtype, each.shape[1:]) if each.ndim > 1 else each.dtype for key, each in table.items()}
        file.mktree("ntuple", kinds).extend(table)


def stage_items(name: str, output: Path) -> Items:
    """Content of all artifacts of each stage."""
    for stage in STAGES:
        paths = [
            path for path in (output / "store" / stage).rglob("*") if path.is_file() and ".about." not in path.name
        ]
        if paths:
            yield f"calibration/{name}/{stage}", digest(sorted(content(path) for path in paths))


def content(path: Path) -> bytes:
    """Digest of an artifact without what depends on time and code."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            parts = [(key, arrays[key]) for key in sorted(arrays.files)]
            return digest(
                [part for key, each in parts for part in (f"{key} {each.dtype} {each.shape}".encode(), each.tobytes())]
            ).encode()
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        columns = [(key, json.dumps(table[key].to_pylist()).encode()) for key in table.column_names]
        return digest([part for key, values in columns for part in (key.encode(), values)]).encode()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return digest(
                [part for key in sorted(archive.namelist()) for part in (key.encode(), archive.read(key))]
            ).encode()
    return sha256(path.read_bytes()).hexdigest().encode()


def digest(parts: list[bytes]) -> str:
    """One sha256 over parts, with their lengths: no two splits of the same bytes are alike."""
    total = sha256()
    for part in parts:
        total.update(b"%d:" % len(part))
        total.update(part)
    return total.hexdigest()
