"""Whoever started servers is ended by a signal, tests and demos alike: nothing is left of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from beampipe.triton.engine import Engine
from tests.triton.waiting import wait_until

ROOT = Path(__file__).parents[2]
LABEL = "BEAMPIPE_TEST_OF_ENDINGS"
TEST = """
import time
from pathlib import Path
from beampipe.fleet.control import daemon
from beampipe.fleet.run_folder import RunFolder
from beampipe.triton.server.launch import ServerSettings, free_port
from beampipe.triton.server.server import TritonServer
from tests.fleet.conftest import FLEET, one_doubler

def test_it():
    folder = Path(FOLDER)
    one_doubler(folder / "models")
    specification = folder / "fleet.toml"
    specification.write_text(FLEET.format(count=1, patience=3.0, port=free_port(), gateway=""))
    server = TritonServer(ServerSettings(folder / "models"))
    server.start()
    daemon.start_fleet(specification, RunFolder(folder / "run").path)
    Path("started").touch()
    time.sleep(600)
"""


def left(label: str) -> list[str]:
    """Command lines of the living processes that have inherited a label."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{LABEL}={label}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                lines.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # ended meanwhile
            continue
    return lines


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path: those of sockets have a limit, which folders of parallel tests exceed."""
    with TemporaryDirectory(prefix="fleet") as folder:
        yield Path(folder)


@pytest.fixture
def variables(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables of a program, by which its processes are found; it does not end with this one."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    yield {**ours, "BEAMPIPE_TIED_TO": "", LABEL: str(tmp_path), "PYTHONPATH": str(ROOT)}
    assert left(str(tmp_path)) == []


def test_servers_of_a_test_end_with_pytest(
    engine: Engine, tmp_path: Path, short_folder: Path, variables: dict[str, str]
) -> None:
    (tmp_path / "test_it.py").write_text(TEST.replace("FOLDER", repr(os.fspath(short_folder))))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "test_it.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        wait_until(lambda: (tmp_path / "started").exists() or tests.poll() is not None)
        assert tests.poll() is None, tests.stdout.read()
        lines = left(variables[LABEL])
        assert len([line for line in lines if "tritonserver" in line.split(" ")[0]]) == 2
        assert [line for line in lines if "fleet run" in line]
        tests.kill()
    wait_until(lambda: not left(variables[LABEL]), 60.0)


def test_a_fleet_ends_with_its_demo(engine: Engine, tmp_path: Path, variables: dict[str, str]) -> None:
    command = [sys.executable, "-m", "beampipe", "fleet", "demo"]
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        wait_until(lambda: any("tritonserver" in line.split(" ")[0] for line in left(variables[LABEL])))
        demo.kill()
    wait_until(lambda: not left(variables[LABEL]), 60.0)
