"""The same requests to two servers, and whether they give the same answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy import ndarray

from beampipe.errors import BeampipeError, DeadlineError, ServiceUnavailableError
from beampipe.fleet.releases.requests import Requests
from beampipe.triton.client import ModelClient

__all__ = ["AnswersOfModel", "compare_answers", "same_answer"]


@dataclass(frozen=True)
class AnswersOfModel:
    """How often two versions of a model gave the same answer.

    Attributes:
        model: name of the model.
        requests: number of requests that both were asked.
        different: number of requests to which the new version gave another answer, or none.
        outputs: names of the outputs that were compared; empty for all of them.
        example: the first difference, in words; empty if there was none.
    """

    model: str
    requests: int
    different: int
    outputs: tuple[str, ...] = ()
    example: str = ""


def compare_answers(
    old: str, new: str, requests: Requests, outputs: Mapping[str, Sequence[str]], timeout: float = 60.0
) -> tuple[AnswersOfModel, ...]:
    """Ask both servers the same, one request after the other.

    An answer is the same if every array has the same type, shape and bytes. Two refusals of the same kind are the
    same, too.

    Args:
        old: URL of the server with the old version.
        new: URL of the server with the new version.
        requests: what they are asked.
        outputs: names of the outputs to compare, by name of the model; all outputs of models that are not named.
        timeout: longest wait for one answer [s].

    Raises:
        ServiceUnavailableError: the old server does not answer.
        DeadlineError: the old server does not answer in time.
    """
    return tuple(
        _compare_model(old, new, model, asked, tuple(outputs.get(model, ())), timeout)
        for model, asked in requests.items()
    )


def same_answer(
    old: Mapping[str, ndarray], new: Mapping[str, ndarray], outputs: Sequence[str] = ()
) -> tuple[bool, str]:
    """Whether two answers are the same, byte for byte; if not, where they differ.

    Args:
        old: arrays of the old version, by name of the tensor.
        new: arrays of the new version.
        outputs: names of the arrays to compare; all of the old version if there are none.
    """
    for name in outputs or old:
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            return False, f"{name}: {'new' if one is None else 'missing'}"
        if one.dtype != other.dtype or one.shape != other.shape:
            return False, f"{name}: {one.dtype} {list(one.shape)} has become {other.dtype} {list(other.shape)}"
        if one.tobytes() != other.tobytes():
            return False, f"{name}: other values"
    return True, ""


def _compare_model(
    old: str, new: str, model: str, asked: Sequence[Mapping[str, ndarray]], outputs: tuple[str, ...], timeout: float
) -> AnswersOfModel:
    different, example = 0, ""
    with (
        ModelClient(old, model, protocol="http", timeout=timeout) as before,
        ModelClient(new, model, protocol="http", timeout=timeout) as after,
    ):
        for number, request in enumerate(asked):
            same, why = _compare(before, after, request, outputs)
            different += not same
            if not same and not example:
                example = f"request {number}: {why}"
    return AnswersOfModel(model, len(asked), different, outputs, example)


def _compare(
    before: ModelClient, after: ModelClient, request: Mapping[str, ndarray], outputs: Sequence[str]
) -> tuple[bool, str]:
    one = _ask(before, request)
    if isinstance(one, ServiceUnavailableError | DeadlineError):
        raise one
    other = _ask(after, request)
    if isinstance(one, BeampipeError):
        same = type(other) is type(one)
        return same, "" if same else f"was refused ({one}), which has changed"
    if isinstance(other, BeampipeError):
        return False, str(other)
    return same_answer(one, other, outputs)


def _ask(client: ModelClient, request: Mapping[str, ndarray]) -> dict[str, ndarray] | BeampipeError:
    try:
        return client.infer(request)
    except BeampipeError as error:
        return error
