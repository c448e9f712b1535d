from __future__ import annotations

import pytest

from beampipe import errors
from beampipe.errors import DeadlineError, InputError, ServiceError, ServiceUnavailableError, TooLargeError
from beampipe.triton.client.failures import RegionLostError, UnknownModelError, from_grpc, from_http

# Messages as Triton 2.51 sends them.
REFUSALS = [
    ("INVALID_ARGUMENT", 400, "hits: got NaN at row 3", InputError),
    ("RESOURCE_EXHAUSTED", 413, "message larger than max", TooLargeError),
    ("UNAVAILABLE", 503, "Exceeds maximum queue size", ServiceUnavailableError),
    ("INTERNAL", 500, "Stub process 'exatrkx_0_0' is not healthy.", ServiceUnavailableError),
    ("NOT_FOUND", 404, "Request for unknown model: 'exatrkx' has no available versions", ServiceUnavailableError),
    ("NOT_FOUND", 404, "Request for unknown model: 'nope' is not found", UnknownModelError),
    ("INVALID_ARGUMENT", 404, "Unable to find shared memory region: 'x'", RegionLostError),
    ("UNAUTHENTICATED", 401, "unauthenticated", ServiceError),
    ("DEADLINE_EXCEEDED", 504, "Deadline Exceeded", DeadlineError),
    ("INTERNAL", 500, "internal error of the model", ServiceError),
    ("UNKNOWN", 302, "moved", ServiceError),
]


@pytest.mark.parametrize(("code", "status", "message", "kind"), REFUSALS)
def test_a_refusal_says_whose_fault_it_is(code: str, status: int, message: str, kind: type[Exception]) -> None:
    for error in (from_grpc("grpc://a:1", code, message), from_http("http://a:1", status, message)):
        assert type(error) is kind
        assert message in str(error)


def test_what_may_be_asked_again() -> None:
    assert issubclass(RegionLostError, ServiceUnavailableError)
    assert not issubclass(UnknownModelError, ServiceUnavailableError)
    assert not issubclass(ServiceError, errors.InputError)
    assert str(from_grpc("grpc://a:1", "UNKNOWN", None)) == "grpc://a:1: UNKNOWN (UNKNOWN)"
