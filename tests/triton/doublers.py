"""Two tiny models for tests of the server, written without beampipe so that they load at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from beampipe.triton.model.canary import write_canary
from beampipe.triton.server import management

CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 0
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }} ]
instance_group [ {{ count: {count} kind: KIND_CPU }} ]
"""

DOUBLER = """
import time
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            x = np.from_dlpack(pb.get_input_tensor_by_name(request, "X"))  # as_numpy is wrong with numpy 2
            time.sleep(float(x[0]) if x.size else 0.0)
            responses.append(pb.InferenceResponse([pb.Tensor.from_dlpack("Y", 2 * x)]))
        return responses
"""
"""Doubles X, after having slept for its first value [s]."""

DYING = DOUBLER.replace(
    "time.sleep(", 'print("Signal (6) received.", flush=True) if x.size and x[0] else None; time.sleep(3600 * '
)
"""For a first value other than 0 says what a server says that has corrupted its heap, and hangs as that does."""

BROKEN = """
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("the weights are from Mars")
"""


def write_model(repository: Path, name: str, code: str = DOUBLER, count: int = 1) -> None:
    """Add a model to a repository."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CONFIG.format(name=name, count=count))
    (repository / name / "1" / "model.py").write_text(code)


def add_canary(repository: Path, name: str) -> None:
    """Give a model its canary: 0 becomes 0, at once."""
    zero = np.zeros(1, np.float32)
    write_canary(repository / name / "1", {"X": zero}, {"Y": zero})


def ask(url: str, model: str, *values: float, timeout: float = 20.0) -> tuple[int, list[float] | str]:
    """Status and doubled values, or the error."""
    tensor = {"name": "X", "datatype": "FP32", "shape": [len(values)], "data": list(values)}
    status, body = management.request(url, "POST", f"/v2/models/{model}/infer", {"inputs": [tensor]}, timeout=timeout)
    answer = json.loads(body)
    return status, answer["outputs"][0]["data"] if status == 200 else answer["error"]
