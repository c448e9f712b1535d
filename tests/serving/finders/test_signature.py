from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beampipe.errors import InputError, ServiceError
from beampipe.serving.contract import FEATURES, LABELS, STAGES
from beampipe.serving.finders.signature import signature_of
from beampipe.tracking.events import Hits
from beampipe.tracking.formats.scale import scale_named
from beampipe.triton.client.wire import Output
from tests.serving.finders.fakes import CONFIG, hits

STAGED: dict[str, Any] = {
    **CONFIG,
    "max_batch_size": 64,
    "output": [*CONFIG["output"], {"name": "STAGES", "data_type": "TYPE_FP64", "dims": [-1]}],
    "parameters": {
        "FEATURE_SCALE": {"string_value": "exatrkx"},
        "STAGE_NAMES": {"string_value": "embedding,gnn"},
        "COUNT_NAMES": {"string_value": "hits"},
    },
}
ACTS = {
    **CONFIG,
    "input": [*CONFIG["input"], *({"name": name} for name in ("GEOMETRY_ID", "LOCAL", "VARIANCE"))],
}


def test_millimetres_go_out_bit_for_bit() -> None:
    event = hits(9)
    request = signature_of(CONFIG, "s").request(event, stages=True)
    (tensor,) = request.inputs
    assert tensor.array is event.position
    assert request.outputs == (LABELS,)


def test_scale_batch_axis_and_stages_come_from_the_configuration() -> None:
    event = hits(4)
    signature = signature_of(STAGED, "s")
    request = signature.request(event, stages=True)
    (tensor,) = request.inputs
    assert tensor.array.shape == (1, 4, 3)
    np.testing.assert_array_equal(tensor.array[0], scale_named("exatrkx").from_mm(event.position))
    assert request.outputs == (LABELS, STAGES)
    assert signature.request(event, stages=False).outputs == (LABELS,)
    values = np.array([[0.5, 0.25, 4.0]])
    answer = {
        "LABELS": Output("INT64", (1, 4), np.arange(4).tobytes()),
        "STAGES": Output("FP64", (1, 3), values.tobytes()),
    }
    tracks = signature.tracks(answer, 4, None, "s")
    assert tracks.track_id.tolist() == [0, 1, 2, 3]
    assert tracks.seconds == {"embedding": 0.5, "gnn": 0.25}
    assert tracks.counts == {"hits": 4}


def test_hits_that_are_no_columns_in_a_row_are_made_so() -> None:
    position = np.asfortranarray(hits(6).position)
    (tensor,) = signature_of(CONFIG, "s").request(Hits(position), stages=False).inputs
    assert tensor.array.flags.c_contiguous
    np.testing.assert_array_equal(tensor.array, position)


def test_a_model_that_takes_more_gets_more_or_says_what_is_missing() -> None:
    signature = signature_of(ACTS, "s")
    bare = hits(3)
    with pytest.raises(InputError, match="without geometry_id"):
        signature.request(bare, stages=False)
    pair = np.ones((3, 2), np.float32)
    full = Hits(bare.position, np.arange(3, dtype=np.uint64), pair, pair)
    names = [tensor.spec.name for tensor in signature.request(full, stages=False).inputs]
    assert names == ["FEATURES", "GEOMETRY_ID", "LOCAL", "VARIANCE"]
    optional = {**ACTS, "input": [ACTS["input"][0], *({**tensor, "optional": True} for tensor in ACTS["input"][1:])]}
    (tensor,) = signature_of(optional, "s").request(bare, stages=False).inputs
    assert tensor.spec is FEATURES


@pytest.mark.parametrize(
    "change",
    [
        {"input": [{"name": "X"}]},
        {"output": [{"name": "Y"}]},
        {"input": [*CONFIG["input"], {"name": "MAGNET"}]},
        {"parameters": {"FEATURE_SCALE": {"string_value": "furlong"}}},
    ],
)
def test_a_model_that_finds_no_tracks_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match="expected"):
        signature_of({**CONFIG, **change}, "s")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, r"gave \[\], expected LABELS"),
        (Output("INT32", (2,), b"0" * 8), r"INT32 \[2\], expected INT64 \[2\]"),
        (Output("INT64", (3,), b"0" * 24), r"INT64 \[3\], expected INT64 \[2\]"),
        (Output("INT64", (1, 2), b"0" * 16), r"INT64 \[1, 2\], expected INT64 \[2\]"),
        (Output("INT64", (2,), b""), "0 bytes of LABELS, expected 2 values"),
        (Output("INT64", (2,), None), "0 bytes of LABELS, expected 2 values"),
        (Output("INT64", (2,), b"0" * 15), "15 bytes of LABELS"),
    ],
)
def test_an_answer_that_cannot_be_right_is_no_answer(output: Output | None, message: str) -> None:
    answer = {} if output is None else {"LABELS": output}
    with pytest.raises(ServiceError, match=message):
        signature_of(CONFIG, "s").tracks(answer, 2, None, "s")
