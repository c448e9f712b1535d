"""The same model in numpy: it declares the tensors, and its answer to the example is what the C++ must reproduce."""

from collections.abc import Sequence

import numpy as np

from beampipe.errors import InputError
from beampipe.triton import Instance, ModelAnswer, ModelRequest, TensorSpec

ETA_MAX = 5.0


class Towers:
    """The energy of each tower of a grid in eta and phi."""

    inputs = (TensorSpec("CELLS", "FP32", np.float32, (-1, 3)),)  # eta, phi [rad], energy [GeV]
    outputs = (TensorSpec("TOWERS", "FP64", np.float64, (-1, -1)),)

    def __init__(self, instance: Instance) -> None:
        self.shape = int(instance.parameters["N_ETA"]), int(instance.parameters["N_PHI"])

    def run(self, requests: Sequence[ModelRequest]) -> list[ModelAnswer]:
        """The towers of each request."""
        return [{"TOWERS": self.towers(request["CELLS"].astype(np.float64))} for request in requests]

    def towers(self, cells: np.ndarray) -> np.ndarray:
        """Energies added up in the order of the cells, as the C++ does, so that the sums are rounded alike."""
        eta, phi, energy = cells.T
        if not ((abs(eta) < ETA_MAX) & (abs(phi) <= np.float32(np.pi)) & np.isfinite(energy)).all():
            raise InputError("CELLS: got a cell out of range, expected |eta| < 5, |phi| <= pi and a finite energy")
        rows = ((eta + ETA_MAX) / (2 * ETA_MAX) * self.shape[0]).astype(np.int64)
        columns = ((phi + np.pi) / (2 * np.pi) * self.shape[1]).astype(np.int64) % self.shape[1]
        towers = np.zeros(self.shape)
        np.add.at(towers, (rows, columns), energy)
        return towers

    @classmethod
    def example(cls) -> ModelRequest:
        """A thousand cells."""
        random = np.random.default_rng(1)
        return {"CELLS": random.uniform([-ETA_MAX, -3.14, 0], [ETA_MAX, 3.14, 100], (1000, 3)).astype(np.float32)}
