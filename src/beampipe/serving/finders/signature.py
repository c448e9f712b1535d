"""What one model takes and gives, as its configuration says: hits to tensors, tensors to tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import InputError, ServiceError
from beampipe.serving.contract import (
    COUNT_NAMES,
    FEATURE_SCALE,
    FEATURES,
    GEOMETRY_ID,
    LABELS,
    LOCAL,
    STAGE_NAMES,
    STAGES,
    VARIANCE,
)
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.formats.scale import Scale, scale_named
from beampipe.triton.client.wire import Output, Request, Tensor
from beampipe.triton.model.contract import TensorSpec

__all__ = ["Signature", "signature_of"]

_INPUTS: Final = {spec.name: spec for spec in (FEATURES, GEOMETRY_ID, LOCAL, VARIANCE)}


@dataclass(frozen=True)
class Signature:
    """The contract of one model on one server.

    Attributes:
        model: its name.
        batched: each tensor has one more axis, of length 1, in front.
        scale: what one unit of FEATURES means.
        inputs: what it takes.
        optional: names of inputs that may be left out.
        stage_names: of the first values of STAGES [s]; empty if it has no such output.
        count_names: of the values after them.
    """

    model: str
    batched: bool
    scale: Scale
    inputs: tuple[TensorSpec, ...]
    optional: frozenset[str]
    stage_names: tuple[str, ...]
    count_names: tuple[str, ...]

    @property
    def has_stages(self) -> bool:
        """The model can say how long its stages took."""
        return bool(self.stage_names or self.count_names)

    def request(self, hits: Hits, *, stages: bool) -> Request:
        """What to send.

        Raises:
            InputError: the model takes more than the hits have.
        """
        inputs = []
        for spec in self.inputs:
            array = self._array(spec, hits)
            if array is not None:
                array = np.ascontiguousarray(array)
                inputs.append(Tensor(spec, array[None] if self.batched else array))
        return Request(self.model, tuple(inputs), (LABELS, STAGES) if stages and self.has_stages else (LABELS,))

    def tracks(self, answer: Mapping[str, Output], n_hits: int, shared: ndarray | None, where: str) -> Tracks:
        """The checked answer.

        Args:
            answer: what came.
            n_hits: how many labels are due.
            shared: (n_hits,) int64 labels in shared memory, if they are there.
            where: the server, for messages.

        Raises:
            ServiceError: a tensor is missing, or not of the type, shape or size that is due.
        """
        due = (1, n_hits) if self.batched else (n_hits,)
        labels = self._checked(answer, LABELS, due, shared, where)
        if STAGES.name not in answer:
            return Tracks(labels, {}, {"hits": n_hits})
        n_stages, n_counts = len(self.stage_names), len(self.count_names)
        due = (1, n_stages + n_counts) if self.batched else (n_stages + n_counts,)
        values = self._checked(answer, STAGES, due, None, where).tolist()
        seconds = dict(zip(self.stage_names, values[:n_stages], strict=True))
        counts = {name: int(value) for name, value in zip(self.count_names, values[n_stages:], strict=True)}
        return Tracks(labels, seconds, counts)

    def _array(self, spec: TensorSpec, hits: Hits) -> ndarray | None:
        if spec is FEATURES:
            # No arithmetic for mm: what the server sees is what is here, bit for bit.
            return hits.position if self.scale.name == "mm" else self.scale.from_mm(hits.position)
        array: ndarray | None = getattr(hits, spec.name.lower())
        if array is None and spec.name not in self.optional:
            raise InputError(
                f"{self.model}: got hits without {spec.name.lower()}, which this model takes besides positions;"
                " read the events from ACTS or Parquet, or ask another model"
            )
        return array

    def _checked(
        self, answer: Mapping[str, Output], spec: TensorSpec, due: tuple[int, ...], shared: ndarray | None, where: str
    ) -> ndarray:
        output = answer.get(spec.name)
        if output is None:
            raise ServiceError(f"{where}: {self.model} gave {sorted(answer)}, expected {spec.name}")
        if output.datatype != spec.triton_type or output.shape != due:
            raise ServiceError(
                f"{where}: {self.model} gave {spec.name} {output.datatype} {list(output.shape)},"
                f" expected {spec.triton_type} {list(due)}"
            )
        if shared is not None and output.data is None:
            return shared.copy()
        # A server can state the right shape and send nothing.
        size = 0 if output.data is None else len(output.data)
        if size != np.dtype(spec.dtype).itemsize * due[-1]:
            raise ServiceError(
                f"{where}: {self.model} gave {size} bytes of {spec.name}, expected {due[-1]} values;"
                " its backend is broken"
            )
        return np.frombuffer(output.data or b"", spec.dtype).copy()


def signature_of(config: Mapping[str, Any], where: str) -> Signature:
    """Read a model's configuration.

    Raises:
        ServiceError: it takes or gives other tensors than a track finder does, or states an unknown scale.
    """
    model = str(config.get("name", ""))
    parameters = {key: str(value.get("string_value", "")) for key, value in config.get("parameters", {}).items()}
    inputs, outputs = config.get("input", []), {tensor["name"] for tensor in config.get("output", [])}
    optional = frozenset(tensor["name"] for tensor in inputs if tensor.get("optional"))
    unknown = {tensor["name"] for tensor in inputs} - set(_INPUTS) - optional
    if unknown or LABELS.name not in outputs or FEATURES.name not in {tensor["name"] for tensor in inputs}:
        raise ServiceError(
            f"{where}: {model} takes {sorted(tensor['name'] for tensor in inputs)} and gives {sorted(outputs)},"
            f" expected a track finder: {FEATURES.name} to {LABELS.name}"
        )
    try:
        scale = scale_named(parameters.get(FEATURE_SCALE) or "mm")
    except KeyError as error:
        raise ServiceError(f"{where}: {model}: {error}; update beampipe here") from None
    staged = STAGES.name in outputs
    return Signature(
        model,
        int(config.get("max_batch_size", 0)) > 0,
        scale,
        tuple(_INPUTS[tensor["name"]] for tensor in inputs if tensor["name"] in _INPUTS),
        optional,
        _names(parameters, STAGE_NAMES) if staged else (),
        _names(parameters, COUNT_NAMES) if staged else (),
    )


def _names(parameters: Mapping[str, str], key: str) -> tuple[str, ...]:
    return tuple(name for name in parameters.get(key, "").split(",") if name)
