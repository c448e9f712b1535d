"""Training of the network of constituents with PyTorch. The trained network runs in numpy, see `network`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from beampipe.arrays import Bool, Float32, Float64
from beampipe.files import MARK, write_whole
from beampipe.jets.network import CONSTITUENT_FEATURES, POOLED, constituent_features, jet_features
from beampipe.jets.substructure import JetConstituents


@dataclass(frozen=True)
class NetworkRecipe:
    """What determines the weights of a network, except the jets.

    Attributes:
        width: length of the description of a constituent and of a jet.
        blocks: number of blocks of self-attention; 0 for a particle flow network.
        heads: number of heads of each block.
        epochs: number of passes over the jets.
        batch: number of jets of a step.
        rate: highest learning rate, reached after a tenth of the steps; it falls to 0 along a cosine.
        decay: weight decay.
    """

    width: int = 48
    blocks: int = 2
    heads: int = 4
    epochs: int = 10
    batch: int = 256
    rate: float = 2e-3
    decay: float = 0.01


class _Block(nn.Module):
    """Self-attention and two layers, each after a normalisation and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        n_jets, n, width = x.shape
        mixed = self.mix(self.norm1(x)).view(n_jets, n, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        joined = nn.functional.scaled_dot_product_attention(query, key, value, present[:, None, None, :])
        x = x + self.join(joined.transpose(1, 2).reshape(x.shape))
        added: Tensor = self.outer(torch.relu(self.inner(self.norm2(x))))
        return x + added


class Network(nn.Module):
    """The network of `JetNetwork`, to be trained."""

    def __init__(self, recipe: NetworkRecipe) -> None:
        super().__init__()
        width = recipe.width
        self.embed = nn.Sequential(nn.Linear(len(CONSTITUENT_FEATURES), width), nn.ReLU(), nn.Linear(width, width))
        self.block = nn.ModuleList(_Block(width, recipe.heads) for _ in range(recipe.blocks))
        self.head = nn.Sequential(nn.Linear(width + 2, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, values: Tensor, present: Tensor, jets: Tensor) -> Tensor:
        """Logits of jets, given features of their constituents, which of them are present, and features of jets."""
        x = self.embed(values)
        for block in self.block:
            x = block(x, present)
        described = (torch.relu(x) * present[:, :, None]).sum(1) * float(POOLED)
        logits: Tensor = self.head(torch.cat([described, jets], 1))[:, 0]
        return logits


def train_network(
    constituents: JetConstituents,
    jets: Float32[ndarray, "m 2"],
    gluon: Bool[ndarray, " m"],
    weight: Float64[ndarray, " m"],
    output: Path,
    seed: int = 1,
    recipe: NetworkRecipe | None = None,
    progress: Callable[[float], object] = lambda loss: None,
) -> None:
    """Train on labelled jets and write the weights; the same jets and seed give the same file on the same machine.

    Jets are rotated and reflected at random about their axis.

    Args:
        constituents: constituents of the jets, relative to their axis.
        jets: pT [GeV] and |eta| of the jets.
        gluon: whether each jet is a gluon's.
        weight: weights of the jets.
        output: safetensors file to write; its metadata states seed, number of jets and recipe.
        seed: seed of initial weights and of all random choices.
        recipe: sizes and steps.
        progress: is called with the mean loss of each epoch.
    """
    from safetensors.numpy import save

    recipe = recipe or NetworkRecipe()
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    network = Network(recipe)
    n_steps = recipe.epochs * -(-len(gluon) // recipe.batch)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, n_steps, pct_start=0.1)
    batches = _Batches(constituents, jets, gluon, weight / weight.mean(), recipe.batch)
    for _ in range(recipe.epochs):
        losses = []
        for values, present, of_jets, target, weights in batches.shuffled(random):
            logits = network(values, present, of_jets)
            loss = (nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * weights).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        progress(float(np.mean(losses)))
    named = {name: np.ascontiguousarray(value.detach().numpy()) for name, value in network.state_dict().items()}
    named |= {"heads": np.array([recipe.heads], np.int32), "blocks": np.array([recipe.blocks], np.int32)}
    card = {"seed": seed, "jets": len(gluon), **asdict(recipe)}
    # One entry only: those of several would be written in a random order.
    payload = save(named, {"about": f"tagger of constituents, {MARK}; training: {json.dumps(card)}"})
    write_whole(output, lambda part: part.write_bytes(payload))


class _Batches:
    """Batches of jets with padded constituents, of jets with about as many constituents."""

    def __init__(
        self, constituents: JetConstituents, jets: ndarray, gluon: ndarray, weight: ndarray, size: int
    ) -> None:
        self._features = torch.from_numpy(constituent_features(constituents))
        self._offset, self._counts = constituents.offset, np.diff(constituents.offset)
        columns = (jet_features(jets), gluon.astype(np.float32), weight.astype(np.float32))
        self._of_jets = [torch.from_numpy(column) for column in columns]
        self._size = size

    def shuffled(self, random: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        """All jets once, in a random order: constituents, which are present, and features, labels, weights of jets."""
        order = random.permutation(len(self._counts))
        pieces = []
        for start in range(0, len(order), 16 * self._size):  # jets of about the same size share a batch: less padding
            some = order[start : start + 16 * self._size]
            some = some[np.argsort(self._counts[some], kind="stable")]
            pieces += [some[k : k + self._size] for k in range(0, len(some), self._size)]
        for number in random.permutation(len(pieces)):
            chosen = pieces[number]
            position = np.arange(max(1, self._counts[chosen].max()))
            present = torch.from_numpy(position < self._counts[chosen, None])
            rows = torch.from_numpy(np.minimum(self._offset[chosen, None] + position, len(self._features) - 1))
            values = self._features[rows]
            angle = torch.from_numpy(random.uniform(0, 2 * np.pi, (len(chosen), 1)).astype(np.float32))
            sine, cosine = torch.sin(angle), torch.cos(angle)
            side = torch.from_numpy(random.choice(np.array([-1, 1], np.float32), (len(chosen), 1)))
            eta, phi = values[:, :, 0].clone(), values[:, :, 1].clone()
            values[:, :, 0], values[:, :, 1] = cosine * eta - sine * phi, side * (sine * eta + cosine * phi)
            index = torch.from_numpy(chosen)
            yield values, present, *(column[index] for column in self._of_jets)
