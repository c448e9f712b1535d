"""What does a change cost after a first run? `python benchmarks/calibration/changes.py [--variations 240]`

Variations are added to a calibration one at a time: weights, shifts of the jet energy, other track efficiencies, more
replicas. All runs together are compared with one run from an empty store that fills all variations at once. Bytes are
the compressed baskets that are read from ROOT files after their inspection; CPU time is that of stages 1 to 3 with one
worker. The sums must be the same, byte for byte.

Then the calibration is run with another `min_eta_gap`, another edge of pT and another working point, each from stored
tables up to the scale factors: no basket is read.
"""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import Figure, Reference, begin, cpu_seconds, parser_of, write_result
from toys import KEPT, Toy, make_toys

from beampipe.calibration.config import Bootstrap, Configuration, InputSample, Regions, Systematic
from beampipe.calibration.ntuple.root_files import PlainBranch
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.plan import Plan
from beampipe.calibration.tasks.runtime import RunSettings, workspace_of

FOLDER: Final = KEPT / "changes"
ALL: Final = (
    *(("weight", f"pdf_{number:03d}") for number in range(122)),
    *(("weight", f"{shower}_{way}") for shower in ("fsr", "isr") for way in ("up", "down")),
    *(("shift", f"jes_{number}_{way}") for number in range(1, 46) for way in ("up", "down")),
    *(("shift", f"jer_{number}_{way}") for number in range(1, 9) for way in ("up", "down")),
    *(("tracks", name) for name in ("trk_eff", "trk_fake")),
    *(("replicas", "20 more") for _ in range(6)),
)
"""Kind and name of each of 240 variations, in the order in which they are added."""


def chosen(number: int) -> list[tuple[str, str]]:
    """So many of the variations, evenly over all of them."""
    return [ALL[k * len(ALL) // number] for k in range(number)]


@dataclass
class Bytes:
    """Bytes that were read from ROOT files."""

    read: int = 0


@contextmanager
def counted() -> Iterator[Bytes]:
    """Count the compressed bytes of the baskets that this process reads while the block runs."""
    total, original = Bytes(), PlainBranch.packed

    def packed(branch: PlainBranch, number: int) -> memoryview:
        basket = original(branch, number)
        total.read += len(basket)
        return basket

    PlainBranch.packed = packed  # type: ignore[method-assign]
    try:
        yield total
    finally:
        PlainBranch.packed = original  # type: ignore[method-assign]


def fill(configuration: Configuration) -> tuple[Plan, int, float]:
    """Run until the histograms are merged; returns the plan, bytes read and CPU time [s]."""
    with counted() as total:
        before = cpu_seconds()
        plan = run_calibration(configuration, RunSettings("inline"), until="fill")
    return plan, total.read, cpu_seconds() - before


def sums(configuration: Configuration, plan: Plan) -> dict[str, bytes]:
    """The sums of each slice."""
    store = workspace_of(configuration).store
    recipes = [recipe for sample in plan.samples.values() for recipe in sample.merged.values()]
    return {recipe.key: store.require(recipe).read_bytes() for recipe in recipes}


def main() -> None:
    parser = parser_of(__doc__, "calibration_changes")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--variations", type=int, default=20, help=f"number of variations to add, up to {len(ALL)}")
    options = parser.parse_args()
    begun = begin("changes after a first run")
    nominal, data = make_toys(
        Toy("added", options.events, 6, n_weights=127),
        Toy("added_data", options.events // 4, 2, kind="data", seed=2),
    )
    shutil.rmtree(FOLDER, ignore_errors=True)
    samples = {"nominal": InputSample("nominal", tuple(nominal)), "data": InputSample("data", tuple(data), "data")}
    plain = Configuration(FOLDER / "added", samples, chunk_events=50_000, bootstrap=Bootstrap(0))
    configuration = replace(plain, bootstrap=Bootstrap(100))
    fill(replace(configuration, output=FOLDER / "warm"))  # libraries are loaded, files are in memory

    def from_nothing(name: str) -> tuple[Plan, int, float]:
        output = FOLDER / name
        shutil.copytree(FOLDER / "added" / "store" / ".files", output / "store" / ".files")
        run_calibration(replace(configuration, output=output), RunSettings("inline"), until="select")
        shutil.rmtree(output / "store" / "select")  # the inspection of the files remains
        return fill(replace(configuration, output=output))

    run_calibration(configuration, RunSettings("inline"), until="select")
    shutil.rmtree(configuration.output / "store" / "select")
    _, first_bytes, first_cpu = fill(configuration)
    added: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for kind, name in chosen(options.variations):
        sources = configuration.systematics
        if kind == "replicas":
            configuration = replace(configuration, bootstrap=Bootstrap(configuration.bootstrap.replicas + 20))
        elif kind == "weight":
            configuration = replace(
                configuration, systematics=(*sources, Systematic(name, "envelope", weights=(name,)))
            )
        else:
            source = Systematic(name, "quadrature", kinematics=(name,))
            configuration = replace(configuration, systematics=(*sources, source))
        plan, added_bytes, added_cpu = fill(configuration)
        added[kind].append((added_bytes, added_cpu))
    complete, all_bytes, all_cpu = from_nothing("all")
    assert sums(configuration, plan) == sums(replace(configuration, output=FOLDER / "all"), complete)
    figures = [
        Figure("nominal and 100 replicas: CPU", first_cpu, "s"),
        Figure("nominal and 100 replicas: read", first_bytes / 1e6, "MB"),
    ]
    for kind, costs in added.items():
        figures.append(Figure(f"one more {kind}: CPU", fmean(cpu for _, cpu in costs), "s"))
        figures.append(Figure(f"one more {kind}: read", fmean(size for size, _ in costs) / 1e6, "MB"))
    size, cpu = (sum(column) for column in zip(*(cost for costs in added.values() for cost in costs), strict=True))
    title = f"{options.variations} variations one at a time"
    figures.append(Figure(f"{title}: CPU", cpu, "s", reference=Reference("all at once", all_cpu)))
    figures.append(Figure(f"{title}: read", size / 1e6, "MB", reference=Reference("all at once", all_bytes / 1e6)))
    write_result(options.output, begun, figures + cut_figures(replace(plain, output=FOLDER / "cuts"), options.events))


def cut_figures(plain: Configuration, events: int) -> list[Figure]:
    """CPU time of other cuts, edges and working points, of calibrations that keep ever more in their tables."""
    figures: list[Figure] = []
    shifts = Systematic("energy", "up_down", kinematics=("jes_*", "jer_*"))
    configurations = {
        "n_trk": plain,
        "n_trk, 200 replicas": replace(plain, bootstrap=Bootstrap(200)),
        "n_trk, 10 weights kept": replace(
            plain, keep_variations=True, systematics=(Systematic("pdf", "envelope", weights=("pdf_00*",)),)
        ),
        "boosted tagger, 106 shifts": replace(
            plain, taggers=(Tagger(), Tagger("gbdt", 25, 0.0, 1.0, "shipped")), systematics=(shifts,)
        ),
    }
    for title, first in configurations.items():
        shutil.rmtree(first.output, ignore_errors=True)
        whole, _ = cost(first)
        tables = sum(path.stat().st_size for path in (first.output / "store" / "select").rglob("*.npz"))
        figures.append(Figure(f"{title}: tables per event", tables / (1.25 * events), "B"))
        for name, changed in (
            ("min_eta_gap", replace(first, regions=Regions(min_eta_gap=0.6))),
            ("an edge of pT", replace(first, pt_edges=(500.0, 650.0, *first.pt_edges[2:]))),
            ("a working point", replace(first, working_points=(0.5, 0.65))),
        ):
            cpu, size = cost(changed)
            figures.append(Figure(f"{title}: {name}", cpu, "s", reference=Reference("first run", whole)))
            figures.append(Figure(f"{title}: {name}: read", size, "B"))
    return figures


def cost(configuration: Configuration) -> tuple[float, int]:
    """CPU time [s] of a run to the scale factors, and bytes that it reads from ROOT files."""
    with counted() as total:
        before = cpu_seconds()
        run_calibration(configuration, RunSettings("inline"))
    return cpu_seconds() - before, total.read


if __name__ == "__main__":
    main()
