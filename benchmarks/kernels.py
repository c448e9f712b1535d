"""Each native kernel against what one would use instead: same input, equal output asserted first, then the ratio.

    python benchmarks/kernels.py [--threads 1]

The input is the shipped event of 200 collisions, the weights are those of the pipeline `exatrkx`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
import torch
from numpy import ndarray

from beampipe.arrays import Float32

sys.path.insert(0, str(Path(__file__).parent))
import plain_torch
from recording import CONSOLE, Figure, Reference, begin, write_result

from beampipe.tracking import kernels
from beampipe.tracking.data import shipped_events
from beampipe.tracking.kernels.weights import Networks, load_networks
from beampipe.tracking.loading import pipeline_weights

KAPPA_MAX, Z0_MAX, MAX_NEIGHBOURS = 8e-4, 200.0, 100
MAX_GRAPH = 170_000  # edges that the interaction network gets


class Case(NamedTuple):
    """One kernel and its alternative, on the same input."""

    items: int
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    check: Callable[..., None]
    what: str


def best(call: Callable[[], object], repeats: int) -> float:
    """Smallest processor time of a call [s]: the machine may be busy with other work."""
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return min(times)


def close(a: ndarray, b: ndarray) -> None:
    """The same numbers, to what float32 sums in another order give."""
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def cases_of(position: Float32[ndarray, "n 3"], networks: Networks, threads: int) -> dict[str, Case]:
    """Kernel -> what is timed."""
    embedding, edge_filter, gnn = networks.embedding, networks.filter, networks.gnn
    rng, n = np.random.default_rng(1), len(position)
    vectors = kernels.embed(position, embedding, threads)
    source, target = np.ascontiguousarray(vectors[:, :8]), np.ascontiguousarray(vectors[:, 8:])
    cuts = (networks.config.radius, MAX_NEIGHBOURS, KAPPA_MAX, Z0_MAX)
    edge_index, dist2 = kernels.radius_edges(source, target, position, *cuts, threads)
    n_edges = edge_index.shape[1]
    n_graph = min(MAX_GRAPH, n_edges)
    graph = np.ascontiguousarray(edge_index[:, np.sort(rng.permutation(n_edges)[:n_graph])])
    pairs = rng.random((n_graph, gnn.n_pair_features), np.float32)
    CONSOLE.print(f"{n} hits, {n_edges} edges, graph of {n_graph} edges on {len(np.unique(graph))} hits")

    def same_edges(a: tuple[ndarray, ndarray], b: tuple[ndarray, ndarray]) -> None:
        # A pair that lies on a cut within rounding may fall on either side.
        keys = [set((e[0] * n + e[1]).tolist()) for e, _ in (a, b)]
        assert len(keys[0] ^ keys[1]) <= 1e-5 * len(keys[0]), "different edges"

    return {
        "embed": Case(
            n,
            lambda: kernels.embed(position, embedding, threads),
            lambda: plain_torch.embed(position, embedding),
            close,
            "torch",
        ),
        "radius_edges": Case(
            n_edges,
            lambda: kernels.radius_edges(source, target, position, *cuts, threads),
            lambda: plain_torch.radius_edges(source, target, position, *cuts, threads),
            same_edges,
            "scipy cKDTree",
        ),
        "filter_logits": Case(
            n_edges,
            lambda: kernels.filter_logits(position, edge_index, dist2, edge_filter, threads),
            lambda: plain_torch.filter_logits(position, edge_index, dist2, edge_filter),
            close,
            "torch",
        ),
        "gnn_scores": Case(
            n_graph,
            lambda: kernels.gnn_scores(position, graph, pairs, gnn, threads)[1],
            lambda: plain_torch.gnn_logits(position, graph, pairs, gnn),
            close,
            "torch",
        ),
        "connected_components": Case(
            n_graph,
            lambda: kernels.connected_components(n, graph, 3),
            lambda: plain_torch.components(n, graph, 3),
            np.testing.assert_array_equal,
            "scipy",
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of each side")
    parser.add_argument("--repeats", type=int, default=5, help="calls of which the fastest counts")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/kernels.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    native = kernels.native()
    if native is None:
        raise SystemExit("the native kernels are not built")
    begun = begin("kernels", ("numpy", "torch"))
    position, networks = shipped_events(200)[0].hits.position, load_networks(pipeline_weights("exatrkx")[0])
    figures = []
    for name, case in cases_of(position, networks, options.threads).items():
        case.check(case.ours(), case.theirs())
        ours, theirs = best(case.ours, options.repeats), best(case.theirs, max(1, options.repeats // 2))
        reference = Reference(case.what, 1e3 * theirs)
        figures.append(Figure(f"{name}: processor time", 1e3 * ours, "ms", "lower", reference))
    write_result(options.output, begun, figures, isa=native.isa(), threads=options.threads, hits=len(position))


if __name__ == "__main__":
    main()
