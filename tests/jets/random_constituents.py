"""Random constituents of jets and of the jets of events, and weights of a network that was not trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from beampipe.jets.network import CONSTITUENT_FEATURES
from beampipe.jets.substructure import JetConstituents
from beampipe.simulation.ntuples import Events


def random_constituents(n_jets: int, seed: int, *, most: int = 60) -> JetConstituents:
    """Jets with any number of constituents, some of them none, around their axes."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most, n_jets)
    n = int(counts.sum())
    return JetConstituents(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        1 + rng.exponential(10, n),
        rng.normal(0, 0.1, n),
        rng.normal(0, 0.1, n),
        rng.random(n) < 0.6,
        rng.choice(np.array([0, 1, 2], np.uint8), n, p=[0.8, 0.1, 0.1]),
    )


def random_network(path: Path, *, width: int = 16, blocks: int = 1, seed: int = 1) -> Path:
    """A file of random weights."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    shapes = {"embed.0": (width, len(CONSTITUENT_FEATURES)), "embed.2": (width, width)}
    for number in range(blocks):
        layers = {"mix": (3 * width, width), "join": (width, width)}
        layers |= {"inner": (2 * width, width), "outer": (width, 2 * width)}
        shapes |= {f"block.{number}.{name}": shape for name, shape in layers.items()}
    shapes |= {"head.0": (width, width + 2), "head.2": (1, width)}
    weights = {f"{name}.weight": rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": rng.normal(0, 0.1, shape[0]).astype(np.float32) for name, shape in shapes.items()}
    for name in (f"block.{number}.norm{which}" for number in range(blocks) for which in (1, 2)):
        weights |= {f"{name}.weight": np.ones(width, np.float32), f"{name}.bias": np.zeros(width, np.float32)}
    counts = {"heads": np.array([4], np.int32), "blocks": np.array([blocks], np.int32)}
    save_file({**weights, **counts}, path)
    return path


def with_constituents(events: Events, seed: int) -> Events:
    """The events, and constituents of their jets that agree with the numbers of tracks in all variations."""
    rng = np.random.default_rng(seed)
    assert events.jet_n_trk_eff is not None
    assert events.jet_n_trk_fake is not None
    n_trk, less, more = (each.astype(int) for each in (events.jet_n_trk, events.jet_n_trk_eff, events.jet_n_trk_fake))
    numbers = np.arange(len(n_trk))
    kinds = [(less, True, 0), (n_trk - less, True, 1), (more - n_trk, True, 2), (n_trk // 2, False, 0)]
    jet = np.concatenate([np.repeat(numbers, count) for count, _, _ in kinds])
    charged = np.concatenate([np.full(count.sum(), of) for count, of, _ in kinds])
    variation = np.concatenate([np.full(count.sum(), of, np.uint8) for count, _, of in kinds])
    order = np.argsort(jet, kind="stable")
    jet, n = jet[order], len(jet)
    event = np.searchsorted(events.offset, jet, side="right") - 1
    around = events.jet_phi[jet] + rng.normal(0, 0.1, n).astype(np.float32)
    return replace(
        events,
        constituent_offset=np.searchsorted(event, np.arange(len(events) + 1)).astype(np.int64),
        constituent_jet=(jet - events.offset[event]).astype(np.uint8),
        constituent_pt=(1.1 + rng.exponential(10, n)).astype(np.float32),
        constituent_eta=events.jet_eta[jet] + rng.normal(0, 0.1, n).astype(np.float32),
        constituent_phi=((around + np.pi) % (2 * np.pi) - np.pi).astype(np.float32),
        constituent_charged=charged[order],
        constituent_variation=variation[order],
    )
