"""The tensors of one model, by its configuration; arrays are checked against it in both directions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import DtypeError, InputError, ServiceError, ShapeError, UnknownNameError
from beampipe.triton.client.codec import InferRequest, Output, Tensor
from beampipe.triton.client.shared_memory import Places, SharedRegion
from beampipe.triton.model.contract import TensorSpec, fits, triton_type

Due = Mapping[str, tuple[int, ...] | None]
"""Requested outputs with the shape that each must have; None for any that the configuration allows."""

_INTEGERS: Final = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
NUMPY_TYPES: Final[dict[str, type[np.generic]]] = {
    triton_type(np.dtype(dtype)): dtype for dtype in (np.bool_, *_INTEGERS, np.float16, np.float32, np.float64)
}
"""Element types by Triton's name; strings (BYTES) and BF16 have no fixed numpy type and are not handled."""


@dataclass(frozen=True, eq=False)
class ModelSignature:
    """The tensors and parameters of one model on one server.

    Attributes:
        model: name of the model.
        url: address of the server.
        batched: whether each tensor has one more axis, of length 1, in front on the wire; arrays never have it.
        inputs: input tensors by name.
        optional: names of inputs that may be left out.
        outputs: output tensors by name.
        parameters: parameters of the configuration, by name.
    """

    model: str
    url: str
    batched: bool
    inputs: Mapping[str, TensorSpec]
    optional: frozenset[str]
    outputs: Mapping[str, TensorSpec]
    parameters: Mapping[str, str]

    def due(self, wanted: Due) -> Due:
        """The same outputs; a shape that is not given is taken from the configuration if that is complete.

        Raises:
            UnknownNameError: the model has no such output.
        """
        if not wanted.keys() <= self.outputs.keys():
            name = min(wanted.keys() - self.outputs.keys())
            raise UnknownNameError(f"output of {self.model}", name, self.outputs)
        if None not in wanted.values():
            return wanted
        dims = {name: None if -1 in spec.dims else spec.dims for name, spec in self.outputs.items()}
        return {name: dims[name] if shape is None else shape for name, shape in wanted.items()}

    def request(self, arrays: Mapping[str, ndarray], due: Due) -> InferRequest:
        """The request for some arrays.

        Raises:
            InputError: an array is missing, or of another type or shape than the model takes.
            UnknownNameError: the model has no such input.
        """
        if len(arrays) < len(self.inputs):
            for name in self.inputs.keys() - arrays.keys() - self.optional:
                raise InputError(f"{self.model}: got no {name}, expected {self.inputs[name]}")
        tensors = []
        for name, array in arrays.items():
            spec = self.inputs.get(name)
            if spec is None:
                raise UnknownNameError(f"input of {self.model}", name, self.inputs)
            dtype = getattr(array, "dtype", None)  # a list has none
            if dtype != spec.dtype:
                expected = f"{np.dtype(spec.dtype)}, as {spec}; convert it"
                raise DtypeError(f"{self.model}: got {name} of {dtype or type(array).__name__}, expected {expected}")
            if not fits(array.shape, spec.dims):
                raise ShapeError(f"{self.model}: got {name} {list(array.shape)}, expected {spec}")
            array = np.ascontiguousarray(array)
            tensors.append(Tensor(spec, array[None] if self.batched else array))
        return InferRequest(self.model, tuple(tensors), tuple(map(self.outputs.__getitem__, due)))

    def sizes(self, due: Due) -> dict[str, int]:
        """Lengths [bytes] of the outputs of which the shape is known."""
        return {
            name: math.prod(shape) * np.dtype(self.outputs[name].dtype).itemsize
            for name, shape in due.items()
            if shape is not None
        }

    def arrays(
        self, answer: Mapping[str, Output], due: Due, region: SharedRegion | None = None, at: Places | None = None
    ) -> dict[str, ndarray]:
        """The checked answer, in memory of its own; missing arrays are left out, see `required`.

        Args:
            answer: received tensors.
            due: requested outputs.
            region: shared memory in which outputs may be, None if none was used.
            at: where in the region they are.

        Raises:
            ServiceError: a tensor is not of the type, shape or size that is due.
        """
        arrays = {}
        for name, shape in due.items():
            if name not in answer:
                continue
            output, spec = answer[name], self.outputs[name]
            expected = spec.dims if shape is None else shape
            if self.batched:
                expected = (1, *expected)
            if output.datatype != spec.triton_type or not fits(output.shape, expected):
                got = f"{spec.name} {output.datatype} {list(output.shape)}"
                raise self.refusal(f"gave {got}, expected {spec.triton_type} {list(expected)}")
            shape = output.shape[1:] if self.batched else output.shape
            if region is not None and output.data is None and at is not None and name in at:
                array = region.output(spec, shape, at)
            else:
                # A server can state the right shape and send nothing.
                size = 0 if output.data is None else len(output.data)
                values = math.prod(shape)
                if size != np.dtype(spec.dtype).itemsize * values:
                    wrong = f"{size} bytes of {spec.name}, expected {values} values"
                    raise self.refusal(f"gave {wrong}; its backend is broken")
                array = np.ndarray(shape, spec.dtype, output.data)
            arrays[name] = array.copy()
        return arrays

    def required(self, arrays: Mapping[str, ndarray], name: str) -> ndarray:
        """The array of that name.

        Raises:
            ServiceError: it is missing.
        """
        if name not in arrays:
            raise self.refusal(f"gave {sorted(arrays)}, expected {name}")
        return arrays[name]

    def refusal(self, problem: str) -> ServiceError:
        """The error about a model; the problem is what it did, such as ``gave A, expected B``."""
        return ServiceError(f"{self.url}: {self.model} {problem}", url=self.url, model=self.model)


def signature_of(config: Mapping[str, Any], url: str) -> ModelSignature:
    """Read a model's configuration, as JSON has it.

    Args:
        config: the model's configuration from the server.
        url: address of the server.

    Raises:
        ServiceError: it is no configuration, or a tensor is of a type that numpy does not have.
    """
    if "name" not in config:
        raise ServiceError(f"{url}: got {str(config)[:40]}, expected a model's configuration", url=url)
    model = str(config["name"])
    try:
        inputs, outputs = ({spec.name: spec for spec in map(_spec, config.get(key, ()))} for key in ("input", "output"))
        optional = frozenset(tensor["name"] for tensor in config.get("input", ()) if tensor.get("optional"))
        parameters = {key: str(value.get("string_value", "")) for key, value in config.get("parameters", {}).items()}
        batched = int(config.get("max_batch_size", 0)) > 0
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        message = f"{url}: got a configuration of {model!r} with {error}, expected tensors of {', '.join(NUMPY_TYPES)}"
        raise ServiceError(message, url=url, model=model) from None
    return ModelSignature(model, url, batched, inputs, optional, outputs, parameters)


def _spec(tensor: Mapping[str, Any]) -> TensorSpec:
    """One tensor of a configuration; gRPC gives its dimensions as text."""
    name = str(tensor["data_type"]).removeprefix("TYPE_")
    return TensorSpec(tensor["name"], name, NUMPY_TYPES[name], tuple(int(size) for size in tensor["dims"]))
