"""A sidecar before a real gateway with TLS and tokens: what clients without either get through it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import BeampipeError, ConfigError, ServiceError
from beampipe.fleet.certificates import make_authority, make_server
from beampipe.fleet.sidecar import Sidecar, probe_gateway, sidecar_configuration
from beampipe.triton import ModelClient
from beampipe.triton.client.endpoint import Security, parse_endpoint
from tests.fleet.conftest import RunningFleet, until
from tests.fleet.opened_sidecar import listens, sidecar
from tests.triton.access.attacks import post, raw_answer, status_of

ASKED = {"X": np.array([0, 3], np.float32)}


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an authority and a gateway's certificate."""
    folder = tmp_path_factory.mktemp("papers")
    make_authority(folder)
    make_server(folder, ["localhost"])
    return folder


@pytest.fixture(scope="module")
def secured(single: RunningFleet, papers: Path) -> Iterator[RunningFleet]:
    """A fleet that asks for a token through TLS."""
    gateway = f'tokens = "FOLDER/tokens"\n[gateway.tls]\ncertificate = "{papers}/gateway.pem"\n'
    with single.configured(gateway, "worker") as configured:
        (papers / "token").write_text(configured.token + "\n")
        yield configured


def test_a_plain_client_gets_through_with_token_and_tls(secured: RunningFleet, papers: Path) -> None:
    with sidecar(secured.port, "--token-file", papers / "token", "--ca", papers / "ca.pem") as (port, process):
        with ModelClient(f"grpc://127.0.0.1:{port}", "one", retries=0) as client:
            assert client.infer(ASKED)["Y"].tolist() == [0, 6]
            large = np.zeros(1 << 20, np.float32)
            assert client.infer({"X": large})["Y"].shape == large.shape
        assert secured.token not in "".join(Path(f"/proc/{process.pid}/cmdline").read_text())
        assert status_of(raw_answer(port, post(path="/v2/models/one/infer"))) != 200
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert not listens(port)


def test_a_gateway_that_restarts_is_waited_for(secured: RunningFleet, papers: Path) -> None:
    with (
        sidecar(secured.port, "--token-file", papers / "token", "--ca", papers / "ca.pem") as (port, _),
        ModelClient(f"grpc://127.0.0.1:{port}", "one", retries=0, timeout=60.0) as client,
    ):
        client.infer(ASKED)
        secured.reconciler.gateway.stop()  # the keeper starts it again
        assert client.infer(ASKED)["Y"].tolist() == [0, 6]


def ended(port: int, *options: str | Path) -> str:
    """What a sidecar says that does not open."""
    with sidecar(port, *options) as (_, process):
        assert process.wait(60) != 0
        assert process.stdout is not None
        return process.stdout.read()


def test_it_does_not_open_where_it_would_not_be_let_in(secured: RunningFleet, papers: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("wrong")
    assert "got no token that is known" in ended(
        secured.port, "--token-file", tmp_path / "token", "--ca", papers / "ca.pem"
    )
    make_authority(tmp_path)
    assert "a certificate that is not trusted" in ended(
        secured.port, "--token-file", papers / "token", "--ca", tmp_path / "ca.pem"
    )


def test_a_foreign_certificate_is_refused_by_it_too(secured: RunningFleet, papers: Path, tmp_path: Path) -> None:
    """Were the gateway another one by the time of a request, no token would be sent to it."""
    make_authority(tmp_path)
    make_server(tmp_path, ["localhost"])
    own, theirs = (papers / "gateway.pem").read_bytes(), (tmp_path / "gateway.pem").read_bytes()
    options = ("--token-file", papers / "token", "--ca", papers / "ca.pem", "--patience", "1")
    with sidecar(secured.port, *options) as (port, _):
        address = f"grpc://127.0.0.1:{port}"
        try:
            (papers / "gateway.pem").write_bytes(theirs)
            trusted = Sidecar(parse_endpoint(f"grpcs://localhost:{secured.port}"), Security(roots=tmp_path / "ca.pem"))
            until(lambda: answer_to(trusted) == "got no token")
            with ModelClient(address, "one", retries=0, timeout=10.0) as client, pytest.raises(BeampipeError):
                client.infer(ASKED)
        finally:
            (papers / "gateway.pem").write_bytes(own)


def answer_to(sidecar: Sidecar) -> str:
    """How a gateway answers to a sidecar without a token: it trusts the gateway then."""
    try:
        probe_gateway(sidecar)
    except ServiceError as error:
        return "got no token" if "got no token that is known" in str(error) else str(error)
    return ""


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("grpcs://gateway.example.org:443", {"host": "0.0.0.0"}, "which other machines reach"),
        ("grpc://gateway.example.org:443", {}, "without TLS, expected grpcs://gateway.example.org:443"),
        ("https://gateway.example.org:443", {}, "got an address for HTTP"),
        ("grpcs://10.0.0.7:443", {}, "expected the gateway's name"),
        ("grpcs://gateway.example.org:443", {"port": 0}, "--port: got 0"),
    ],
)
def test_what_is_refused(url: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sidecar(parse_endpoint(url), Security(), **options)  # type: ignore[arg-type]


def test_a_token_is_one_word_to_haproxy_whatever_it_holds() -> None:
    text = sidecar_configuration(Sidecar(parse_endpoint("grpcs://g.example:443"), Security(token='a"b\\c$d%e f')))
    assert r'http-request set-header authorization "Bearer a\"b\\c\$d%%e f"' in text
    assert "verify required ca-file @system-ca sni str(g.example) verifyhost g.example" in text
