"""A network that tells gluon jets from quark jets: a transformer over the constituents of a jet, in numpy.

Each constituent is embedded by two layers. Blocks of self-attention follow (A. Vaswani et al., arXiv:1706.03762), with
layer normalisation first. The sum over the constituents describes the jet. Two layers make a score of this sum and of
the jet's pT and \\|eta\\|. Without blocks it is a particle flow network (P. Komiske, E. Metodiev, J. Thaler, JHEP 01
(2019) 121). The weights are those of `beampipe.jets.network_training`.

The score of a jet depends on no other jet, not even in its last bit: each product of matrices is one of the jet alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.errors import FileError
from beampipe.jets.substructure import JetConstituents

CONSTITUENT_FEATURES: Final = ("d_eta", "d_phi", "distance", "log_pt", "log_share", "charged")
"""Features of a constituent: relative to the jet's axis; pT in GeV; its share of the pT of all constituents."""

_CENTRE: Final = np.array([0.0, 0.0, 0.1, 1.5, -4.5, 0.5], np.float32)
_WIDTH: Final = np.array([0.1, 0.1, 0.1, 1.5, 1.5, 0.5], np.float32)

POOLED: Final = np.float32(1 / 16)
"""Factor on the sum over the constituents."""

_PADDED: Final = 16
"""Constituents of a jet are padded to a multiple of this number."""

_JETS: Final = 64
"""Jets that are computed at a time."""


def constituent_features(constituents: JetConstituents) -> Float32[ndarray, "n 6"]:
    """`CONSTITUENT_FEATURES` of all constituents, whose eta and phi are relative to the jet's axis; about -1 to 1."""
    owner = np.repeat(np.arange(len(constituents)), np.diff(constituents.offset))
    total = np.bincount(owner, constituents.pt, len(constituents))
    columns = (
        constituents.eta,
        constituents.phi,
        np.hypot(constituents.eta, constituents.phi),
        np.log(constituents.pt),
        np.log(constituents.pt / total[owner]),
        constituents.charged,
    )
    return (np.stack([column.astype(np.float32) for column in columns], axis=1) - _CENTRE) / _WIDTH


def jet_features(jets: Float32[ndarray, "m 2"]) -> Float32[ndarray, "m 2"]:
    """Log(pT) and \\|eta\\| of jets, given pT [GeV] and \\|eta\\|; about -1 to 1."""
    return np.stack([np.log(jets[:, 0] / np.float32(1000)), jets[:, 1] - 1], axis=1)


class JetNetwork:
    """A trained network.

    Args:
        path: safetensors file of its weights.

    Attributes:
        weights: its weights by name.

    Raises:
        FileError: the file is missing, damaged, or holds other weights.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            self.weights: Mapping[str, Any] = load_file(path)
            self._heads = int(self.weights["heads"][0])
            self._blocks = int(self.weights["blocks"][0])
            self._width = len(self.weights["embed.2.bias"])
            features = np.zeros((1, len(CONSTITUENT_FEATURES)), np.float32)
            self.scores(self.describe(features, np.ones(1, np.int64)), np.ones((1, 2), np.float32))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise FileError(
                f"{path}: got no tagger of constituents ({error}), expected a file of: beampipe calibration"
                f" train-tagger -o {path.name}",
                path=path,
            ) from error

    def describe(self, features: Float32[ndarray, "n 6"], counts: Int64[ndarray, " m"]) -> Float32[ndarray, "m d"]:
        """The description of each jet by its constituents, which does not depend on the jet's calibrated pT.

        Args:
            features: `CONSTITUENT_FEATURES` of the constituents, jet by jet.
            counts: number of constituents of each jet.
        """
        first = np.cumsum(counts) - counts
        padded = -(-counts // _PADDED) * _PADDED
        out = np.zeros((len(counts), self._width), np.float32)
        for size in np.unique(padded[padded > 0]).tolist():
            same, position = np.flatnonzero(padded == size), np.arange(size)
            for start in range(0, len(same), _JETS):
                jets = same[start : start + _JETS]
                rows = np.minimum(first[jets, None] + position, len(features) - 1)
                out[jets] = self._described(features[rows], position < counts[jets, None])
        return out

    def scores(self, described: Float32[ndarray, "m d"], jets: Float32[ndarray, "m 2"]) -> Float32[ndarray, " m"]:
        """Probability that each jet is a gluon's.

        Args:
            described: description of each jet.
            jets: pT [GeV] and \\|eta\\| of each jet.
        """
        values = np.concatenate([described, jet_features(jets)], axis=1)[:, None]
        logits = self._linear("head.2", np.maximum(self._linear("head.0", values), 0))[:, 0, 0]
        probability: ndarray = 1 / (1 + np.exp(-logits))
        return probability

    def _described(self, values: Float32[ndarray, "j n 6"], present: ndarray) -> Float32[ndarray, "j d"]:
        """Descriptions of the jets of a block, given features of constituents and which of them are present."""
        x = self._linear("embed.2", np.maximum(self._linear("embed.0", values), 0))
        n_jets, n, width = x.shape
        hidden = np.where(present, np.float32(0), np.float32(-1e9))[:, None, None, :]
        for number in range(self._blocks):
            name = f"block.{number}"
            mixed = self._linear(f"{name}.mix", self._normalised(f"{name}.norm1", x))
            query, key, value = mixed.reshape(n_jets, n, 3, self._heads, -1).transpose(2, 0, 3, 1, 4)
            weight = query @ key.transpose(0, 1, 3, 2) * np.float32((width / self._heads) ** -0.5) + hidden
            weight = np.exp(weight - weight.max(axis=-1, keepdims=True))
            weight /= weight.sum(axis=-1, keepdims=True)
            x = x + self._linear(f"{name}.join", (weight @ value).transpose(0, 2, 1, 3).reshape(x.shape))
            inner = np.maximum(self._linear(f"{name}.inner", self._normalised(f"{name}.norm2", x)), 0)
            x = x + self._linear(f"{name}.outer", inner)
        summed: ndarray = (np.maximum(x, 0) * present[:, :, None]).sum(axis=1) * POOLED
        return summed

    def _linear(self, name: str, x: ndarray) -> ndarray:
        """One layer, as one product of matrices for each jet."""
        out: ndarray = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return out

    def _normalised(self, name: str, x: ndarray) -> ndarray:
        """Layer normalisation."""
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-5))
        out: ndarray = x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return out
