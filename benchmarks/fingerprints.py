"""Fingerprints of what the package gives: two trees that print the same lines behave the same, byte for byte.

    python benchmarks/fingerprints.py [--events FOLDER] [--json FILE] [--compare FILE] [--only labels fleet]

One line per item, ``name sha256``:

    labels/SAMPLE/PIPELINE    track of each hit; 1 thread, 2 threads and events found together must agree
    counts/SAMPLE/PIPELINE    numbers of hits, edges and triplets of each event
    torch/SAMPLE/PIPELINE     labels of the same pipelines translated to PyTorch, on the CPU
    repository/MODEL/FILE     what `beampipe serving export` writes, names of Python modules masked
    tracking_io/COMMAND/...   what `simulate`, `track`, `evaluate` and `display` write, and the simulation of ntuples
    calibration/...           artifacts of each stage, by content, and results, with and without the compiled kernels
    fleet/SPECIFICATION/...   files for containers, Kubernetes and Slurm, the gateway's configuration among them
    analysisops/...           data, hidden truth, reference and grades of three instances of every shipped task

The samples are the shipped events and the Parquet files of FOLDER. Sums of floats depend on the processor and on the
versions of numpy and torch, so compare trees on one machine, in one environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
import pyarrow.parquet
import torch
import uproot
import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from beampipe.analysisops import Seeds, evaluate, load_task, rescore, shipped_tasks
from beampipe.analysisops.tasks.load import render_prompt
from beampipe.errors import TooLargeError
from beampipe.serving import MODELS, ServingSettings, export_repository, named_models
from beampipe.tracking import PIPELINES, Hits, Tracks, load_pipeline, open_events, shipped_events
from beampipe.tracking.cuda import translate

sys.path.append(str(Path(__file__).parents[1]))
from tests.fleet.specimens import SPECIMENS, write_model

Items = Iterator[tuple[str, str]]
"""Pairs of name and sha256."""

CONFIGURATIONS: Final = Path(__file__).with_name("fingerprinted")
SOFT_HITS: Final = 100_000
"""Larger events are left out for the ``_soft`` pipelines: they are slow there, and not what these are made for."""
KINDS: Final = ("labels", "torch", "repository", "tracking_io", "calibration", "fleet", "analysisops")
TORCH_PIPELINES: Final = ("exatrkx", "exatrkx_walk", "module_map")


def digest(parts: Iterable[bytes]) -> str:
    """One sha256 over parts, with their lengths: no two splits of the same bytes are alike."""
    total = sha256()
    for part in parts:
        total.update(b"%d:" % len(part))
        total.update(part)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Digest of a file."""
    return sha256(path.read_bytes()).hexdigest()


def command(*words: str | Path, program: Sequence[str] = ("-m", "beampipe"), **variables: str) -> str:
    """Run `beampipe` with more variables of the environment; what it printed."""
    texts = [str(word) for word in words]
    done = subprocess.run(
        [sys.executable, *program, *texts], check=False, capture_output=True, text=True, env=os.environ | variables
    )
    if done.returncode:
        raise SystemExit(f"beampipe {' '.join(texts)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def samples_of(folder: Path | None) -> dict[str, list[Hits]]:
    """Events by sample: the shipped ones, then each Parquet file of the folder."""
    samples = {f"shipped_mu{mu}": [event.hits for event in shipped_events(mu)] for mu in (0, 60, 200)}
    for path in sorted(folder.glob("*.parquet")) if folder else ():
        samples[path.stem] = [event.hits for event in open_events(path)]
    return samples


def label_items(samples: dict[str, list[Hits]]) -> Items:
    """Labels and counts of every pipeline on every sample."""
    for name in PIPELINES:
        one, two = (load_pipeline(name, threads=threads) for threads in (1, 2))
        for sample, events in samples.items():
            chosen = [hits for hits in events if not name.endswith("_soft") or len(hits) <= SOFT_HITS]
            if not chosen:
                continue
            results = [unless_refused(one.find, hits) for hits in chosen]
            if labels(results) != labels(unless_refused(two.find, hits) for hits in chosen):
                raise SystemExit(f"{sample}, {name}: 2 threads gave other labels than 1 thread")
            together = unless_refused(two.find_many, chosen[:2])
            if together is not None and labels(results[:2]) != labels(together):
                raise SystemExit(f"{sample}, {name}: events found together got other labels than one by one")
            counts = [None if tracks is None else tracks.counts for tracks in results]
            yield f"labels/{sample}/{name}", labels(results)
            yield f"counts/{sample}/{name}", sha256(json.dumps(counts).encode()).hexdigest()


def torch_items(samples: dict[str, list[Hits]]) -> Items:
    """Labels of the pipelines in PyTorch on the CPU."""
    torch.set_num_threads(1)
    for name in TORCH_PIPELINES:
        pipeline = translate(load_pipeline(name, threads=1), torch.device("cpu"))
        yield f"torch/shipped_mu0/{name}", labels(map(pipeline.find, samples["shipped_mu0"]))


def unless_refused(find: Callable[[Any], Any], what: Any) -> Any:
    """What `find` gives, None if it refuses for the size."""
    try:
        return find(what)
    except TooLargeError:
        return None


def labels(found: Iterable[Tracks | None]) -> str:
    """Digest of the labels of events."""
    return digest(b"refused" if tracks is None else tracks.track_id.astype("<i8").tobytes() for tracks in found)


def repository_items(folder: Path) -> Items:
    """Each file but ``model.py`` and compiled libraries; of the manifest the names, of a configuration the message."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        content = path.read_bytes()
        if path.name == "config.pbtxt":
            text = content.decode().replace(str(folder), "FOLDER").replace(sys.prefix, "PREFIX")
            message = text_format.Parse(re.sub(r"beampipe\.[a-z_.]+:\w+", "M", text), model_config_pb2.ModelConfig())
            content = bytes(message.SerializeToString(deterministic=True))
        elif path.name == ".beampipe.json":
            manifest = json.loads(content)
            content = json.dumps({**manifest, "files": sorted(manifest["files"])}, sort_keys=True).encode()
        if path.name != "model.py" and path.suffix != ".so":
            yield f"repository/{path.relative_to(folder)}", sha256(content).hexdigest()


# Files of tracking, and the simulation of ntuples

ROOT: Final = Path(__file__).resolve().parent.parent
LAYOUT: Final = ROOT / "examples" / "detectors" / "compact.toml"
ACTS_EVENT: Final = ROOT / "tests" / "tracking" / "formats" / "acts"
TIMES: Final = frozenset({"seconds", "wall", "cpu_seconds", "stages"})

SIMULATED: Final = {
    "gun": ["--hard", "gun", "--multiplicity", "40", "--seed", "3"],
    "beside": ["--hard", "gun", "--species", "pion", "--origin", "0", "30", "--seed", "4", "--detector", str(LAYOUT)],
    "ttbar": ["--hard", "ttbar", "--seed", "5"],
}
WRITTEN: Final = (("labels", ".parquet"), ("labels", ".csv"), ("lists", ".parquet"), ("lists", ".jsonl"))


def tracking_io_items(folder: Path) -> Items:
    """Files that commands of tracking write, and the simulation of ntuples."""
    for name, options in SIMULATED.items():
        path = folder / f"{name}.parquet"
        command(
            "tracking",
            "simulate",
            "-q",
            "-o",
            path,
            "-n",
            "2",
            "--mu",
            "0",
            *options,
            XDG_CACHE_HOME=str(folder / "cache"),
        )
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
    body = stable(json.loads(scores.read_text().replace(str(folder), "FOLDER")), TIMES)
    yield "tracking_io/evaluate", sha256(json.dumps(body).encode()).hexdigest()
    for ending in (".png", ".html", ".json"):
        path = folder / f"display{ending}"
        command("tracking", "display", "-q", events, "-o", path)
        yield f"tracking_io/display/{ending[1:]}", file_digest(path)


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


# Calibration

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


def configurations() -> dict[str, str]:
    """TOML text of each configuration, by name: two layouts, with and without tables, and many smoothed systematics."""
    toys, branch = ((CONFIGURATIONS / f"{name}.toml").read_text() for name in ("toys", "branch"))
    smoothed = "".join(f'[systematics.pdf{k}]\nweights = "pdf_{k:03d}"\nsmooth = true\n' for k in range(3))
    groups = f"[shifts]\ngroups = 20\nprune = 0.01\n{smoothed}"
    no_tables = "keep_tables = false\n"
    return {
        "tables": toys,
        "no_tables": no_tables + toys,
        "groups": no_tables + toys.replace("replicas = 50", "replicas = 10") + groups,
        "branch": no_tables + branch,
        "branch_tables": branch,
    }


def calibration_items(folder: Path) -> Items:
    """Artifacts, by content, and results of the demo and of several configurations, with and without the kernels.

    Keys of artifacts hold digests of the code, and archives of arrays hold times.
    """
    demo = folder / "demo"
    command("calibration", "demo", "-o", demo, "--workers", "1")
    report = demo / "report"
    for path in (demo / "factors.json", report / "corrections.json"):
        yield f"calibration/{path.name}", file_digest(path)
    tables = sorted(path for path in (report / "tables").iterdir() if path.name != "cost.csv")
    yield "calibration/tables", digest([part for path in tables for part in (path.name.encode(), path.read_bytes())])
    names = sorted(str(path.relative_to(report)) for path in report.rglob("*") if path.is_file())
    yield "calibration/report_names", digest([name.encode() for name in names])
    yield from stage_items("demo", demo)

    make_samples(folder)
    for name, text in configurations().items():
        file = folder / f"{name}.toml"
        file.write_text(text)
        for suffix, program in (("", ("-m", "beampipe")), ("_numpy", ("-c", WITHOUT_KERNELS))):
            if name == "groups" and suffix:
                continue  # the same code, and slow
            output = folder / f"{name}{suffix}"
            command("calibration", "factors", file, "-o", output, "--executor", "inline", program=program)
            yield from stage_items(f"{name}{suffix}", output)
            yield f"calibration/{name}{suffix}/factors.json", file_digest(output / "factors.json")


def make_samples(folder: Path) -> None:
    """Toy events in the layout of this package, and others in another layout."""
    toy = partial(command, "calibration", "toy", "-q", "--files", "3", "--event-weights", "8")
    toy("-o", folder / "nominal", "-n", "6000", "--seed", "1")
    toy("-o", folder / "data", "-n", "3000", "--seed", "2", "--data", "--quark-tracks", "1.05")
    toy("-o", folder / "shower", "-n", "3000", "--seed", "3", "--gluon-tracks", "0.95")
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
            parts = {
                f"{key} {arrays[key].dtype} {arrays[key].shape}": arrays[key].tobytes() for key in sorted(arrays.files)
            }
    elif path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        parts = {key: json.dumps(table[key].to_pylist()).encode() for key in table.column_names}
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            parts = {key: archive.read(key) for key in sorted(archive.namelist())}
    else:
        return file_digest(path).encode()
    return digest(part for key, value in parts.items() for part in (key.encode(), value)).encode()


# Fleet


def fleet_items(folder: Path) -> Items:
    """What `beampipe fleet compose`, `k8s` and `slurm` write and note, and what `rules` and `dashboard` print."""
    models = {"one": (), "module_map": (), "exatrkx": (), "chain.x": ("exatrkx", "module_map"), "single": ("one",)}
    for name, steps in models.items():
        write_model(folder / "models", name, *steps)
    more = {name: (CONFIGURATIONS / f"fleet_{name}.toml").read_text() for name in ("chains", "slurm")}
    examples = {
        f"example_{name}": (files("beampipe.fleet") / "examples" / f"{name}.toml").read_text()
        for name in ("laptop", "slurm", "kubernetes")
    }
    for name, text in (SPECIMENS | more | examples).items():
        path = folder / f"{name}.toml"
        path.write_text(text.replace("/scratch", str(folder)))
        for verb in ("compose", "k8s", *(["slurm"] if "[slurm]" in text else [])):
            output = folder / name / verb
            notes = command("fleet", verb, "-f", path, "-o", output, XDG_STATE_HOME=str(folder))
            yield f"fleet/{name}/{verb}", masked_digest("notes", notes, folder)
            for file in sorted(file for file in output.rglob("*") if file.is_file()):
                yield (
                    f"fleet/{name}/{file.relative_to(folder / name)}",
                    masked_digest(file.name, file.read_text(), folder),
                )
    for verb in ("dashboard", "rules"):
        yield f"fleet/{verb}", masked_digest(verb, command("fleet", verb), folder)


def masked_digest(name: str, text: str, folder: Path) -> str:
    """The sha256 of a text, paths and the version masked; of YAML that of its data, in its order."""
    for path, mask in ((folder, "FOLDER"), (sys.prefix, "PREFIX")):
        text = text.replace(str(path), mask)
    text = re.sub(r"Made by beampipe [^,]*,", "Made by beampipe VERSION,", text)
    if name.endswith((".yaml", ".yml")):
        text = json.dumps(list(yaml.safe_load_all(text)))
    return sha256(text.encode()).hexdigest()


# AnalysisOps

AGENTS: Final = ("oracle", "scripted", "follower", "recall", "nop")
SEEDS: Final = 3
VARIES: Final = frozenset({"seconds", "code", "sha256", "bytes", "key", "task"})
"""Keys whose values differ between runs of one tree, or are digests of the tree itself."""

PARTS: Final = ("grade", "submission", "ledger", "contents", "reference", "rubric", "request")


def analysisops_items(folder: Path) -> Items:
    """Every shipped task, solved by the oracle and four baselines at level 1, then graded again from its records."""
    for name, path in shipped_tasks().items():
        task = load_task(path)
        for level in task.levels:
            prompt = render_prompt(task, level, dict.fromkeys(task.spec.facts, "17"))
            yield f"analysisops/prompt/{name}/{level}", json_digest(prompt)
    records = evaluate(list(shipped_tasks()), AGENTS, Seeds.first(SEEDS), folder, levels=(1,))
    for path in sorted((folder / "instances").glob("*/hidden.json")):
        instance = json.loads(path.read_text())
        name = f"{instance['hidden']['family']}/{instance['hidden']['seed']}"
        yield f"analysisops/data/{name}", json_digest(json.loads((path.parent / "data" / "manifest.json").read_text()))
        for part, content in instance.items():
            yield f"analysisops/{part}/{name}", json_digest(content)
    for record in records:
        assessment = record["assessment"]
        name = f"{assessment['task_id']}/{assessment['seed']}/{assessment['agent']}"
        for part in PARTS:
            yield f"analysisops/{part}/{name}", json_digest(record[part])
    yield "analysisops/results", json_digest(results(folder))
    rescore(folder)
    yield "analysisops/rescored", json_digest(results(folder))


def results(folder: Path) -> list[Any]:
    """The lines of the results of a run."""
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def json_digest(value: object) -> str:
    """sha256 of JSON, without what varies."""
    return sha256(json.dumps(stable(value, VARIES), sort_keys=True).encode()).hexdigest()


def stable(value: Any, varies: frozenset[str]) -> Any:
    """JSON types without keys whose values vary."""
    if isinstance(value, dict):
        return {key: stable(item, varies) for key, item in value.items() if key not in varies}
    return [stable(item, varies) for item in value] if isinstance(value, list | tuple) else value


def fingerprints(events: Path | None, kinds: Sequence[str], temporary: Path) -> dict[str, str]:
    """sha256 by name of all items of some kinds."""
    samples, models = samples_of(events), temporary / "models"
    if "repository" in kinds:
        export_repository(models, named_models(ServingSettings(tuple(MODELS), threads=1, device="cpu")))
    items: dict[str, Callable[[], Items]] = {
        "labels": partial(label_items, samples),
        "torch": partial(torch_items, samples),
        "repository": partial(repository_items, models),
        "tracking_io": partial(tracking_io_items, temporary / "tracking_io"),
        "calibration": partial(calibration_items, temporary / "calibration"),
        "fleet": partial(fleet_items, temporary / "fleet"),
        "analysisops": partial(analysisops_items, temporary / "analysisops"),
    }
    result: dict[str, str] = {}
    for kind in kinds:
        start = time.perf_counter()
        (temporary / kind).mkdir(exist_ok=True)
        result |= items[kind]()
        print(f"{kind}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return dict(sorted(result.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path, help="folder of Parquet files, besides the shipped events")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--compare", type=Path, help="what --json wrote for another tree; exit code 1 if they differ")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="kinds of items")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = fingerprints(options.events, options.only, Path(temporary))
    print("".join(f"{name} {value}\n" for name, value in result.items()), end="")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.compare:
        kinds = {name.partition("/")[0] for name in result}
        every = json.loads(options.compare.read_text())
        other = {name: value for name, value in every.items() if name.partition("/")[0] in kinds}
        changed = [name for name in sorted({*other, *result}) if other.get(name) != result.get(name)]
        print("".join(f"differs: {name}\n" for name in changed), end="", file=sys.stderr)
        raise SystemExit(bool(changed))


if __name__ == "__main__":
    main()
