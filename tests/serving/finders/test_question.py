from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import InputError, ServiceError
from beampipe.events import Hits, Tracks, scale_named
from beampipe.serving.contract import FEATURES, GEOMETRY_ID, LABELS, LOCAL, STAGES, VARIANCE
from beampipe.serving.finders import TrackingRequest, TritonTrackFinder, tracking_contract
from beampipe.triton.client import FakeTransport
from beampipe.triton.client.signature import signature_of
from tests.serving.finders.events import hits
from tests.triton.client.servers import CONFIG

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
MORE = [
    {"name": spec.name, "data_type": f"TYPE_{spec.triton_type}", "dims": list(spec.dims)}
    for spec in (GEOMETRY_ID, LOCAL, VARIANCE)
]
ACTS = {**CONFIG, "input": [*CONFIG["input"], *MORE]}


def test_millimetres_go_out_bit_for_bit() -> None:
    event, signature = hits(9), signature_of(CONFIG, "s")
    question = TrackingRequest(event, stages=True)
    assert question.inputs(signature)["FEATURES"] is event.position
    assert question.outputs(signature) == {"LABELS": (9,)}
    (tensor,) = signature.request(question.inputs(signature), question.outputs(signature)).inputs
    assert tensor.array is event.position


def test_scale_batch_axis_and_stages_come_from_the_configuration() -> None:
    event = hits(4)
    seen = []

    def answer(arrays: Mapping[str, ndarray]) -> dict[str, ndarray]:
        seen.append(arrays["FEATURES"])
        return {"LABELS": np.arange(4), "STAGES": np.array([0.5, 0.25, 4.0])}

    parameters = {key: value["string_value"] for key, value in STAGED["parameters"].items()} | {"MAGNETIC_FIELD": "3"}

    def found(stages: bool) -> Tracks:
        transport = FakeTransport(answer, [FEATURES], [LABELS, STAGES], batched=True, parameters=parameters)
        with TritonTrackFinder("fake:1", transport=transport, stages=stages) as finder:
            return finder.find(event)

    tracks = found(stages=True)
    np.testing.assert_array_equal(seen[0], scale_named("exatrkx").from_mm(event.position))
    assert tracks.track_id.tolist() == [0, 1, 2, 3]
    assert tracks.seconds == {"embedding": 0.5, "gnn": 0.25}
    assert tracks.counts == {"hits": 4}
    assert found(stages=False).seconds == {}
    assert (tracks.magnetic_field, found(stages=False).magnetic_field) == (3.0, 3.0)
    signature = signature_of(STAGED, "s")
    assert list(TrackingRequest(event).outputs(signature)) == ["LABELS"]
    assert TrackingRequest(event, stages=True).outputs(signature) == {"LABELS": (4,), "STAGES": (3,)}
    (tensor,) = signature.request(TrackingRequest(event).inputs(signature), {"LABELS": (4,)}).inputs
    assert tensor.array.shape == (1, 4, 3)


def test_hits_that_are_no_columns_in_a_row_are_made_so() -> None:
    position = np.asfortranarray(hits(6).position)
    signature = signature_of(CONFIG, "s")
    (tensor,) = signature.request(TrackingRequest(Hits(position)).inputs(signature), {}).inputs
    assert tensor.array.flags.c_contiguous
    np.testing.assert_array_equal(tensor.array, position)


def test_a_model_that_takes_more_gets_more_or_says_what_is_missing() -> None:
    signature = signature_of(ACTS, "s")
    bare = hits(3)
    with pytest.raises(InputError, match="without geometry_id"):
        TrackingRequest(bare).inputs(signature)
    pair = np.ones((3, 2), np.float32)
    full = Hits(bare.position, np.arange(3, dtype=np.uint64), pair, pair)
    assert list(TrackingRequest(full).inputs(signature)) == ["FEATURES", "GEOMETRY_ID", "LOCAL", "VARIANCE"]
    optional = {**ACTS, "input": [ACTS["input"][0], *({**tensor, "optional": True} for tensor in ACTS["input"][1:])]}
    assert list(TrackingRequest(bare).inputs(signature_of(optional, "s"))) == ["FEATURES"]


@pytest.mark.parametrize(
    "change",
    [
        {"input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [-1]}]},
        {"output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [-1]}]},
        {"input": [*CONFIG["input"], {"name": "MAGNET", "data_type": "TYPE_FP32", "dims": [-1]}]},
        {"parameters": {"FEATURE_SCALE": {"string_value": "furlong"}}},
    ],
)
def test_a_model_that_finds_no_tracks_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match="expected") as caught:
        tracking_contract(signature_of({**CONFIG, **change}, "s"))
    assert (caught.value.url, caught.value.model) == ("s", "exatrkx")


def test_the_configuration_is_read_once() -> None:
    signature = signature_of(CONFIG, "s")
    assert tracking_contract(signature) is tracking_contract(signature)
    assert tracking_contract(signature_of(CONFIG, "s")) is not tracking_contract(signature)
