"""The specification: what is read, and what is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from beampipe.errors import BeampipeError
from beampipe.fleet import Fleet, read_fleet

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
