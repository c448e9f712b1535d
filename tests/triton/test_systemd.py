"""The systemd unit, and reports to systemd."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe.errors import ConfigError
from beampipe.triton.systemd import is_managed_by_systemd, notify, systemd_unit


@pytest.fixture(params=["a file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a manager that has started this process."""
    address = str(tmp_path / "notify") if request.param == "a file" else f"\0{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(address)
        bound.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        yield bound


def test_the_manager_is_told(manager: socket.socket) -> None:
    assert is_managed_by_systemd()
    notify(READY="1", STATUS="serves one\nWATCHDOG=1")
    assert manager.recv(1000).decode() == "READY=1\nSTATUS=serves one WATCHDOG=1"


def test_a_manager_that_does_not_listen_is_no_fault(manager: socket.socket) -> None:
    for _ in range(5000):  # its buffer is full long before
        notify(WATCHDOG="1")
    manager.close()
    notify(WATCHDOG="1")


def test_without_a_manager_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not is_managed_by_systemd()
    notify(READY="1")


COMMAND = (sys.executable, "-m", "beampipe", "serve")


def line(text: str, name: str) -> str:
    result = re.findall(rf"^{name}=(.*)$", text, re.M)
    assert len(result) == 1, text
    return str(result[0])


@pytest.mark.parametrize("for_user", [False, True])
def test_systemd_takes_it_without_a_word(tmp_path: Path, for_user: bool) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    strange = ("--repository", str(tmp_path / 'a "b" $c 50%d\\e'))
    text = systemd_unit(
        (*COMMAND, *strange), folder=tmp_path, environment={"A": "b $c %d"}, for_user=for_user, memory="50%"
    )
    (tmp_path / "beampipe.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(["--user"] if for_user else []), str(tmp_path / "beampipe.service")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_words_stay_what_they_are(tmp_path: Path) -> None:
    words = ("plain", "a b", 'c"d', "e\\f", "$g", "50%")
    text = systemd_unit(words, folder=tmp_path / "5%", environment={"H": "$i %j k"})
    assert line(text, "ExecStart") == r'plain "a b" "c\"d" "e\\f" "$$g" 50%%'
    assert line(text, "Environment") == '"H=$i %%j k"'
    assert line(text, "WorkingDirectory") == f"{tmp_path}/5%%"
    with pytest.raises(ConfigError, match="line break"):
        systemd_unit(["a\nExecStartPre=rm"], folder=tmp_path, environment={})


def test_everything_is_in_one_group_that_comes_back_for_ever(tmp_path: Path) -> None:
    text = systemd_unit(COMMAND, folder=tmp_path, environment={}, memory="8G", run_as="nobody")
    for name, value in {
        "Type": "notify",
        "Restart": "always",
        "StartLimitIntervalSec": "0",
        "KillMode": "mixed",
        "MemoryMax": "8G",
        "User": "nobody",
        "WantedBy": "multi-user.target",
    }.items():
        assert line(text, name) == value
    assert float(line(text, "WatchdogSec")) > 120, "longer than loading the models may take"


def test_the_unit_of_a_user_runs_as_that_user(tmp_path: Path) -> None:
    assert line(systemd_unit(COMMAND, folder=tmp_path, environment={}), "User") == getpass.getuser()
    text = systemd_unit(COMMAND, folder=tmp_path, environment={}, for_user=True)
    assert not re.search("^(User|ProtectSystem|MemoryMax)=", text, re.M)
    assert line(text, "WantedBy") == "default.target"
    with pytest.raises(ConfigError, match="user: got 'nobody' for a user's own manager"):
        systemd_unit(COMMAND, folder=tmp_path, environment={}, for_user=True, run_as="nobody")


@pytest.mark.parametrize("memory", ["much", "8GB", "-1G", "8G\nUser=root"])
def test_memory_is_an_amount(tmp_path: Path, memory: str) -> None:
    with pytest.raises(ConfigError, match="memory"):
        systemd_unit(COMMAND, folder=tmp_path, environment={}, memory=memory)
