"""What a trace adds to an event of a chain: tracks of a chunk, off and on in turn. `python benchmarks/chain/tracing.py`

off         no telemetry
file        spans of the task in a file
collector   the same, sent to a collector in another process on the same machine, too

The stage `tracks` has two spans for each event, all others have one for each chunk. The added time is the median of the
differences to the turn without, by processor time of this process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from recording import Figure, begin, write_result

from beampipe.chain.cost import stage_costs
from beampipe.chain.recipes import INPUTS, Plan, make_chunk
from beampipe.chain.run import store_of
from beampipe.chain.settings import EXAMPLE, load_settings
from beampipe.chain.telemetry import TraceTarget, recorded, span

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
    begun = begin("chain: added by a trace", ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"))
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
            times: dict[str, list[float]] = {way: [] for way in ways}
            for turn in range(options.repeats + 1):
                for way, target in ways.items():
                    cpu = time.process_time()
                    with recorded(target, "chunk"):
                        find(folder / "tracks.npz", *inputs)
                    if turn:  # the first one imports
                        times[way].append(time.process_time() - cpu)
            collector.communicate("\n")
    figures = [Figure("off: added", 1e6 * 2 * no_span, "us")]
    for way in ("file", "collector"):
        added = float(np.median(np.array(times[way]) - np.array(times["off"]))) / chunk.n_events
        figures += [
            Figure(f"{way}: added CPU", 1e3 * added, "ms"),
            Figure(f"{way}: of all stages", 100 * added / whole, "%"),
        ]
    write_result(options.output, begun, figures)


if __name__ == "__main__":
    main()
