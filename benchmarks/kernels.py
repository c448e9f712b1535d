"""Each native kernel against what one would use instead: same input, equal output asserted first, then the ratio.

    python benchmarks/kernels.py [--events FILE.parquet] [--weights FILE.safetensors] [--threads 1] [--json OUT]

Without an event file, helices through ten cylinders; without weights, random ones (the arithmetic is the same, and
the radius is then chosen for about 40 neighbours per hit).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
import plain_torch
from tests.tracking.kernels import toy

from beampipe.tracking import kernels
from beampipe.tracking.formats import read_events
from beampipe.tracking.networks import load_networks

KAPPA_MAX, Z0_MAX, MAX_NEIGHBOURS = 8e-4, 200.0, 100


def positions(path: Path | None) -> Float32[ndarray, "n 3"]:
    if path is not None:
        return next(iter(read_events(path))).hits.position
    return toy.hits(14_000, 0)


def radius_for(source: ndarray, target: ndarray, neighbours: int) -> float:
    """Radius within which an average hit has so many targets."""
    some = np.random.default_rng(0).permutation(len(source))[:300]
    distance = np.sqrt(np.square(source[some, None] - target[None]).sum(axis=2))
    return float(np.partition(distance.ravel(), neighbours * len(some))[neighbours * len(some)])


def best(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Smallest wall and CPU time of the process [s]: the machine may be busy with other work."""
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(t[0] for t in times), min(t[1] for t in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    threads = options.threads
    torch.set_num_threads(threads)
    native = kernels.native()
    if native is None:
        raise SystemExit("the native kernels are not built")

    rng = np.random.default_rng(1)
    position = positions(options.events)
    networks = load_networks(options.weights) if options.weights else None
    embedding = (networks and networks.embedding) or toy.embedding(rng)
    filter_mlp = (networks and networks.filter) or toy.mlp(rng, 13, 64, 1)
    gnn = (networks and networks.gnn) or toy.gnn(rng)
    vectors = kernels.embed(position, embedding, threads)
    source, target = np.ascontiguousarray(vectors[:, :8]), np.ascontiguousarray(vectors[:, 8:])
    radius = networks.config.radius if networks else radius_for(source, target, 40)
    cuts = (radius, MAX_NEIGHBOURS, KAPPA_MAX, Z0_MAX)
    edge_index, dist2 = kernels.radius_edges(source, target, position, *cuts, threads)
    n_graph = min(170_000, edge_index.shape[1])
    graph = np.ascontiguousarray(edge_index[:, np.sort(rng.permutation(edge_index.shape[1])[:n_graph])])
    pairs = rng.random((n_graph, gnn.n_pair_features), np.float32)
    n = len(position)

    # name -> items, native, alternative, check of both results
    def close(a: ndarray, b: ndarray) -> None:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)

    def same_edges(a: tuple[ndarray, ndarray], b: tuple[ndarray, ndarray]) -> None:
        # A pair that lies on a cut within rounding may fall on either side.
        keys = [set((e[0] * n + e[1]).tolist()) for e, _ in (a, b)]
        assert len(keys[0] ^ keys[1]) <= 1e-5 * len(keys[0]), "different edges"

    cases: dict[str, tuple[int, Callable[[], object], Callable[[], object], Callable[..., None], str]] = {
        "embed": (
            n,
            lambda: kernels.embed(position, embedding, threads),
            lambda: plain_torch.embed(position, embedding),
            close,
            "torch",
        ),
        "radius_edges": (
            edge_index.shape[1],
            lambda: kernels.radius_edges(source, target, position, *cuts, threads),
            lambda: plain_torch.radius_edges(source, target, position, *cuts, threads),
            same_edges,
            "scipy cKDTree",
        ),
        "filter_logits": (
            edge_index.shape[1],
            lambda: kernels.filter_logits(position, edge_index, dist2, filter_mlp, threads),
            lambda: plain_torch.filter_scores(position, edge_index, dist2, filter_mlp),
            close,
            "torch",
        ),
        "gnn_scores": (
            n_graph,
            lambda: kernels.gnn_scores(position, graph, pairs, gnn, threads)[1],
            lambda: plain_torch.gnn_logits(position, graph, pairs, gnn),
            close,
            "torch",
        ),
        "connected_components": (
            n_graph,
            lambda: kernels.connected_components(n, graph, 3),
            lambda: plain_torch.components(n, graph, 3),
            np.testing.assert_array_equal,
            "scipy",
        ),
    }
    print(f"{n} hits, {edge_index.shape[1]} edges, graph of {n_graph} edges on {len(np.unique(graph))} hits,")
    print(f"radius {radius:.3f}, {native.isa()}, {threads} threads each side; smallest of {options.repeats}")
    print(
        f"{'kernel':<22}{'native ms':>10}{'cpu ms':>9}{'ns/item':>9}   {'other':<15}{'ms':>9}{'cpu ms':>9}{'ratio':>8}"
    )
    rows = []
    for name, (items, ours, theirs, check, what) in cases.items():
        check(ours(), theirs())
        (wall, cpu), (other, other_cpu) = best(ours, options.repeats), best(theirs, max(1, options.repeats // 2))
        print(
            f"{name:<22}{wall * 1e3:>10.2f}{cpu * 1e3:>9.2f}{cpu * 1e9 / max(items, 1):>9.1f}   "
            f"{what:<15}{other * 1e3:>9.1f}{other_cpu * 1e3:>9.1f}{other_cpu / cpu:>7.1f}x"
        )
        rows.append({"kernel": name, "items": items, "wall": wall, "cpu": cpu, "other": what, "other_wall": other})
        rows[-1] |= {"other_cpu": other_cpu, "ratio_of_cpu": other_cpu / cpu}
    if options.json:
        head = {"isa": native.isa(), "threads": threads, "hits": n, "radius": radius}
        options.json.write_text(json.dumps(head | {"kernels": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
