"""A fleet on a real Slurm of two nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from beampipe import processes
from beampipe.errors import ServiceError, ServiceUnavailableError
from beampipe.fleet.control.control_socket import send_command
from beampipe.triton.engine import Engine
from beampipe.triton.server.launch import free_port
from tests.fleet.conftest import Behind, Load, until
from tests.triton.doublers import add_canary, write_model
from tests.workflow.slurm import jobs, running_slurm

FLEET = """
name = "test"
repository = "models"
patience = 3.0
exit_timeout = 2
[servers.cpu]
count = 2
most = 4
memory = 1
[gateway]
port = {port}
[monitoring]
prometheus = false
[slurm]
folder = "shared"
host = "{host}"
time = "00:10:00"
renew = 60
"""


class Site(Behind):
    """A fleet on Slurm: its folder, and what a test asks of it."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(port)
        self.folder = folder
        self.registry = folder / "shared" / "registry"
        self.members: set[int] = set()

    def command(self, *arguments: str) -> str:
        """What a command of a fleet prints."""
        command = [sys.executable, "-m", "beampipe", "fleet", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout

    def script(self, name: str) -> str:
        """What a generated script prints."""
        run = [str(self.folder / "scripts" / name)]
        return subprocess.run(run, capture_output=True, text=True, check=True, timeout=300).stdout

    def order(self, **order: str) -> dict[str, Any]:
        """Tell the gateway's keeper something."""
        return dict(send_command(self.folder / "run" / "orders.sock", order))

    def servers(self) -> dict[str, dict[str, Any]]:
        """The servers that the gateway knows, by name."""
        with suppress(ServiceUnavailableError):
            result = self.order(do="status")["servers"]
            self.members |= {row["pid"] for row in result if row["pid"]}
            return {row["server"]: row for row in result}
        return {}

    def whole(self, count: int = 2) -> bool:
        """Whether there are so many servers, and all of them take requests."""
        servers = self.servers().values()
        return len(servers) == count and all(row["gateway"] == "UP" for row in servers)

    def job_of(self, server: str) -> str:
        """The job of a server, as ``ARRAY_NUMBER``: the array's id alone would stand for all its jobs."""
        number, array = server.rsplit("-", 2)[1:]
        return f"{array.partition('r')[0]}_{number}"

    def ask_slurm(self, server: str, field: str) -> str:
        """What `squeue` says of the job of a server: ``%N`` for its node, ``%A`` for its own id."""
        request = ["squeue", "--noheader", f"--jobs={self.job_of(server)}", f"--format={field}"]
        return subprocess.run(request, capture_output=True, text=True, check=True).stdout.strip()


def own_address() -> str | None:
    """An address of this machine that other machines would use; None if it has none."""
    result = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    return next((address for address in result if ":" not in address), None)


@contextmanager
def running_site() -> Iterator[Site]:
    """Start Slurm, a fleet of two servers on it, and a gateway; end what is left of them."""
    # Not pytest's folder, whose long name leaves no room for sockets.
    with TemporaryDirectory(prefix="site") as temporary:
        folder = Path(temporary)
        site = Site(folder, free_port())
        write_model(folder / "models", "one")
        add_canary(folder / "models", "one")
        specification = folder / "fleet.toml"
        specification.write_text(FLEET.format(port=site.port, host=own_address() or "127.0.0.1"))
        (folder / "slurm").mkdir()
        site.command("slurm", "-f", str(specification), "-o", str(folder / "scripts"))
        with running_slurm(folder / "slurm", cpus=3, kill_wait=20), _gateway(folder, specification):
            site.script("start.sh")
            until(site.whole)
            yield site
            site.script("end.sh")
            until(lambda: not jobs())


@contextmanager
def _gateway(folder: Path, specification: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "beampipe", "fleet", "gateway", "-f", str(specification)]
    command += ["--registry", str(folder / "shared"), "--folder", str(folder / "run")]
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def site(engine: Engine) -> Iterator[Site]:
    """A fleet of two servers on Slurm, for tests that leave it with two."""
    with running_site() as running:
        yield running


def slurm(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    return [pid, *(below for child in processes.children(pid) for below in tree(child))]


def steps_of(site: Site, server: str) -> list[int]:
    """Slurm's own processes for the steps of a server's job, the ancestors of whatever runs in it."""
    begin = f"slurmstepd: [{site.ask_slurm(server, '%A')}."
    return [pid for pid, line in processes.command_lines() if line[0].startswith(begin)]


def test_a_server_that_is_killed_is_replaced_in_its_job(site: Site) -> None:
    name, row = next(iter(site.servers().items()))
    before = jobs()
    with Load(site, clients=2) as load:
        os.kill(row["pid"], signal.SIGKILL)
        until(lambda: site.whole() and site.servers()[name]["pid"] not in (row["pid"], None))
        answered = load.answered
        until(lambda: load.answered > answered + 20)
    assert jobs() == before


def test_a_node_that_fails_takes_no_answer_along_and_its_job_runs_elsewhere(site: Site) -> None:
    lost, kept = site.servers()
    node = site.ask_slurm(lost, "%N")
    assert node != site.ask_slurm(kept, "%N"), "Slurm was told to use the node with the fewest jobs"
    daemon = int((site.folder / "slurm" / f"slurmd-{node}.pid").read_text())
    with Load(site, clients=2):
        # What a node takes along: its daemon, the steps of its jobs, and whatever these have started.
        for pid in [daemon, *(below for step in steps_of(site, lost) for below in tree(step))]:
            os.kill(pid, signal.SIGKILL)
        slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        slurm("scontrol", "update", f"jobid={site.job_of(lost)}", "starttime=now")  # else it waits for 120 s
        until(lambda: lost + "r1" in site.servers() and lost not in site.servers() and site.whole())
    assert site.ask_slurm(lost + "r1", "%N") == site.ask_slurm(kept, "%N")


def test_a_job_whose_time_is_nearly_up_serves_until_the_next_one_does(site: Site) -> None:
    name = next(iter(site.servers()))
    least = [2]
    with Load(site, clients=2):
        slurm("scancel", "--signal=USR1", "--batch", site.job_of(name))  # as Slurm does by --signal=B:USR1@60

        def renewed() -> bool:
            rows = site.servers()
            least.append(sum(row["state"] == "ready" and row["gateway"] == "UP" for row in rows.values()))
            return name not in rows and site.whole()

        until(renewed)
        until(lambda: len(jobs()) == 2)
    assert min(least) == 2, "there was a gap between the two"


def test_servers_are_taken_out_and_back_and_not_made_by_the_gateway(site: Site) -> None:
    name = next(iter(site.servers()))
    with Load(site, clients=2):
        site.order(do="drain", server=name)
        assert site.servers()[name]["gateway"] == "DRAIN"
        site.order(do="resume", server=name)
        until(site.whole)
    with pytest.raises(ServiceError, match="down, drain, resume, status"):
        site.order(do="scale", group="cpu", count="3")


def test_the_end_leaves_nothing(site: Site) -> None:
    site.script("end.sh")
    assert jobs() == []
    until(lambda: site.servers() == {})
    assert list(site.registry.glob("*.json")) == []
    assert list((site.folder / "shared" / "members").iterdir()) == []
    assert site.members
    shared = str(site.folder / "shared")
    until(
        lambda: (
            not [
                line for _, line in processes.command_lines() if shared in " ".join(line[:8]) and "gateway" not in line
            ]
        )
    )
    memory = [path.name for path in Path("/dev/shm").iterdir()]
    assert not [name for name in memory for pid in site.members if name.startswith(f"beampipe_{pid}_")]
