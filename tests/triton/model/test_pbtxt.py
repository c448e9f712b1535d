"""Protobuf's text format, against protobuf's own reader of Triton's own schema."""

from __future__ import annotations

from typing import Any

import pytest

from beampipe.triton.model.contract import Symbol
from beampipe.triton.model.repository import to_pbtxt

CONFIG = {
    "name": 'quo"ted\\ and é\n',
    "max_batch_size": 64,
    "input": [
        {"name": "X", "data_type": Symbol("TYPE_FP32"), "dims": [-1, 3], "allow_ragged_batch": True},
        {"name": "W", "data_type": Symbol("TYPE_UINT64"), "dims": [-1], "allow_ragged_batch": False},
    ],
    "instance_group": [{"count": 2, "kind": Symbol("KIND_CPU"), "gpus": []}],
    "version_policy": {"latest": {"num_versions": 1}},
    "parameters": [{"key": "A", "value": {"string_value": "$$TRITON_MODEL_DIRECTORY/w"}}],
    "dynamic_batching": {},
}


def parsed(text: str) -> Any:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_protobuf_reads_back_what_was_written() -> None:
    config = parsed(to_pbtxt(CONFIG))
    assert config.name == CONFIG["name"]
    assert config.max_batch_size == 64
    assert [list(tensor.dims) for tensor in config.input] == [[-1, 3], [-1]]
    assert [tensor.allow_ragged_batch for tensor in config.input] == [True, False]
    assert config.input[0].data_type == 11  # TYPE_FP32
    assert config.instance_group[0].count == 2
    assert config.version_policy.latest.num_versions == 1
    assert config.parameters["A"].string_value == "$$TRITON_MODEL_DIRECTORY/w"
    assert config.HasField("dynamic_batching")


def test_an_empty_list_leaves_no_trace() -> None:
    assert to_pbtxt({"gpus": []}) == ""


def test_a_symbol_has_no_quotes_and_a_string_has() -> None:
    assert to_pbtxt({"a": Symbol("TYPE_FP32"), "b": "TYPE_FP32"}) == 'a: TYPE_FP32\nb: "TYPE_FP32"\n'


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (1, "1"), (0.5, "0.5")])
def test_scalars(value: object, text: str) -> None:
    assert to_pbtxt({"a": value}) == f"a: {text}\n"
