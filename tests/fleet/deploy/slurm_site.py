"""A fleet on a real Slurm of two nodes, both of them this machine, and a gateway beside it."""

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

from beampipe.errors import ServiceUnavailableError
from beampipe.fleet.control.control_socket import send_command
from beampipe.triton.server.launch import free_port
from tests.fleet.conftest import Behind, until
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
        site.command("slurm", str(specification), "-o", str(folder / "scripts"))
        with running_slurm(folder / "slurm", cpus=3, kill_wait=20), _gateway(folder, specification):
            site.script("start.sh")
            until(site.whole)
            yield site
            site.script("end.sh")
            until(lambda: not jobs())


@contextmanager
def _gateway(folder: Path, specification: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "beampipe", "fleet", "gateway", str(specification)]
    command += ["--registry", str(folder / "shared"), "--folder", str(folder / "run")]
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
