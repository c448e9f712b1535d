"""The networks as torch modules, and what all trainings share: optimiser, learning rates, log.

All networks are Linear -> SiLU -> ... -> Linear in float32. A module list stores the linear layers only, hence the keys
`embedding.{k}.weight`, `gnn.edge.{s}.{k}.bias` and so on of the weight file, k and s counting from 0. The optimiser is
AdamW with a warm-up and a cosine to zero, clipping, and averaged weights.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from beampipe.arrays import Float32, Int64
from beampipe.terminal import bar
from beampipe.tracking.kernels.features import (
    EDGE_FEATURES,
    EMBEDDING_SIZE,
    FILTER_INPUTS,
    HIT_FEATURES,
    NODE_FEATURES,
    PAIR_FEATURES,
)


class Perceptron(nn.ModuleList):
    """Linear layers with SiLU between them and nothing after the last one.

    Args:
        sizes: input, hidden and output lengths.
    """

    def __init__(self, *sizes: int) -> None:
        super().__init__(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: Float32[Tensor, "n in"]) -> Float32[Tensor, "n out"]:
        """Apply the layers in order."""
        for k, layer in enumerate(self):
            x = layer(x if k == 0 else nn.functional.silu(x, inplace=False))
        return x


class Embedding(Perceptron):
    """Hit features -> source and target vector; an edge goes from i to j where source_i is close to target_j.

    Args:
        hidden: length of the three hidden layers.
        head_scale: factor on the initial last layer. With 1 all hits start within one radius of each other and the
            loss can collapse them to a point.
        first_scale: factor on the initial first layer: neighbouring hits differ by a thousandth of the input range.
    """

    def __init__(self, hidden: int = 64, head_scale: float = 12.0, first_scale: float = 4.0) -> None:
        super().__init__(len(HIT_FEATURES), hidden, hidden, hidden, 2 * EMBEDDING_SIZE)
        first, head = cast(nn.Linear, self[0]), cast(nn.Linear, self[-1])
        with torch.no_grad():
            first.weight.mul_(first_scale)
            first.bias.mul_(first_scale)
            head.weight.mul_(head_scale)
            # Source and target of a hit start equal: close hits are neighbours before the first step.
            head.weight[EMBEDDING_SIZE:] = head.weight[:EMBEDDING_SIZE]
            head.bias[EMBEDDING_SIZE:] = head.bias[:EMBEDDING_SIZE]

    def split(self, features: Float32[Tensor, "n 5"]) -> tuple[Float32[Tensor, "n 8"], Float32[Tensor, "n 8"]]:
        """Source and target vectors of the hits."""
        both = self(features)
        return both[:, :EMBEDDING_SIZE], both[:, EMBEDDING_SIZE:]


class FilterNetwork(Perceptron):
    """Edge -> logit, from the edge features, the node features of both hits and the squared embedding distance."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__(FILTER_INPUTS, hidden, 1)


class InteractionNetwork(nn.Module):
    """Message passing over edges and hits (Battaglia et al. 2016, arXiv:1612.00222), residual at every step.

    Args:
        hidden: length of all latent vectors.
        steps: number of message-passing steps; 0 leaves a classifier of single edges.
        pair_features: whether the edges carry the pair features.
    """

    def __init__(self, hidden: int = 32, steps: int = 3, *, pair_features: bool = True) -> None:
        super().__init__()
        self.hidden, self.pair_features = hidden, pair_features
        n_edge = len(EDGE_FEATURES) + (len(PAIR_FEATURES) if pair_features else 0)
        self.node_encoder = Perceptron(len(NODE_FEATURES), hidden, hidden)
        self.edge_encoder = Perceptron(n_edge, hidden, hidden)
        self.edge = nn.ModuleList(Perceptron(3 * hidden, hidden, hidden) for _ in range(steps))
        self.node = nn.ModuleList(Perceptron(3 * hidden, hidden, hidden) for _ in range(steps))
        self.classifier = Perceptron(3 * hidden, hidden, 1)

    def forward(
        self,
        nodes: Float32[Tensor, "n_hits 3"],
        edges: Float32[Tensor, "n_edges n_edge_features"],
        edge_index: Int64[Tensor, "2 n_edges"],
    ) -> Float32[Tensor, " n_edges"]:
        """Logit of each edge."""
        inner, outer = edge_index
        to_inner = _Incidence.make(inner, len(nodes))
        to_outer = _Incidence.make(outer, len(nodes))
        x, e = self.node_encoder(nodes), self.edge_encoder(edges)
        for edge_step, node_step in zip(self.edge, self.node, strict=True):
            e = e + _on_edges(edge_step, x, e, to_inner, to_outer)
            x = x + node_step(torch.cat([x, to_outer.total(e), to_inner.total(e)], dim=1))
        return _on_edges(self.classifier, x, e, to_inner, to_outer).squeeze(1)


class _Incidence:
    """One end of every edge: read hits at that end, or sum edges over it, by sparse products instead of scatters."""

    def __init__(self, index: Tensor, matrix: Tensor) -> None:
        self.index, self.matrix = index, matrix

    @classmethod
    def make(cls, index: Int64[Tensor, " n_edges"], n_hits: int) -> _Incidence:
        n_edges = len(index)
        order = torch.argsort(index, stable=True)
        starts = torch.zeros(n_hits + 1, dtype=torch.int64)
        starts[1:] = torch.cumsum(torch.bincount(index, minlength=n_hits), 0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            size = (n_hits, n_edges)
            matrix = torch.sparse_csr_tensor(starts, order, torch.ones(n_edges), size, check_invariants=False)
        return cls(index, matrix)

    def total(self, e: Tensor) -> Tensor:
        """Sum of edge vectors over each hit."""
        return cast(Tensor, cast(Any, _Total).apply(e, self))

    def read(self, x: Tensor) -> Tensor:
        """Hit vector at this end of each edge."""
        return cast(Tensor, cast(Any, _Read).apply(x, self))


class _Total(torch.autograd.Function):
    """Segment sum; its gradient is a read."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, e: Tensor, incidence: _Incidence) -> Tensor:
        ctx.incidence = incidence  # type: ignore[attr-defined]
        return incidence.matrix @ e

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad: Tensor) -> tuple[Tensor, None]:
        return grad[0].index_select(0, ctx.incidence.index), None  # type: ignore[attr-defined]


class _Read(torch.autograd.Function):
    """Gather; its gradient is a segment sum, which torch would do by a slow scatter."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, incidence: _Incidence) -> Tensor:
        ctx.incidence = incidence  # type: ignore[attr-defined]
        return x.index_select(0, incidence.index)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad: Tensor) -> tuple[Tensor, None]:
        return ctx.incidence.matrix @ grad[0].contiguous(), None  # type: ignore[attr-defined]


def _on_edges(mlp: nn.Module, x: Tensor, e: Tensor, to_inner: _Incidence, to_outer: _Incidence) -> Tensor:
    """`mlp` of [x_inner, x_outer, e], its first layer split so that the hit part is computed once per hit.

    W [x_i, x_o, e] = W_1 x_i + W_2 x_o + W_3 e: the same weights, a third of the work where hits have many edges.
    """
    layers = cast(Perceptron, mlp)
    first = cast(nn.Linear, layers[0])
    h = x.shape[1]
    at_inner = nn.functional.linear(x, first.weight[:, :h])
    at_outer = nn.functional.linear(x, first.weight[:, h : 2 * h], first.bias)
    out = to_inner.read(at_inner) + to_outer.read(at_outer) + nn.functional.linear(e, first.weight[:, 2 * h :])
    for layer in list(layers)[1:]:
        out = layer(nn.functional.silu(out))
    return out


_WARM_UP = 100


class Optimiser:
    """AdamW on a cosine, gradient clipped to norm 1, with an exponential moving average of the weights.

    Args:
        network: network that is trained; `average` holds its averaged copy.
        steps: number of updates over which the learning rate falls.
        rate: highest learning rate.
        decay: weight decay of AdamW.
        memory: steps over which weights are averaged (fewer at the start).
    """

    def __init__(self, network: nn.Module, steps: int, rate: float, *, decay: float = 1e-4, memory: int = 300) -> None:
        self.network, self.steps, self.rate, self.memory = network, steps, rate, memory
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.step_number = 0
        self._parameters: list[Tensor] = list(network.parameters())
        self._averages: list[Tensor] = list(self.average.parameters())
        self._adam = torch.optim.AdamW(self._parameters, lr=rate, weight_decay=decay, betas=(0.9, 0.98))

    def remaining_steps(self, name: str) -> Iterator[int]:
        """The number of each step that is still to be done; a progress bar shows the remaining time.

        Args:
            name: name of what is trained, shown beside the bar.
        """
        with bar(name, self.steps) as advance:
            while self.step_number < self.steps:
                yield self.step_number
                advance()

    def step(self, loss: Tensor) -> float:
        """One update; returns the loss."""
        for group in self._adam.param_groups:
            group["lr"] = self.learning_rate()
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._adam.step()
        self.step_number += 1
        # A shorter memory at first, or the average would contain the random start for `memory` steps.
        share = 1 / min(self.memory, 1 + self.step_number / 5)
        torch._foreach_lerp_(self._averages, self._parameters, share)
        return float(loss.detach())

    def learning_rate(self) -> float:
        """Rate at the present step."""
        warm = min(1.0, (self.step_number + 1) / _WARM_UP)
        progress = min(1.0, self.step_number / self.steps)
        return self.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Log:
    """JSON lines of training metrics.

    Args:
        path: file to append to; None to write nothing.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = None if path is None else path.open("a", encoding="utf-8")
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __call__(self, stage: str, step: int, **metrics: float) -> None:
        """Write one line, with the seconds since the log was opened."""
        if self._file is None:
            return
        record = {
            "stage": stage,
            "step": step,
            "wall_s": round(time.perf_counter() - self._wall, 1),
            "cpu_s": round(time.process_time() - self._cpu, 1),
            **{name: float(f"{value:.5g}") for name, value in metrics.items()},
        }
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()
