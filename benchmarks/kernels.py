"""Each native kernel against what one would use instead: same input, equal output asserted first, then the ratio.

    python benchmarks/kernels.py [--events FILE.parquet] [--weights FILE.safetensors] [--threads 1] [--json OUT]

The input is the first event of the file, by default the first shipped one with mu = 200, under the weights of the
pipeline `exatrkx`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray

sys.path.insert(0, str(Path(__file__).parent))
import plain_torch

from beampipe.tracking import kernels
from beampipe.tracking.data import shipped_events
from beampipe.tracking.formats import read_events
from beampipe.tracking.kernels import GnnWeights, Mlp
from beampipe.tracking.loading import pipeline_weights
from beampipe.tracking.networks import load_networks

LARGEST_GRAPH = 170_000
"""Largest number of edges that the interaction network gets: as many as pass the filter at mu = 200."""


@dataclass(frozen=True)
class Case:
    """One kernel and its rival.

    Attributes:
        kernel: name of the kernel.
        items: number of hits or edges that it works on.
        ours: function that runs the kernel.
        theirs: function that runs the rival.
        check: function that raises unless both results are equal.
        rival: name of the rival.
    """

    kernel: str
    items: int
    ours: Callable[[], object]
    theirs: Callable[[], object]
    check: Callable[..., None]
    rival: str


@dataclass(frozen=True)
class Input:
    """What the kernels work on.

    Attributes:
        position: hits, r [mm], phi [rad], z [mm].
        embedding: weights of the embedding network.
        filter: weights of the filter network.
        gnn: weights of the interaction network.
        cuts: radius in the embedded space, largest number of neighbours, largest curvature [1/mm] and |z0| [mm].
    """

    position: Float32[ndarray, "n 3"]
    embedding: Mlp
    filter: Mlp
    gnn: GnnWeights
    cuts: tuple[float, int, float, float]


def read_input(events: Path | None, weights: Path | None) -> Input:
    """The first event, and the networks."""
    event = next(iter(shipped_events(200) if events is None else read_events(events)))
    networks = load_networks(pipeline_weights("exatrkx")[0] if weights is None else weights)
    if networks.embedding is None or networks.filter is None or networks.gnn is None:
        raise SystemExit(f"{weights}: expected an embedding, a filter and an interaction network")
    config = networks.config
    cuts = (config.radius, config.max_neighbours, config.kappa_max, config.z0_max)
    return Input(event.hits.position, networks.embedding, networks.filter, networks.gnn, cuts)


def close(a: ndarray, b: ndarray) -> None:
    """Raise unless two arrays are equal but for rounding."""
    # Sums of large terms that cancel keep the rounding errors of the terms: hence the scale.
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(b).max())))


def same_edges(a: tuple[Int64[ndarray, "2 _"], ndarray], b: tuple[Int64[ndarray, "2 _"], ndarray]) -> None:
    """Raise unless two graphs are equal; a pair that lies on a cut within rounding may fall on either side."""
    keys = [set((edges[0] << 32 | edges[1]).tolist()) for edges, _ in (a, b)]
    assert len(keys[0] ^ keys[1]) <= 1e-5 * len(keys[0]), "different edges"


def cases_of(data: Input, threads: int) -> list[Case]:
    """Every kernel on what the kernels before it give."""
    generator = np.random.default_rng(1)
    n, position = len(data.position), data.position
    vectors = kernels.embed(position, data.embedding, threads)
    source, target = np.ascontiguousarray(vectors[:, :8]), np.ascontiguousarray(vectors[:, 8:])
    edge_index, dist2 = kernels.radius_edges(source, target, position, *data.cuts, threads)
    n_edges = edge_index.shape[1]
    n_graph = min(LARGEST_GRAPH, n_edges)
    graph = np.ascontiguousarray(edge_index[:, np.sort(generator.permutation(n_edges)[:n_graph])])
    pairs = generator.random((n_graph, data.gnn.n_pair_features), np.float32)
    return [
        Case(
            "embed",
            n,
            lambda: kernels.embed(position, data.embedding, threads),
            lambda: plain_torch.embed(position, data.embedding),
            close,
            "torch",
        ),
        Case(
            "radius_edges",
            n_edges,
            lambda: kernels.radius_edges(source, target, position, *data.cuts, threads),
            lambda: plain_torch.radius_edges(source, target, position, *data.cuts, threads),
            same_edges,
            "scipy cKDTree",
        ),
        Case(
            "filter_logits",
            n_edges,
            lambda: kernels.filter_logits(position, edge_index, dist2, data.filter, threads),
            lambda: plain_torch.filter_logits(position, edge_index, dist2, data.filter),
            close,
            "torch",
        ),
        Case(
            "gnn_scores",
            n_graph,
            lambda: kernels.gnn_scores(position, graph, pairs, data.gnn, threads)[1],
            lambda: plain_torch.gnn_logits(position, graph, pairs, data.gnn),
            close,
            "torch",
        ),
        Case(
            "connected_components",
            n_graph,
            lambda: kernels.connected_components(n, graph, 3),
            lambda: plain_torch.components(n, graph, 3),
            np.testing.assert_array_equal,
            "scipy",
        ),
    ]


def best(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Smallest wall and CPU time of the process [s]: the machine may be busy with other work."""
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(t[0] for t in times), min(t[1] for t in times)


def measure(case: Case, repeats: int) -> dict[str, object]:
    """Compare the results of both sides, then their times; prints a line, and gives the row for the JSON."""
    case.check(case.ours(), case.theirs())
    (wall, cpu), (other, other_cpu) = best(case.ours, repeats), best(case.theirs, max(1, repeats // 2))
    print(
        f"{case.kernel:<22}{wall * 1e3:>10.2f}{cpu * 1e3:>9.2f}{cpu * 1e9 / max(case.items, 1):>9.1f}   "
        f"{case.rival:<15}{other * 1e3:>9.1f}{other_cpu * 1e3:>9.1f}{other_cpu / cpu:>7.1f}x"
    )
    return {
        "kernel": case.kernel,
        "items": case.items,
        "wall": wall,
        "cpu": cpu,
        "other": case.rival,
        "other_wall": other,
        "other_cpu": other_cpu,
        "ratio_of_cpu": other_cpu / cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path, help="Parquet file of events, in place of the shipped ones")
    parser.add_argument("--weights", type=Path, help="weights in place of those of the pipeline exatrkx")
    parser.add_argument("--threads", type=int, default=1, help="number of threads of each side")
    parser.add_argument("--repeats", type=int, default=5, help="number of measurements, of which the smallest counts")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    native = kernels.native()
    if native is None:
        raise SystemExit("the native kernels are not built")
    data = read_input(options.events, options.weights)
    cases = cases_of(data, options.threads)
    n, items = len(data.position), {case.kernel: case.items for case in cases}
    print(f"{n} hits, {items['radius_edges']} edges, graph of {items['gnn_scores']} edges,")
    print(f"{native.isa()}, {options.threads} threads each side; smallest of {options.repeats}")
    print(
        f"{'kernel':<22}{'native ms':>10}{'cpu ms':>9}{'ns/item':>9}   {'other':<15}{'ms':>9}{'cpu ms':>9}{'ratio':>8}"
    )
    rows = [measure(case, options.repeats) for case in cases]
    if options.json:
        head = {"isa": native.isa(), "threads": options.threads, "hits": n, "radius": data.cuts[0]}
        options.json.write_text(json.dumps(head | {"kernels": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
