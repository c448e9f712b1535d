"""What README and documentation tell their reader to type, by the extra that the text names.

`sessions` gives the commands of each text in their order, to be run in one folder. Beside the texts stand three tables:
what a line takes for granted, what is made smaller here, and what cannot be run here, each with its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

EXTRA_OF: Final = {
    "index": "tracking",
    "install": "tracking",
    "get_started": "tracking",
    "sites": "tracking",
    "tracking": "tracking",
    "cpp_and_acts": "tracking",
    "formats": "tracking",
    "detectors": "tracking",
    "serving": "serving",
    "pipeline": "serving",
    "supervisor": "serving",
    "fleet": "fleet",
    "fleet_kubernetes": "fleet",
    "fleet_operations": "fleet",
    "fleet_releases": "fleet",
    "fleet_scale": "fleet",
    "fleet_slurm": "fleet",
    "clients_athena": "fleet",
    "clients_cms": "fleet",
    "calibration": "calibration",
    "calibration_compared": "calibration",
    "calibration_files": "calibration",
    "chain": "chain",
    "analysisops": "analysisops",
    "analysisops_agentbeats": "analysisops",
    "analysisops_agents": "analysisops",
    "analysisops_tasks": "analysisops",
}
"""Page with commands -> the extra that `docs/install.md` names for it."""

PARTS: Final = {
    "cpp_and_acts": {"acts_track_finder.py": "simulation", "tracking export": "train"},
    "sites": {"serving engine install": "fleet", "serving export": "fleet", "beampipe fleet": "fleet"},
    "tracking": {
        "tracking simulate": "simulation",
        "evaluate clean.parquet": "simulation",
        "tracking train": "train",
        "--tracker-model my_detector/": "train",
    },
    "detectors": {"--detector odd": "simulation,train", "-o my_odd": "simulation,train"},
    "calibration": {
        "--seed 101 --constituents": "calibration,simulation,train",
        "-o constituents.safetensors": "calibration,simulation,train",
        "calibration simulate": "simulation",
        "calibration inject": "simulation",
        "serving engine install": "calibration,serving",
        "--weights gbdt.txt": "calibration,serving",
        "serve --repository": "calibration,serving",
    },
}
"""Page -> part of a line of it -> the extra that the page names for it, where that is another one."""

STANDING_ALONE: Final = ("get_started", "tracking", "formats", "fleet_scale")
"""Pages whose blocks of Python run each by itself; those of other pages go on from each other, and tests run them."""

_EXAMPLE: Final = "beampipe tracking example {}"
_HITS: Final = """python - <<'END'
import numpy as np
from beampipe.tracking import shipped_events
np.savetxt("{}", next(event for event in shipped_events(0) if len(event.hits)).hits.position{}, delimiter=",")
END"""
_EDM4HEP: Final = """python - <<'END'
import awkward as ak, numpy as np, uproot
from beampipe.tracking import shipped_events
xyz = next(event for event in shipped_events(0) if len(event.hits)).hits.xyz
kinds = {"cellID": "u8", "type": "i4", "quality": "i4", "time": "f4", "eDep": "f4", "eDepError": "f4"}
table = {}
for name, part in ("VXD", xyz[::2]), ("I", xyz[1::2]):
    table |= {f"{name}TrackerHits.{member}": np.ones(len(part), kind) for member, kind in kinds.items()}
    table |= {f"{name}TrackerHits.position.{axis}": part[:, i].astype(float) for i, axis in enumerate("xyz")}
with uproot.recreate("events.root") as file:
    columns = {name: ak.Array([values]) for name, values in table.items()}
    types = {name: "var * " + str(values.type.content.content) for name, values in columns.items()}
    file.mktree("events", types, counter_name=lambda name: "n_" + name.replace(".", "_")).extend(columns)
END"""
_MODEL_FOLDER: Final = (
    """cp -r "$(python -c 'from beampipe.tracking.loading import DEFAULT_MODEL_FOLDER as folder; print(folder)')"/. ."""
)
_TAGGER: Final = "beampipe calibration init dijets.toml && beampipe calibration train-tagger dijets.toml -o gbdt.txt"
_CONSTITUENTS: Final = """cat > dijets.toml <<'END'
[samples.nominal]
files = "samples/nominal2/*.root"
[samples.data]
files = "dijets_sample/toy_data.*.root"
kind = "data"
END"""
_MODEL: Final = '{"about": "module_map", "sizes": [151000], "seconds": [0.145], "overhead": 0.0004}'
_OWN: Final = "printf '#!/usr/bin/env python3\\nprint(1)\\n' > mine.py && chmod +x mine.py"

_SKIM: Final = """python - <<'END'
import uproot
tree = uproot.open("file.root")["events"]
with uproot.recreate("skim.root") as file:
    file["analysis/nominal"] = {name: tree[name].array() for name in tree.keys()}
END"""

GIVEN: Final = {
    "track events.parquet": _EXAMPLE.format("events.parquet"),
    "track run1/ run2/": f"mkdir run1 run2 && {_EXAMPLE.format('run1/a.parquet')} && cp run1/a.parquet run2/b.parquet",
    "track hits.csv": _HITS.format("hits.csv", " / [3000, np.pi, 400]"),
    "evaluate events.parquet": _EXAMPLE.format("events.parquet"),
    "display events.parquet -o event.png": _EXAMPLE.format("events.parquet"),
    'load_pipeline("exatrkx_walk", model=Path("."))': _MODEL_FOLDER,
    "tracking train mine.parquet": f"{_EXAMPLE.format('mine.parquet --for-training')} && cp mine.parquet data.parquet",
    "track events.root": _EDM4HEP,
    "find_tracks 127.0.0.1": _HITS.format("event.csv", ""),
    "curl http://127.0.0.1:8000/v2/models/exatrkx/config": "beampipe serve -m exatrkx",
    "fleet up": "beampipe fleet example > fleet.toml",
    "fleet k8s": "beampipe fleet example kubernetes > fleet.toml",
    "fleet plan mu200.json": f"echo '{_MODEL}' > mu200.json",
    "calibration train-tagger": "beampipe calibration init dijets.toml",
    "-o constituents.safetensors": _CONSTITUENTS,
    "--weights gbdt.txt": _TAGGER,
    "calibration inspect": "beampipe calibration init one.toml && cp one_sample/toy.slice0.0000.root file.root",
    "inspect mc_*.root": "cp file.root mc_1.root && cp file.root mc_2.root",
    "inspect skim.root": _SKIM,
    "calibration run dijets.toml": "beampipe calibration init dijets.toml",
    "serving unit --user": "mkdir -p ~/.config/systemd/user",
    "http://127.0.0.1:9019/": "python examples/analysisops_agent.py 9019",
    "./mine.py": _OWN,
}
"""Part of a line -> what its page takes for granted there, in words or in Python: a command that makes it."""

SMALLER: Final = {
    "--events 10 --mu 200": "--events 2 --mu 10",
    "--mu 200 --events 36 --seed 4": "--mu 20 --events 12 --seed 4",
    "--mu 200 --events 10": "--mu 10 --events 2",
    "--events 250": "--events 5",
    "-n 100000 --files 4": "-n 500 --files 1",
    "-n 60000 --files 6": "-n 3000 --files 1",
    "-n 1000000 --files 10 --event-weights 100": "-n 20000 --files 3 --event-weights 3",
    "--instances 20": "--instances 1 -t zmumu",
    "--requests 50000": "--requests 2000",
    "serving top": "serving top --once",
    " --tracker-model itk": "",
}
"""Part of a line -> what is run in its place: hours of work, what runs until Ctrl-C, a model that only others have."""

NOT_HERE: Final = {
    "/beampipe[train]": "needs an engine of containers",
    "tritonserver --": "needs a Triton of the user, or an engine of containers",
    "pip install": "the environment has it",
    "-m venv": "the environment is there",
    "event_*.json": "needs files of ColliderML",
    "model.toml": "needs a language model",
    "judge.toml": "needs a language model",
    "--executor": "needs a cluster",
    "sbatch": "needs a cluster",
    "jobs/start.sh": "needs a cluster",
    "kubectl": "needs a cluster",
    "helm": "needs a cluster",
    "docker": "needs an engine of containers",
    "systemctl": "needs systemd",
    "example.org:8": "needs a fleet that has this address",
    "triton check": "needs a Triton of another release; tests/triton has this one",
    "fleet update": "needs a fleet whose clients ask for some time; tests/fleet has one",
    "perf_analyzer": "needs NVIDIA's load generator",
    "chain run chain.toml": "takes too long: it simulates 12,000 collisions; the demo runs the same stages",
    "combine dijets=": "needs two calibrations with taggers of one name; tests/calibration has them",
}
"""Part of a line that cannot be run here -> why."""

_PROGRAM: Final = re.compile(
    r"(beampipe|python|pip|git|head|g\+\+|curl|sbatch (?=-)|perf_analyzer|docker|kubectl|helm|systemctl|cd|jobs/|\./)"
)
"""How a command begins; other indented blocks are files, trees or answers."""

_BLOCK: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$|((?:^    [^\n]*\n)+)", re.M | re.S)
"""Word behind the fence and what is in it, or an indented block."""

_README_PARTS: Final = re.compile(r"\(`\[(\w+)\]`\)[^\n]*:\n|((?:^    [^\n]+\n)+)|^```python\n(.*?)^```$", re.M | re.S)
"""Extra of the paragraph that it ends, an indented block, or Python."""


@dataclass(frozen=True)
class Session:
    """Commands of one text, for an environment with one extra.

    Attributes:
        text: name of the text, for whoever reads the report.
        extra: the extra that the text names, or several with commas between them.
        lines: commands for a shell, in the order of the text, without their remarks.
    """

    text: str
    extra: str
    lines: tuple[str, ...]


def readme_lines() -> dict[str, list[str]]:
    """Extra that a paragraph of the README's "Use" names -> the commands below it, and Python as a command.

    The first commands of the table of areas are lines of the areas' pages, and the line that installs is a step of
    `check.py`.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    use = text.partition("\n## Use\n")[2].partition("\n## ")[0]
    lines: dict[str, list[str]] = {}
    extra = ""
    for named, block, code in _README_PARTS.findall(use):
        if named:
            extra = named
        elif code:
            lines[extra].append(_python_command(code))
        else:
            lines.setdefault(extra, []).extend(line.split("  #")[0].strip() for line in block.splitlines())
    return lines


def install_lines() -> list[str]:
    """The commands below the README's "Install", without their remarks."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    install = text.partition("\n## Install\n")[2].partition("\n## ")[0]
    return [line.split("  #")[0].strip() for line in install.splitlines() if line.startswith("    ")]


def first_commands() -> dict[str, str]:
    """Extra -> the first command of its area, from the README's table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| \[\w+\]\(docs/(\w+)\.md\).*\| `(beampipe [^`]+)` \|$", text, re.M))


def page_lines(page: str) -> list[str]:
    """The commands of a page in their order, and its Python where each block stands alone; as they are in the text.

    Args:
        page: name of the page, a file in `docs/` without its ending.
    """
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    results = []
    for kind, code, block in _BLOCK.findall(text):
        if kind == "python" and page in STANDING_ALONE:
            results.append(_python_command(code))
        elif _PROGRAM.match(block.strip()):
            joined = re.sub(r" *\\\n *", " ", block)
            results += [line.split("  #")[0].strip() for line in joined.splitlines()]
    return [line for line in results if line]


def _python_command(code: str) -> str:
    """The command that runs a block of Python."""
    return f"python - <<'END'\n{code}END"


def reason(line: str) -> str:
    """Why a line cannot be run here; empty if it can."""
    return next((why for part, why in NOT_HERE.items() if part in line), "")


def as_run(line: str) -> list[str]:
    """A line of a page as it is run here, after the commands that make what it takes for granted."""
    given = [command for part, command in GIVEN.items() if part in line and not reason(line)]
    for part, smaller in SMALLER.items():
        line = line.replace(part, smaller)
    return [*given, line]


def sessions() -> list[Session]:
    """All commands that a reader is told to type: the README's, then those of the pages.

    A demo needs no line before it: each is run once for an extra, however many pages have it.
    """
    results = [Session("README.md", extra, tuple(lines)) for extra, lines in readme_lines().items()]
    demos = {(session.extra, line) for session in results for line in session.lines if line.endswith(" demo")}
    for page, usual in EXTRA_OF.items():
        of: dict[str, list[str]] = {}
        for line in page_lines(page):
            extra = next((extra for part, extra in PARTS.get(page, {}).items() if part in line), usual)
            lines = of.setdefault(extra, [])
            *given, command = as_run(line)
            if (extra, command) in demos:
                continue
            if command.endswith(" demo"):
                demos.add((extra, command))
            lines += [one for one in given if one not in lines] + [command]
        results += [Session(f"docs/{page}.md", extra, tuple(lines)) for extra, lines in of.items()]
    return results
