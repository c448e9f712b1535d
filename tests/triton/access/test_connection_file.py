"""The secret of a server: who finds it, and who does not; arguments that no command line holds."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from beampipe.errors import ConfigError, FileError, ServiceError, UnknownNameError
from beampipe.tracking.kernels import native
from beampipe.triton import connection_file
from beampipe.triton.client.endpoint import Security, parse_endpoint
from beampipe.triton.client.shared_memory import MappedRegions
from beampipe.triton.client.transports import GrpcTransport, HttpTransport
from beampipe.triton.connection_file import (
    SECRET_VARIABLE,
    ConnectionInfo,
    find_connection,
    new_connection,
    remove_connection,
    remove_dead_connections,
    write_connection,
)
from beampipe.triton.server import access, management
from beampipe.triton.server.access import PRELOAD_LIBRARY, HiddenArguments, hide_arguments
from beampipe.triton.server.server import TritonServer

NOBODY = 65534
needs_library = pytest.mark.skipif(native() is None, reason="the package was installed without a compiler")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder of a user."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    return tmp_path / "beampipe"


@pytest.fixture
def connection(runtime: Path) -> Iterator[ConnectionInfo]:
    """A connection of this process, on ports of which no server is."""
    made = new_connection("127.0.0.1", 1, 2, 3, 2)
    write_connection(made)
    yield made
    remove_connection(made)


def test_a_connection_is_found_by_each_of_its_ports(connection: ConnectionInfo, runtime: Path) -> None:
    assert [find_connection("127.0.0.1", port, local=True) for port in (1, 2, 3)] == 3 * [connection]
    assert find_connection("127.0.0.1", 4, local=True) is None
    assert find_connection("other.example", 1, local=False) is None, "the secret is for this machine's server"
    assert runtime.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in runtime.iterdir()} == {0o600}
    assert len(connection.secret) == 64
    assert connection.secret not in repr(connection)


def test_it_is_gone_with_its_server(connection: ConnectionInfo, runtime: Path) -> None:
    remove_connection(connection)
    assert find_connection("127.0.0.1", 1, local=True) is None
    assert not list(runtime.iterdir())


def test_one_that_another_server_has_taken_stays(connection: ConnectionInfo) -> None:
    remove_connection(replace(connection, secret="0" * 64))
    assert find_connection("127.0.0.1", 1, local=True) == connection


def test_what_dead_owners_left_is_removed(connection: ConnectionInfo, runtime: Path) -> None:
    write_connection(replace(connection, http=5, started=1))
    assert find_connection("127.0.0.1", 5, local=True) is None, "another's server may be there by now"
    assert (runtime / "5.json").exists()
    remove_dead_connections()
    assert not (runtime / "5.json").exists()


def test_a_file_that_others_can_read_or_write_is_no_connection(connection: ConnectionInfo, runtime: Path) -> None:
    path = runtime / "1.json"
    text = path.read_text()
    path.unlink()
    path.write_text(text)
    path.chmod(0o644)
    assert find_connection("127.0.0.1", 1, local=True) is None
    path.unlink()
    path.symlink_to(runtime / "2.json")
    assert find_connection("127.0.0.1", 1, local=True) is None


def test_a_folder_that_others_can_write_to_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "beampipe").mkdir(mode=0o777)
    (tmp_path / "beampipe").chmod(0o777)
    monkeypatch.setattr(connection_file, "_folders", lambda: iter([tmp_path / "beampipe"]))
    with pytest.raises(ConfigError, match="no folder with mode 0700; expected a folder of this user"):
        write_connection(new_connection("127.0.0.1", 1, 2, 3, 2))


def test_another_folder_is_used_if_another_user_has_made_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Anybody can make a folder in /tmp under the name that a user's servers use."""
    squatted, own = tmp_path / "squatted", tmp_path / "own"
    squatted.mkdir(mode=0o700)
    monkeypatch.setattr(connection_file, "_folders", lambda: iter([squatted, own]))
    made = new_connection("127.0.0.1", 1, 2, 3, 2)
    lstat = Path.lstat

    def of_another_user(path: Path) -> os.stat_result:
        status = lstat(path)
        return os.stat_result((*status[:4], NOBODY, *status[5:])) if path == squatted else status

    monkeypatch.setattr(Path, "lstat", of_another_user)
    write_connection(made)
    assert not list(squatted.iterdir())
    assert find_connection("127.0.0.1", 1, local=True) == made
    monkeypatch.setattr(connection_file, "_folders", lambda: iter([squatted]))
    with pytest.raises(ConfigError, match=f"{squatted}: belongs to user {NOBODY}; expected a folder of this user"):
        write_connection(made)


def test_each_user_has_a_folder_in_tmp_and_one_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/me")
    first, second, third = connection_file._folders()
    assert (first, second) == (tmp_path / "beampipe", Path(f"/tmp/beampipe-{os.getuid()}"))
    assert third.parent == Path("/home/me")
    assert third.name.endswith(os.uname().nodename), "one for each machine that has the home folder"


def test_a_named_file_is_looked_at_first(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "secret"
    made = new_connection("10.0.0.1", 1, 2, 3, 2)
    write_connection(made, named)
    for path in runtime.iterdir():
        path.unlink()
    monkeypatch.setenv(SECRET_VARIABLE, str(named))
    assert find_connection("10.0.0.1", 1, local=False) == made
    connection_file.use_secret_file(named)
    with pytest.raises(FileError, match="got no secret, expected the file of a server"):
        connection_file.use_secret_file(tmp_path / "none")
    remove_connection(made, named)
    assert not named.exists()


def test_strangers_need_the_secret_and_we_have_it(proxied: TritonServer) -> None:
    assert management.model_states(proxied.http_url) == {"one": "READY"}
    for speaks, url in ((HttpTransport, proxied.http_url), (GrpcTransport, proxied.grpc_url)):
        endpoint = parse_endpoint(url, "http" if speaks is HttpTransport else "grpc")
        transport = speaks(endpoint, Security())
        assert transport.send(MappedRegions(), 5.0) == []
        transport.close()


def test_without_the_secret_our_client_is_refused_too(
    proxied: TritonServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connection_file, "_folders", lambda: iter([tmp_path]))
    with pytest.raises(ServiceError, match="not for everybody"):
        management.model_states(proxied.http_url)
    assert management.is_ready(proxied.http_url), "what asks a model is open"


def test_unloading_what_is_not_there_is_an_error(proxied: TritonServer) -> None:
    with pytest.raises(UnknownNameError, match=r"got 'nosuch', expected one of one"):
        management.unload_model(proxied.http_url, "nosuch")


@needs_library
def test_no_command_line_and_no_child_holds_the_secret(proxied: TritonServer) -> None:
    secret = proxied.access.connection.secret
    pids = [proxied.pid, proxied.access.proxy_pid, *(stub.pid for stub in proxied.stubs())]
    for pid in pids:
        assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert secret.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    for stub in proxied.stubs():
        environ = Path(f"/proc/{stub.pid}/environ").read_bytes()
        assert str(PRELOAD_LIBRARY).encode() not in environ
        assert b"BEAMPIPE_STACK" not in environ


LOOK = """
import json, pathlib, sys
seen = []
for path in [*pathlib.Path("/proc").glob("[0-9]*/cmdline"), *pathlib.Path("/proc").glob("[0-9]*/environ")]:
    try:
        seen.append(path.read_text(errors="replace"))
    except OSError:
        pass
for folder in map(pathlib.Path, sys.argv[1:]):
    try:
        seen += [path.read_text() for path in folder.rglob("*") if path.is_file()]
    except OSError:
        pass
print(json.dumps(seen))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@needs_library
def test_another_user_finds_the_secret_nowhere(proxied: TritonServer) -> None:
    """A look at all command lines and environments, at the server's folder and at that of its user."""
    folders = [str(proxied.log.parent), f"/tmp/beampipe-{os.getuid()}"]
    look = ["/usr/bin/python3", "-c", LOOK, *folders]
    done = subprocess.run(look, user=NOBODY, group=NOBODY, capture_output=True, check=True)
    seen = json.loads(done.stdout)
    assert any("tritonserver" in text for text in seen), "it sees the server"
    assert not any(proxied.access.connection.secret in text for text in seen)


def seen_by_a_program(hidden: HiddenArguments, *command: str) -> subprocess.CompletedProcess[str]:
    """What the program `env` sees, and what it starts."""
    environ = {**os.environ, **hidden.environ}
    return subprocess.run(["/usr/bin/env", *command], env=environ, capture_output=True, text=True, check=False)


@needs_library
def test_a_program_sees_the_lines_of_the_file(tmp_path: Path) -> None:
    hidden = hide_arguments(["--secret=a b", "", "second"], tmp_path / "arguments")
    assert hidden.command == [f"@{tmp_path / 'arguments'}"]
    assert (tmp_path / "arguments").stat().st_mode & 0o777 == 0o600
    command = ["printf", "%s|", "first", *hidden.command]
    assert seen_by_a_program(hidden, *command).stdout == "first|--secret=a b||second|"
    (tmp_path / "arguments").unlink()
    done = seen_by_a_program(hidden, *command)
    assert done.returncode == 1
    assert "cannot be read, expected" in done.stderr


@needs_library
@pytest.mark.parametrize("others", [None, "libm.so.6"])
def test_what_a_program_starts_inherits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: str | None
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    if others:
        monkeypatch.setenv("LD_PRELOAD", others)
    lines = seen_by_a_program(hide_arguments([], tmp_path / "arguments")).stdout.splitlines()
    assert [line for line in lines if "LD_PRELOAD" in line] == ([f"LD_PRELOAD={others}"] if others else [])
    assert not [line for line in lines if "BEAMPIPE_STACK" in line]


def test_without_the_library_they_stand_in_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "PRELOAD_LIBRARY", None)
    assert hide_arguments(["--a=b"], tmp_path / "arguments") == (["--a=b"], {})
    assert not (tmp_path / "arguments").exists()
