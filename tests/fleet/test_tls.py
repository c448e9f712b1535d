"""A gateway with TLS: whose certificate it takes, and how its own is changed while clients ask."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.fleet.certificates import certificate_expiry, make_authority, make_client, make_server
from beampipe.triton import ModelClient
from tests.fleet.conftest import RunningFleet, until

ASKED = {"X": np.array([0, 1], np.float32)}


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an authority, a gateway's certificate and a client's."""
    folder = tmp_path_factory.mktemp("papers")
    make_authority(folder)
    make_server(folder, ["127.0.0.1", "localhost"])
    make_client(folder, "alice")
    return folder


@pytest.fixture(scope="module")
def secured(single: RunningFleet, papers: Path) -> Iterator[RunningFleet]:
    """A fleet that asks who comes."""
    tls = f'[gateway.tls]\ncertificate = "{papers}/gateway.pem"\nclient_ca = "{papers}/ca.pem"\n'
    with single.configured(tls) as configured:
        yield configured


def ask(fleet: RunningFleet, scheme: str, roots: Path, certificate: Path | None) -> list[float]:
    url = f"{scheme}://127.0.0.1:{fleet.port}"
    with ModelClient(url, "one", tls=roots, certificate=certificate, timeout=3.0, retries=0) as client:
        return list(client.infer(ASKED)["Y"])


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_client_with_a_certificate_is_let_in(secured: RunningFleet, papers: Path, scheme: str) -> None:
    assert ask(secured, scheme, papers / "ca.pem", papers / "alice.pem") == [0, 2]


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize("whose", ["none", "foreign", "expired", "server"])
def test_every_other_client_is_refused(
    secured: RunningFleet, papers: Path, scheme: str, whose: str, tmp_path: Path
) -> None:
    certificate: Path | None = None
    if whose == "foreign":
        make_authority(tmp_path)
        certificate = make_client(tmp_path, "mallory")
    elif whose == "expired":
        certificate = make_client(papers, "late", days=0)
    elif whose == "server":  # made for a server, not for a client
        certificate = papers / "gateway.pem"
    with pytest.raises(BeampipeError):
        ask(secured, scheme, papers / "ca.pem", certificate)


def serial(fleet: RunningFleet, papers: Path) -> str:
    """Serial number of the certificate that the gateway shows now."""
    context = ssl.create_default_context(cafile=papers / "ca.pem")
    context.load_cert_chain(papers / "alice.pem")
    with (
        socket.create_connection(("127.0.0.1", fleet.port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        shown = connection.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


def test_a_certificate_is_changed_while_clients_ask(secured: RunningFleet, papers: Path) -> None:
    with ModelClient(
        f"grpcs://127.0.0.1:{secured.port}", "one", tls=papers / "ca.pem", certificate=papers / "alice.pem", retries=0
    ) as client:
        for _ in range(3):
            before = serial(secured, papers)
            make_server(papers, ["127.0.0.1", "localhost"])
            until(lambda before=before: serial(secured, papers) != before)  # type: ignore[misc]
            assert list(client.infer(ASKED)["Y"]) == [0, 2]
        good = (papers / "gateway.pem").read_bytes()
        before, output = serial(secured, papers), len(secured.reconciler.incidents)
        (papers / "gateway.pem").write_text("no certificate\n")
        until(lambda: any("goes on with what it had" in text for _, text in secured.reconciler.incidents[output:]))
        assert serial(secured, papers) == before
        (papers / "gateway.pem").write_bytes(good)
        assert list(client.infer(ASKED)["Y"]) == [0, 2]


def test_certificates_are_for_their_user_alone_and_end(papers: Path, tmp_path: Path) -> None:
    for name in ("ca-key", "gateway", "alice"):
        assert (papers / f"{name}.pem").stat().st_mode & 0o077 == 0
    assert certificate_expiry(papers / "gateway.pem") < certificate_expiry(papers / "ca.pem")
    with pytest.raises(ConfigError, match="is there"):
        make_authority(papers)
    with pytest.raises(FileError, match="beampipe fleet certificate"):
        make_server(tmp_path, ["localhost"])
    with pytest.raises(ConfigError, match="hosts"):
        make_server(papers, [])
