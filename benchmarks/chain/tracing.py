"""What a trace adds to an event of a chain: tracks of a chunk, off and on in turn. `python benchmarks/chain/tracing.py`

off         no telemetry
file        spans of the task in a file
collector   the same, sent to a collector in another process on the same machine, too

The stage `tracks` has two spans for each event, all others have one for each chunk. The added time is the median of the
differences to the turn without, by wall time and by processor time of this process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from recording import CONSOLE, conditions, print_conditions, write_result

from beampipe.chain.cost import stage_costs
from beampipe.chain.plan import INPUTS, Plan, make_chunk
from beampipe.chain.run import store_of
from beampipe.chain.settings import EXAMPLE, load_settings
from beampipe.chain.telemetry import TraceTarget, recorded, span
from beampipe.terminal import make_table

COLLECTOR: Final = """
from tests.triton.collector import collecting
with collecting() as collector:
    print(collector.url, flush=True)
    input()
"""

PARENT: Final = f"00-{1:032x}-{2:016x}-01"


def cost_of_no_span(n: int = 200_000) -> float:
    """Time of a span where nothing is recorded [s]."""
    begin = time.perf_counter()
    for number in range(n):
        with span("event", number=number):
            pass
    return (time.perf_counter() - begin) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="turns")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/chain/tracing.json"))
    options = parser.parse_args()
    begun = conditions(("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"))
    print_conditions("chain: added by a trace", begun)
    no_span = cost_of_no_span()
    with TemporaryDirectory() as name:
        folder = Path(name)
        settings = load_settings(EXAMPLE, folder / "chain")
        chunk, store = Plan(settings).chunks["nominal"][0], store_of(settings)
        make_chunk(store, chunk)
        costs = {each.stage: each for each in stage_costs(store, list(chunk.recipes.values()))}
        whole = sum(each.cpu for each in costs.values()) / chunk.n_events
        find = chunk.makers()["tracks"]
        inputs = [store.require(chunk.recipes[stage]) for stage in INPUTS["tracks"]]
        program = [sys.executable, "-c", COLLECTOR]
        with subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        ) as collector:
            assert collector.stdout is not None
            url = collector.stdout.readline().strip()
            ways = {
                "off": None,
                "file": TraceTarget(folder, "", PARENT),
                "collector": TraceTarget(folder, f"{url}/v1/traces", PARENT),
            }
            first, times = {}, {way: [] for way in ways}
            for turn in range(options.repeats + 1):
                for way, target in ways.items():
                    wall, cpu = time.perf_counter(), time.process_time()
                    with recorded(target, "chunk"):
                        find(folder / "tracks.npz", *inputs)
                    taken = (time.perf_counter() - wall, time.process_time() - cpu)
                    if turn:
                        times[way].append(taken)
                    else:
                        first[way] = taken
            collector.communicate("\n")
    table = make_table(
        f"added to an event of {1000 * whole:.1f} ms CPU in all stages",
        ("way",),
        ("tracks, CPU [ms]", "added CPU [ms]", "added wall [ms]", "of the stage", "of all stages"),
    )
    figures: list[dict[str, Any]] = []
    off = np.array(times["off"])
    for way, taken in times.items():
        added_wall, added_cpu = (float(each) / chunk.n_events for each in np.median(np.array(taken) - off, axis=0))
        stage = float(np.median(np.array(taken)[:, 1])) / chunk.n_events
        figure = {"way": way, "stage_cpu": stage, "added_cpu": added_cpu, "added_wall": added_wall, "whole_cpu": whole}
        figures.append(figure)
        table.add_row(
            way,
            f"{1000 * stage:.3f}",
            f"{1000 * added_cpu:+.3f}",
            f"{1000 * added_wall:+.3f}",
            f"{100 * added_cpu / (stage - added_cpu):+.2f} %",
            f"{100 * added_cpu / whole:+.3f} %",
        )
    CONSOLE.print(table)
    CONSOLE.print(
        f"off: {1e6 * 2 * no_span:.2f} us an event. First task of a process, for imports: "
        + ", ".join(f"{way} {1000 * cpu:.0f} ms CPU" for way, (_, cpu) in first.items()),
        markup=False,
    )
    write_result(options.output, begun, {"added": figures, "no_span": no_span, "first": first})


if __name__ == "__main__":
    main()
