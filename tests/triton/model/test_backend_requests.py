"""What a client gets from the Python backend: answers, or errors that tell nothing of the server's inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import BeampipeError, CancelledError, FileError, InputError
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest
from tests.triton.model.standin import (
    CANCELLED,
    INTERNAL,
    INVALID_ARG,
    SECRET,
    Sent,
    Serve,
    Triton,
    only,
    refused,
    sent,
    sums,
)


def test_an_answer(serve: Serve) -> None:
    response = only(serve(sums).execute([sent((1, 2), (3, 4))]))
    assert response.error is None
    assert response.array("Y").tolist() == [0, 1]
    assert response.array("Z").tolist() == [3, 7]
    assert response.array("Y").dtype == np.int64


@pytest.mark.parametrize("outputs", [("Z",), ("Z", "Y"), ()])
def test_only_what_was_asked_for(serve: Serve, outputs: tuple[str, ...]) -> None:
    response = only(serve(sums).execute([sent((1, 2), outputs=outputs)]))
    assert [tensor.name for tensor in response.output_tensors] == list(outputs)


def test_a_batch_has_one_answer_each_of_its_own_length(serve: Serve) -> None:
    calls: list[int] = []

    def counted(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        calls.append(len(requests))
        return sums(instance, requests)

    requests = [sent((1, 2), batched=True), sent(batched=True), sent((1, 1), (2, 2), batched=True)]
    responses = serve(counted, max_batch_size=8).execute(requests)
    assert calls == [3]
    assert [response.array("Z").tolist() for response in responses] == [[[3]], [[]], [[2, 4]]]
    assert [response.array("Y").shape for response in responses] == [(1, 1), (1, 0), (1, 2)]


def test_without_batching_requests_run_one_by_one(serve: Serve) -> None:
    calls: list[int] = []

    def counted(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        calls.append(len(requests))
        return sums(instance, requests)

    responses = serve(counted).execute([sent((1, 2)), sent((3, 4))])
    assert calls == [1, 1]
    assert [response.array("Z").tolist() for response in responses] == [[3], [7]]


@pytest.mark.parametrize("bad", [(-1, 0), (2000, 0)], ids=["its input", "our fault"])
def test_one_bad_request_of_three_costs_no_other(serve: Serve, triton: Triton, bad: tuple[float, float]) -> None:
    requests = [sent((1, 2), batched=True), sent(bad, batched=True), sent((3, 4), batched=True)]
    responses = serve(sums, max_batch_size=8).execute(requests)
    assert [response.error is None for response in responses] == [True, False, True]
    assert responses[2].array("Z").tolist() == [[7]]
    if bad[0] < 0:
        refused(responses[1], INVALID_ARG, "negative")
        assert not triton.log
    else:
        refused(responses[1], INTERNAL, "internal error", "log")
        (logged,) = triton.log
        assert SECRET in logged
        assert "Traceback" in logged


def test_an_unreadable_request_of_a_batch_never_reaches_the_model(serve: Serve) -> None:
    calls: list[int] = []

    def counted(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        calls.append(len(requests))
        return sums(instance, requests)

    served = serve(counted, max_batch_size=8)
    responses = served.execute([Sent({}), sent((3, 4), batched=True)])
    assert calls == [1]
    refused(responses[0], INVALID_ARG, "X", "FP32")
    assert responses[1].array("Z").tolist() == [[7]]
    assert [response.error is None for response in served.execute([Sent({}), Sent({})])] == [False, False]


@pytest.mark.parametrize(
    ("array", "batch", "parts"),
    [
        (np.zeros((2, 5, 2), np.float32), 8, ["[2, 5, 2]", "one event per request"]),
        (np.zeros((5, 2), np.float32), 8, ["[5, 2]", "[1, n, ...]"]),
        (np.zeros((1, 5, 3), np.float32), 8, ["[1, 5, 3]", "[-1, 2]"]),
        (np.zeros((5, 2), np.float64), 0, ["float64", "float32"]),
        (np.zeros((5, 3), np.float32), 0, ["[5, 3]", "[-1, 2]"]),
        (np.zeros(5, np.float32), 0, ["[5]", "[-1, 2]"]),
    ],
)
def test_wrong_tensors_are_refused(serve: Serve, array: ndarray, batch: int, parts: list[str]) -> None:
    response = only(serve(sums, max_batch_size=batch).execute([Sent({"X": array})]))
    refused(response, INVALID_ARG, "X: got", "expected", *parts)


@pytest.mark.parametrize(
    ("answers", "log"),
    [
        ([], "0 answers"),
        ([{"Y": np.arange(1), "Z": np.zeros(1, np.float32)}] * 2, "2 answers"),
        ([{"Y": np.arange(1)}], "KeyError: 'Z'"),
        ([{"Y": np.arange(1, dtype=np.int32), "Z": np.zeros(1, np.float32)}], "Y: got int32"),
        ([{"Y": np.arange(1), "Z": np.zeros((1, 1), np.float32)}], "Z: got float32 [1, 1]"),
    ],
)
def test_what_the_model_gets_wrong_is_an_internal_error(
    serve: Serve, triton: Triton, answers: list[Any], log: str
) -> None:
    response = only(serve(lambda instance, requests: answers).execute([sent((1, 2))]))
    refused(response, INTERNAL, "internal error")
    (logged,) = triton.log
    assert log in logged


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("X: got it wrong"), INVALID_ARG, "X: got it wrong"),
        (CancelledError("nobody waits"), CANCELLED, "nobody waits"),
        (BeampipeError("not today"), INTERNAL, "not today"),
        (FileError(f"{SECRET}: got no such file"), INTERNAL, "internal error"),
        (MemoryError(), INTERNAL, "out of memory"),
    ],
)
@pytest.mark.parametrize("how", ["raised", "returned"])
def test_errors_by_kind(serve: Serve, error: Exception, code: str, message: str, how: str) -> None:
    def run(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        if how == "returned" and isinstance(error, BeampipeError):
            return [error]
        raise error

    refused(only(serve(run).execute([sent((1, 2))])), code, message)
