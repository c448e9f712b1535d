"""JSON Web Tokens at the gateway: whose are accepted, and changed keys."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from beampipe.errors import ConfigError, FileError, ServiceError, ServiceUnavailableError
from beampipe.fleet.security import fetch_jwks, read_jwks
from beampipe.fleet.specification import JwtSettings
from tests.fleet.conftest import RunningFleet, until

ISSUER, AUDIENCE = "https://issuer.example.org/", "tracking"
SETTINGS = f"""tokens = "FOLDER/tokens"
access_log = true
[gateway.jwt]
keys = "FOLDER/jwks.json"
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
"""
RSA, EC = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def entry(kid: str, key: Key) -> dict[str, str]:
    """The public key as in a JWKS."""
    public = key.public_key().public_numbers()
    if isinstance(public, rsa.RSAPublicNumbers):
        return {"kid": kid, "kty": "RSA", "use": "sig", "n": number(public.n), "e": number(public.e)}
    return {"kid": kid, "kty": "EC", "crv": "P-256", "x": text(public.x.to_bytes(32)), "y": text(public.y.to_bytes(32))}


def write_jwks(path: Path, **keys: Key) -> None:
    others = [{"kid": "for-encryption", "kty": "RSA", "use": "enc"}, {"kid": "secret", "kty": "oct", "k": "AAAA"}]
    path.write_text(json.dumps({"keys": [*others, *(entry(kid, key) for kid, key in keys.items())]}))


def token(
    key: Key = RSA, kid: str = "one", algorithm: str = "", header: dict[str, Any] | None = None, **changed: Any
) -> str:
    """A token with claims that are right, but for those that are changed; None leaves one out."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": int(time.time()) + 600} | changed
    claims = {name: value for name, value in claims.items() if value is not None}
    algorithm = algorithm or ("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
    header = {"typ": "JWT", "kid": kid, "alg": algorithm} | (header or {})
    signed = f"{text(json.dumps(header).encode())}.{text(json.dumps(claims).encode())}"
    if isinstance(key, rsa.RSAPrivateKey):
        return f"{signed}.{text(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{text(r.to_bytes(32) + s.to_bytes(32))}"


@pytest.fixture(scope="module")
def guarded(single: RunningFleet) -> Iterator[RunningFleet]:
    write_jwks(single.folder / "jwks.json", one=RSA, two=EC)
    with single.configured(SETTINGS, "alice") as configured:
        yield configured


def is_answered(fleet: RunningFleet, token: str, protocol: str = "grpc") -> bool:
    with fleet.client(protocol, retries=0, timeout=60.0, token=token) as client:
        try:
            return bool(client.infer({"X": np.array([0, 21], np.float32)})["Y"][1] == 42)
        except ServiceError as error:
            if "no token that is known" not in str(error):
                raise
            return False


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_tokens_of_the_issuer_are_accepted_beside_those_of_the_file(guarded: RunningFleet, protocol: str) -> None:
    issued = (token(), token(EC, "two"), token(aud=["another", AUDIENCE]), token(nbf=int(time.time()) - 60))
    for good in (*issued, guarded.token):
        assert is_answered(guarded, good, protocol)
    log = guarded.reconciler.folder.access_log
    until(lambda: {"alice", "jwt:alice"} <= {json.loads(line)["client"] for line in log.read_text().splitlines()})


def signed_by_public_key() -> str:
    """A token with the signature of HS256, for which the public key serves as the secret."""
    begin = token(algorithm="HS256").rpartition(".")[0]
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return f"{begin}.{text(hmac.digest(pem, begin.encode(), 'sha256'))}"


OTHER = rsa.generate_private_key(65537, 2048)
BAD: dict[str, Callable[[], str]] = {
    "another key": lambda: token(OTHER),
    "key of another kid": lambda: token(EC, "one"),
    "unknown kid": lambda: token(kid="three"),
    "no signature": lambda: token(algorithm="none").rpartition(".")[0] + ".",
    "changed claims": lambda: token().replace(token().split(".")[1], token(sub="root").split(".")[1]),
    "another algorithm": lambda: token(algorithm="RS512"),
    "public key as a secret": lambda: signed_by_public_key(),
    "expired": lambda: token(exp=int(time.time()) - 1),
    "no end": lambda: token(exp=None),
    "endless": lambda: token(exp=10**30),
    "not yet": lambda: token(nbf=int(time.time()) + 3600),
    "another issuer": lambda: token(iss="https://issuer.example.com/"),
    "another audience": lambda: token(aud="tracking2"),
    "no audience": lambda: token(aud=None),
    "nobody": lambda: token(sub=None),
    "an empty name": lambda: token(sub=""),
    "no token": lambda: "a.b.c",
    "a critical extension": lambda: token(header={"crit": ["exp"]}),
    "no critical extension": lambda: token(header={"crit": []}),
}


@pytest.mark.parametrize("name", BAD)
def test_others_are_refused(guarded: RunningFleet, name: str) -> None:
    assert not is_answered(guarded, BAD[name]())
    assert is_answered(guarded, token())


def test_changed_keys_are_read_again_and_broken_ones_are_not(guarded: RunningFleet) -> None:
    jwt = guarded.reconciler.fleet.gateway.jwt
    assert jwt is not None
    assert jwt.keys is not None
    write_jwks(jwt.keys, new=OTHER)
    until(lambda: is_answered(guarded, token(OTHER, "new")))
    until(lambda: not is_answered(guarded, token()))
    jwt.keys.write_text("{}")
    until(lambda: any("expected a JWKS" in text for _, text in guarded.reconciler.incidents))
    assert is_answered(guarded, token(OTHER, "new"))


def test_what_is_no_jwks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    for wrong in ("", "[]", '{"keys": [5]}', '{"keys": [{"kid": "a b", "kty": "RSA", "n": "AQAB", "e": "AQAB"}]}'):
        path.write_text(wrong)
        with pytest.raises(FileError, match="expected a JWKS"):
            read_jwks(path)
    write_jwks(path)
    with pytest.raises(FileError, match="no key for signatures"):
        read_jwks(path)
    with pytest.raises(ConfigError, match="issuer: got 'a\"b'"):
        JwtSettings('a"b', AUDIENCE, path)


@pytest.mark.parametrize(
    "url", ["http://issuer.example.org/jwks", "ftp://127.0.0.1/", "issuer.example.org/jwks", "https:"]
)
def test_keys_are_fetched_from_addresses_that_nobody_can_forge(url: str) -> None:
    with pytest.raises(ConfigError, match="expected https"):
        JwtSettings(ISSUER, AUDIENCE, url=url)
    for keys in ({}, {"keys": Path("jwks.json"), "url": "https://issuer.example.org/jwks"}):
        with pytest.raises(ConfigError, match="either keys, a file, or url"):
            JwtSettings(ISSUER, AUDIENCE, **keys)  # type: ignore[arg-type]


class Issuer:
    """An issuer that publishes its keys; ``/moved`` redirects to them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "jwks"
        keys = self.file

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                moved = self.path == "/moved"
                body = b"" if moved else keys.read_bytes()
                self.send_response(302 if moved else 200)
                self.send_header("Location", "/jwks")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    made = Issuer(tmp_path)
    yield made
    made.end()


def test_fetched_keys_follow_the_issuer_and_stay_if_it_does_not_answer(single: RunningFleet, issuer: Issuer) -> None:
    write_jwks(issuer.file, one=RSA)
    settings = SETTINGS.replace('keys = "FOLDER/jwks.json"', f'url = "{issuer.url}"\nrefresh = 0.5')
    with single.configured(settings.replace('tokens = "FOLDER/tokens"\n', "")) as fleet:
        assert is_answered(fleet, token())
        write_jwks(issuer.file, new=OTHER)
        until(lambda: is_answered(fleet, token(OTHER, "new")))
        until(lambda: not is_answered(fleet, token()))
        issuer.file.write_text("{}")
        until(lambda: "expected a JWKS" in fleet.reconciler.incidents[-1][1])
        issuer.end()
        until(lambda: "refused" in fleet.reconciler.incidents[-1][1])
        assert is_answered(fleet, token(OTHER, "new"))


def test_an_issuer_that_cannot_be_read_leaves_the_file_as_it_was(tmp_path: Path, issuer: Issuer) -> None:
    write_jwks(issuer.file, one=RSA)
    file = tmp_path / "fetched"
    fetch_jwks(issuer.url, file)
    inode = file.stat().st_ino
    fetch_jwks(issuer.url, file)
    assert file.stat().st_ino == inode, "the same keys are not written again"
    with pytest.raises(ServiceUnavailableError, match="redirection"):
        fetch_jwks(issuer.url.replace("/jwks", "/moved"), file)
    issuer.file.write_text("[]")
    with pytest.raises(FileError, match=f"{issuer.url}.*expected a JWKS"):
        fetch_jwks(issuer.url, file)
    issuer.end()
    with pytest.raises(ServiceUnavailableError, match="expected the JWKS of an issuer"):
        fetch_jwks(issuer.url, file)
    assert [key.name for key in read_jwks(file)] == ["one"]
