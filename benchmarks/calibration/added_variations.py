"""What does one more systematic cost? `python benchmarks/calibration/added_variations.py`

Twenty variations are added to a calibration one at a time: weights, shifts of the jet energy, another track efficiency,
more replicas. Each run is compared with a run from an empty store with the same variations, and all of them with one
run that fills all variations at once. Bytes are the compressed baskets that are read from ROOT files after their
inspection; CPU time is that of stages 1 to 3 with one worker. The sums must be the same, byte for byte.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

from measuring import CONSOLE, conditions, measured, report
from toys import KEPT, Toy, make_toys

from beampipe.calibration.config import Bootstrap, Configuration, InputSample, Systematic
from beampipe.calibration.ntuple.plain_root import PlainBranch
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.plan import Plan
from beampipe.calibration.tasks.runtime import RunSettings, workspace_of

FOLDER: Final = KEPT / "added_variations"
ADDED: Final = (
    *(("weight", f"pdf_{number:03d}") for number in range(10)),
    *(("shift", f"{kind}_{number}_up") for kind in ("jes", "jer") for number in range(1, 5)),
    ("tracks", "trk_eff"),
    ("replicas", "20 more"),
)
"""Kind and name of each variation, in the order in which they are added."""


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
        cost, plan = measured(lambda: run_calibration(configuration, RunSettings("inline"), until="fill"))
    return plan, total.read, cost.cpu


def sums(configuration: Configuration, plan: Plan) -> dict[str, bytes]:
    """The sums of each slice."""
    store = workspace_of(configuration).store
    recipes = [recipe for sample in plan.samples.values() for recipe in sample.merged.values()]
    return {recipe.key: store.require(recipe).read_bytes() for recipe in recipes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_added_variations.json"))
    options = parser.parse_args()
    begun = conditions("variations added one at a time")
    nominal, data = make_toys(
        Toy("added", options.events, 6, n_weights=105),
        Toy("added_data", options.events // 4, 2, kind="data", seed=2),
    )
    shutil.rmtree(FOLDER, ignore_errors=True)
    samples = {"nominal": InputSample("nominal", tuple(nominal)), "data": InputSample("data", tuple(data), "data")}
    configuration = Configuration(FOLDER / "added", samples, chunk_events=50_000, bootstrap=Bootstrap(100))
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
    rows = []
    for number, (kind, name) in enumerate(ADDED):
        sources = configuration.systematics
        if kind == "replicas":
            configuration = replace(configuration, bootstrap=Bootstrap(120))
        elif kind == "weight":
            configuration = replace(
                configuration, systematics=(*sources, Systematic(name, "envelope", weights=(name,)))
            )
        else:
            source = Systematic(name, "quadrature", kinematics=(name,))
            configuration = replace(configuration, systematics=(*sources, source))
        plan, added_bytes, added_cpu = fill(configuration)
        _, anew_bytes, anew_cpu = from_nothing(f"anew-{number}")
        rows.append((kind, name, added_bytes, added_cpu, anew_bytes, anew_cpu))
    complete, all_bytes, all_cpu = from_nothing("all")
    same = sums(configuration, plan) == sums(replace(configuration, output=FOLDER / "all"), complete)
    by_kind = defaultdict(list)
    for kind, _, *figures in rows:
        by_kind[kind].append(figures)
    CONSOLE.print(f"nominal and 100 replicas: {first_bytes / 1e6:.1f} MB, {first_cpu:.2f} s")
    for kind, figures in by_kind.items():
        size, cpu, anew_size, anew_cpu = (sum(column) / len(figures) for column in zip(*figures, strict=True))
        text = f"{size / 1e6:.2f} MB, {cpu:.2f} s; from nothing {anew_size / 1e6:.1f} MB, {anew_cpu:.2f} s"
        CONSOLE.print(f"one more of {kind} (mean of {len(figures)}): {text}")
    added, anew = ([sum(row[column] for row in rows) for column in pair] for pair in ((2, 3), (4, 5)))
    CONSOLE.print(f"{len(rows)} added one at a time: {added[0] / 1e6:.1f} MB, {added[1]:.2f} s")
    CONSOLE.print(f"each from nothing:      {anew[0] / 1e6:.1f} MB, {anew[1]:.2f} s")
    CONSOLE.print(
        f"all at once:            {all_bytes / 1e6:.1f} MB, {all_cpu:.2f} s; sums {'equal' if same else 'DIFFER'}"
    )
    names = ("kind", "name", "bytes", "cpu", "bytes_from_nothing", "cpu_from_nothing")
    at_once = {"bytes": all_bytes, "cpu": all_cpu}
    first = {"bytes": first_bytes, "cpu": first_cpu}
    each = [dict(zip(names, row, strict=True)) for row in rows]
    report(options.output, begun, {"first": first, "added": each, "at_once": at_once, "same": same})
    assert same


if __name__ == "__main__":
    main()
