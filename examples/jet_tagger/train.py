"""Fits the jet tagger to a toy: distributions made up in the likeness of jets, of no detector and no generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy import ndarray
from safetensors.numpy import save_file


def toy_jets(n: int, seed: int) -> tuple[ndarray, ndarray]:
    """n jets (pt [GeV], |eta|, n_trk, width, c1), half of them from quarks, and which those are."""
    random = np.random.default_rng(seed)
    quark = random.random(n) < 0.5
    pt = random.uniform(500, 2000, n)
    mean = 4.5 * np.log(pt / 20) * np.where(quark, 1, 1.5)  # gluons radiate more
    n_trk = random.poisson(mean * random.lognormal(0, 0.3, n))
    width = random.lognormal(np.log(np.where(quark, 0.03, 0.04) * np.sqrt(500 / pt)), 0.6)
    c1 = random.normal(np.where(quark, 0.20, 0.23), 0.05)
    jets = np.column_stack([pt, random.uniform(0, 2.1, n), n_trk, width, c1])
    return jets.astype(np.float32), quark


def fit(jets: ndarray, quark: ndarray) -> dict[str, ndarray]:
    """Logistic regression on standardised features, ln pt in place of pt, by Newton's method."""
    features = np.column_stack([np.log(jets[:, 0]), jets[:, 1:]]).astype(np.float64)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    x = np.column_stack([(features - mean) / spread, np.ones(len(jets))])
    slope = np.zeros(x.shape[1])
    for _ in range(10):
        score = 1 / (1 + np.exp(-x @ slope))
        slope += np.linalg.solve(x.T @ (x * (score * (1 - score))[:, None]), x.T @ (quark - score))
    found = {"mean": mean, "spread": spread, "slope": slope[:-1], "offset": slope[-1:]}
    return {name: values.astype(np.float32) for name, values in found.items()}


if __name__ == "__main__":
    save_file(fit(*toy_jets(100_000, seed=1)), Path(__file__).with_name("jet_tagger.safetensors"))
