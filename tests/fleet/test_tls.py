"""A gateway with TLS: whose certificate it takes, and how its own is changed while clients ask."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError, FileError, ServiceError
from beampipe.fleet.certificates import certificate_expiry, make_authority, make_client, make_server
from beampipe.fleet.gateway.credentials import Credentials, credentials_of
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
    shutil.copy(folder / "ca.pem", folder / "roots.pem")
    return folder


@pytest.fixture(scope="module")
def secured(single: RunningFleet, papers: Path) -> Iterator[RunningFleet]:
    """A fleet that asks who comes."""
    tls = f'[gateway.tls]\ncertificate = "{papers}/gateway.pem"\nclient_ca = "{papers}/ca.pem"\n'
    with single.configured(f'tokens = "FOLDER/tokens"\n{tls}', "alice") as configured:
        yield configured


def ask(fleet: RunningFleet, scheme: str, roots: Path, certificate: Path | None, **options: Any) -> list[float]:
    url = f"{scheme}://127.0.0.1:{fleet.port}"
    options = {"token": fleet.token, "timeout": 60.0, **options}
    with ModelClient(url, "one", tls=roots, certificate=certificate, **options) as client:
        return list(client.infer(ASKED)["Y"])


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_client_with_a_certificate_is_let_in(secured: RunningFleet, papers: Path, scheme: str) -> None:
    assert ask(secured, scheme, papers / "roots.pem", papers / "alice.pem") == [0, 2]


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize(
    ("whose", "why"),
    [
        ("none", "certificate required"),
        ("foreign", "unknown ca"),
        ("expired", "certificate expired"),
        ("server", "unsupported certificate"),
    ],
)
def test_every_other_client_is_refused_once_with_the_reason(
    secured: RunningFleet, papers: Path, scheme: str, whose: str, why: str, tmp_path: Path
) -> None:
    certificate: Path | None = None
    if whose == "foreign":
        make_authority(tmp_path)
        certificate = make_client(tmp_path, "mallory")
    elif whose == "expired":
        certificate = make_client(papers, "late", days=0)
    elif whose == "server":  # made for a server, not for a client
        certificate = papers / "gateway.pem"
    failures = list[ServiceError]()
    with pytest.raises(ServiceError) as caught:
        ask(secured, scheme, papers / "roots.pem", certificate, on_failure=failures.append)
    shown = "a client without a certificate" if certificate is None else f"the certificate {certificate}"
    assert f"the server refuses {shown} ({why})" in str(caught.value)
    assert failures == []


def serial(fleet: RunningFleet, papers: Path) -> str:
    """Serial number of the certificate that the gateway shows now."""
    context = ssl.create_default_context(cafile=papers / "roots.pem")
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
        f"grpcs://127.0.0.1:{secured.port}",
        "one",
        tls=papers / "ca.pem",
        certificate=papers / "alice.pem",
        retries=0,
        token=secured.token,
    ) as client:
        for _ in range(3):
            before = serial(secured, papers)
            make_server(papers, ["127.0.0.1", "localhost"])
            until(lambda before=before: serial(secured, papers) != before)  # type: ignore[misc]
            assert list(client.infer(ASKED)["Y"]) == [0, 2]


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def expired(path: Path) -> None:
    make_server(path.parent, ["127.0.0.1", "localhost"], days=0)


BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("gateway.pem", lambda path: path.write_text("hello"), "got no certificate"),
    ("gateway.pem", expired, "expected one that is valid now"),
    ("gateway.pem", Path.unlink, "No such file"),
    ("ca.pem", lambda path: path.write_text("hello"), "got no certificate"),
    ("tokens", lambda path: path.write_text("hello\n"), "line 1: expected SHA256 NAME"),
    ("tokens", lambda path: path.write_text(""), "got no token"),
    ("tokens", cut_off, "was cut off"),
]


@pytest.mark.parametrize(("name", "spoil", "why"), BROKEN, ids=[f"{name}: {why}" for name, _, why in BROKEN])
def test_the_last_good_copy_is_served_whatever_starts_again(
    secured: RunningFleet, papers: Path, name: str, spoil: Callable[[Path], object], why: str
) -> None:
    reconciler = secured.reconciler
    path = secured.folder / name if name == "tokens" else papers / name
    good, pid = path.read_bytes(), reconciler.gateway.pid

    def row() -> dict[str, Any]:
        return next(row for row in secured.orders.status()["gateway"]["credentials"] if row["file"] == str(path))

    def is_asked() -> bool:
        output = ask(secured, "https", papers / "roots.pem", papers / "alice.pem")
        return output == ask(secured, "grpcs", papers / "roots.pem", papers / "alice.pem") == [0, 2]

    assert row()["refused"] is None
    try:
        spoil(path)
        until(lambda: why in (row()["refused"] or ""))
        assert is_asked()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: reconciler.gateway.pid not in (pid, None) and bool(secured.orders.status()["ready"]))
        assert is_asked()
        # As a new process of the fleet does.
        assert Credentials(reconciler.fleet, reconciler.folder.path).served == reconciler.gateway.plan.fleet
        metrics = "".join(reconciler.credentials.metrics())
        assert f'beampipe_fleet_credential_refused{{file="{path}"}} 1' in metrics
    finally:
        path.touch(mode=0o600)
        path.write_bytes(good)
    until(lambda: row()["refused"] is None)
    copies = [one.copy for one in credentials_of(reconciler.fleet.gateway, reconciler.folder.path).values()]
    assert len(copies) == 3
    assert set(copies) == set((reconciler.folder.path / "credentials").iterdir()), "none of earlier specifications"
    assert all(copy.stat().st_mode & 0o077 == 0 for copy in copies)


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
