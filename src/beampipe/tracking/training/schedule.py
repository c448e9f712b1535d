"""What all trainings share: AdamW with a warm-up and a cosine to zero, clipping, averaged weights, a log."""

from __future__ import annotations

import copy
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["Log", "Optimiser"]

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

    def step(self, loss: Tensor) -> float:
        """One update; returns the loss."""
        for group in self._adam.param_groups:
            group["lr"] = self.learning_rate()
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._adam.step()
        self.step_number += 1
        # Averages of the first steps would remember the random start for `memory` steps.
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
        path: file to append to, or None to print only where `echo` is set.
        echo: print each line as well.
    """

    def __init__(self, path: Path | None, *, echo: bool = False) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = None if path is None else path.open("a", encoding="utf-8")
        self._echo = echo
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __call__(self, stage: str, step: int, **metrics: float) -> None:
        """Write one line, with the seconds since the log was opened."""
        record = {
            "stage": stage,
            "step": step,
            "wall_s": round(time.perf_counter() - self._wall, 1),
            "cpu_s": round(time.process_time() - self._cpu, 1),
            **{name: float(f"{value:.5g}") for name, value in metrics.items()},
        }
        line = json.dumps(record)
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()
        if self._echo:
            print(line, flush=True)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
