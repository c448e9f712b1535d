"""Addresses of servers, credentials, and the span that a request belongs to."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from opentelemetry import context, trace

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.triton.client.endpoint import Endpoint, Security, parse_endpoint
from beampipe.triton.client.transports import current_parent, traced


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("grpc://node7:8001", Endpoint("grpc", False, "node7", 8001)),
        ("grpcs://node7:443", Endpoint("grpc", True, "node7", 443)),
        ("http://[::1]:8000/", Endpoint("http", False, "::1", 8000)),
        ("https://gate.cern.ch:443/triton/", Endpoint("http", True, "gate.cern.ch", 443, "/triton")),
        ("localhost:8001", Endpoint("grpc", False, "localhost", 8001)),
    ],
)
def test_a_url_names_an_endpoint(url: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(url) == endpoint
    assert parse_endpoint(str(endpoint)) == endpoint


def test_a_bare_address_speaks_what_is_asked_for() -> None:
    assert str(parse_endpoint("a:1", "http")) == "http://a:1"
    assert str(parse_endpoint("a:1", "shm", tls=True)) == "grpcs://a:1"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("[::1]", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("n1", False),
    ],
)
def test_only_loopback_is_local(host: str, local: bool) -> None:
    assert parse_endpoint(f"grpc://{host}:1").local is local


@pytest.mark.parametrize(
    "url", ["host", "grpc://host", "grpc://:1", "grpc://h:70000", "grpc://h:1/x", "grpc://u:p@h:1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_endpoint(url)


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected 'grpc' as the URL says"):
        parse_endpoint("grpc://a:1", "http")
    with pytest.raises(ConfigError, match="expected http"):
        parse_endpoint("http://a:1", tls=True)
    with pytest.raises(UnknownNameError, match=r"scheme of a URL: got 'gprc'.*did you mean 'grpc'"):
        parse_endpoint("gprc://a:1")


def test_a_token_is_a_header_and_never_printed(tmp_path: Path) -> None:
    (file := tmp_path / "token").write_text("s3cret\n")
    for security in (Security("s3cret"), Security(file)):
        assert security.headers == (("authorization", "Bearer s3cret"),)
        assert "s3cret" not in repr(security)
    assert Security().headers == ()
    with pytest.raises(ConfigError, match="line breaks") as caught:
        Security("s3cret\n")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(FileError, match="No such file"):
        Security(roots=Path("gone.pem"))


def test_a_token_stays_out_of_pickles(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stays out of pickles; give the file .*token=Path") as caught:
        pickle.dumps(Security("s3cret"))
    assert "s3cret" not in str(caught.value)
    (file := tmp_path / "token").write_text("s3cret\n")
    pickled = pickle.dumps(Security(file))
    assert b"s3cret" not in pickled
    file.write_text("newer\n")
    assert pickle.loads(pickled).headers == (("authorization", "Bearer newer"),)
    file.unlink()
    with pytest.raises(FileError, match="expected a file with a token"):
        pickle.loads(pickled)
    assert pickle.loads(pickle.dumps(Security())) == Security()


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_program_without_a_span_has_none() -> None:
    assert current_parent() is None


def test_the_span_that_the_program_names() -> None:
    other = PARENT.replace("b7", "00")
    with traced(PARENT):
        with traced(other):
            assert current_parent() == other
        assert current_parent() == PARENT
    assert current_parent() is None


def test_the_current_span_of_opentelemetry() -> None:
    span = trace.SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, False, trace.TraceFlags(1))
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))
    try:
        assert current_parent() == PARENT
        with traced(PARENT.replace("01", "00")):
            assert current_parent() != PARENT
    finally:
        context.detach(token)
    assert current_parent() is None


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        PARENT[:-1],
        f"{PARENT}-00",
        f"01{PARENT[2:]}",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        "é" * 55,
    ],
)
def test_another_form_is_refused(parent: str) -> None:
    with pytest.raises(ConfigError, match=r"traceparent: got .*expected 00-TRACE-SPAN-FLAGS"), traced(parent):
        pass
