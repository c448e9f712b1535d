"""The model of the service, which Triton loads: it doubles numbers, and takes the same time for each request.

A process that the file of slow ones lists takes longer, until it is replaced.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb

from beampipe.triton.model.backend import exchange


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the parameters of config.pbtxt."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.slow_processes = Path(parameters["slow_processes"]["string_value"])
        self.seconds, self.slow_seconds = (
            float(parameters[name]["string_value"]) for name in ("seconds", "slow_seconds")
        )
        self.to_array, self.to_tensor = exchange(pb)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests."""
        responses = []
        for request in requests:
            numbers = self.to_array(pb.get_input_tensor_by_name(request, "X"))
            slow = str(os.getppid()) in self.slow_processes.read_text(encoding="ascii").split()
            time.sleep(self.slow_seconds if slow else self.seconds)
            responses.append(pb.InferenceResponse([self.to_tensor("Y", 2 * numbers)]))
        return responses
