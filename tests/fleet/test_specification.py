"""The specification: what is read, what is refused with a sentence, its examples, and its file of tokens."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError
from beampipe.fleet import Fleet, read_fleet
from beampipe.fleet.cli import app
from beampipe.fleet.run_folder import RunFolder
from beampipe.fleet.security import add_token, read_tokens, revoke_token
from beampipe.fleet.server import FleetServerSettings, fleet_server_settings, read_settings, write_settings
from beampipe.triton.server.launch import CheckSettings

LEAST = 'repository = "models"\n[servers.cpu]\n'


def read(folder: Path, text: str) -> Fleet:
    path = folder / "fleet.toml"
    path.write_text(text)
    return read_fleet(path)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    fleet = read(tmp_path, LEAST + '[gateway]\n[gateway.tls]\ncertificate = "tls.pem"\n')
    assert fleet.repository == tmp_path / "models"
    assert fleet.gateway.tls is not None
    assert fleet.gateway.tls.certificate == tmp_path / "tls.pem"


def test_a_group_has_places_for_twice_its_servers(tmp_path: Path) -> None:
    fleet = read(tmp_path, LEAST + "count = 3\n[servers.gpu]\ncount = 0\nmost = 4\n")
    assert [group.slots for group in fleet.servers.values()] == [6, 4]
    assert fleet.servers["cpu"].server_name(2) == "cpu-2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LEAST + "cuont = 2\n", "count"),
        (LEAST + "count = 3\nmost = 2\n", "most"),
        (LEAST + "count = 0\n", "no server"),
        ('repository = "models"\n[servers.Big]\n', "small letters"),
        (LEAST + '[gateway]\nhost = "0.0.0.0"\n', "expected both"),
        (LEAST + '[gateway]\nhost = "0.0.0.0"\n[gateway.tls]\ncertificate = "t"\n', "expected both"),
        (LEAST + "[gateway]\nrate = 5\n", "gateway.tokens"),
        (LEAST + '[gateway]\nbalancing = "leastconn"\n', "least_connections"),
        (LEAST + '[scaling]\ngroup = "gpu"\n', "scaling.group"),
        (LEAST + '[scaling]\ngroup = "cpu"\nleast = 9\n', "scaling.least: got 9"),
        (LEAST + "[gateway]\nport = 0\n", "gateway.port: got 0, expected 1 to 65535"),
        (LEAST + "[gateway]\nport = 65536\n", "gateway.port"),
        (LEAST + "[monitoring]\npage_port = -1\n", "monitoring.page_port: got -1, expected 0 to 65535"),
        (LEAST + "[monitoring]\npage_port = 8000\n", "page_port: got 8000, that of gateway.port too"),
        (LEAST + "[gateway.athena]\nport = 8000\n", "athena.port: got 8000, that of gateway.port too"),
        (LEAST + '[gateway.athena]\nnetworks = ["10.20.0.0/33"]\n', "a network such as"),
        (LEAST + "[monitoring.objective]\nshare = 99\n", "a share from 0.95"),
        (LEAST + "[monitoring.objective]\nwithin = 500\n", "is it in ms?"),
        (LEAST + "[checks.one]\n", "neither program nor request"),
        (LEAST + '[slurm]\ntime = "4 hours"\n', "HH:MM:SS"),
        (LEAST + '[kubernetes]\nstorage = "cvmfs"\n', "cvmfs-pvc"),
        (LEAST + '[kubernetes]\nstorage = "nfs"\n', "nfs_server"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BeampipeError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_another_machine_may_ask_with_certificate_and_token(tmp_path: Path) -> None:
    text = LEAST + '[gateway]\nhost = "0.0.0.0"\ntokens = "tokens"\n[gateway.tls]\ncertificate = "t"\n'
    assert read(tmp_path, text).gateway.asks_who


NAMES = ("laptop", "slurm", "kubernetes")


def text_of(name: str) -> str:
    return (files("beampipe.fleet") / "examples" / f"{name}.toml").read_text(encoding="utf-8")


def keys_of(kind: Any) -> Iterator[str]:
    for field in fields(kind):
        yield field.name
        hint = get_type_hints(kind)[field.name]
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and is_dataclass(part):
                yield from keys_of(part)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_a_specification(name: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(text_of(name))
    read_fleet(path)


def test_the_command_in_the_example_for_kubernetes_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleet.toml").write_text(text_of("kubernetes"))
    (command,) = re.findall(r"^#     beampipe fleet (.*)$", text_of("kubernetes"), re.M)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, done.output
    assert (tmp_path / "deploy/manifests/servers-gpu.yaml").exists()


def test_what_is_commented_out_would_fit_too(tmp_path: Path) -> None:
    """Every key that is shown with its usual value is one, and has a value that is taken."""
    path = tmp_path / "fleet.toml"
    path.write_text(re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", text_of("laptop")))
    fleet = read_fleet(path)
    assert fleet.gateway.athena is not None
    assert fleet.gateway.tls is not None
    assert fleet.scaling is not None


def test_every_key_is_in_an_example() -> None:
    shown = "\n".join(text_of(name) for name in NAMES)
    missing = [key for key in keys_of(Fleet) if not re.search(rf"(?m)^(# )?(\[[a-z.]*)?{key}\b", shown)]
    assert [key for key in missing if key != "name"] == []


def test_a_token_is_kept_as_its_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = add_token(path, "alice")
    other = add_token(path, "bob")
    assert token not in path.read_text()
    assert read_tokens(path) == {
        hashlib.sha256(token.encode()).hexdigest(): "alice",
        hashlib.sha256(other.encode()).hexdigest(): "bob",
    }
    assert path.stat().st_mode & 0o077 == 0
    revoke_token(path, "alice")
    assert list(read_tokens(path).values()) == ["bob"]


def test_tokens_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    with pytest.raises(FileError, match="token add"):
        read_tokens(path)
    add_token(path, "alice")
    with pytest.raises(ConfigError, match="second token"):
        add_token(path, "alice")
    with pytest.raises(ConfigError, match="letters"):
        add_token(path, "alice smith")
    with pytest.raises(UnknownNameError, match="alice"):
        revoke_token(path, "alcie")
    path.write_text("alice secret\n")
    with pytest.raises(FileError, match="line 1"):
        read_tokens(path)


def test_the_checks_of_models_reach_the_servers(tmp_path: Path) -> None:
    fleet = read(tmp_path, LEAST + '[checks.one]\nprogram = ["sh", "-c", "true"]\nrequest = "one.safetensors"\n')
    settings = fleet_server_settings(fleet, fleet.servers["cpu"], RunFolder(tmp_path), ("0", tmp_path), "cpu-0")
    write_settings(tmp_path / "cpu-0.json", settings)
    checks = read_settings(FleetServerSettings, tmp_path / "cpu-0.json").triton.checks
    assert dict(checks) == {"one": CheckSettings(("sh", "-c", "true"), tmp_path / "one.safetensors")}
