"""The generated scripts on a real Slurm, under load: servers come and go, and no answer is lost or wrong."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe import processes
from beampipe.errors import ServiceError
from beampipe.triton.engine import Engine
from tests.fleet.conftest import Load, until
from tests.fleet.deploy.slurm_site import Site, running_site
from tests.workflow.slurm import jobs

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
    assert (load.lost, load.wrong) == ([], 0)
    assert jobs() == before


def test_a_node_that_fails_takes_no_answer_along_and_its_job_runs_elsewhere(site: Site) -> None:
    lost, kept = site.servers()
    node = site.ask_slurm(lost, "%N")
    assert node != site.ask_slurm(kept, "%N"), "Slurm was told to use the node with the fewest jobs"
    daemon = int((site.folder / "slurm" / f"slurmd-{node}.pid").read_text())
    with Load(site, clients=2) as load:
        # What a node takes along: its daemon, the steps of its jobs, and whatever these have started.
        for pid in [daemon, *(below for step in steps_of(site, lost) for below in tree(step))]:
            os.kill(pid, signal.SIGKILL)
        slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        slurm("scontrol", "update", f"jobid={site.job_of(lost)}", "starttime=now")  # else it waits for 120 s
        until(lambda: lost + "r1" in site.servers() and lost not in site.servers() and site.whole())
    assert (load.lost, load.wrong) == ([], 0)
    assert site.ask_slurm(lost + "r1", "%N") == site.ask_slurm(kept, "%N")


def test_a_job_whose_time_is_nearly_up_serves_until_the_next_one_does(site: Site) -> None:
    name = next(iter(site.servers()))
    least = [2]
    with Load(site, clients=2) as load:
        slurm("scancel", "--signal=USR1", "--batch", site.job_of(name))  # as Slurm does by --signal=B:USR1@60

        def renewed() -> bool:
            rows = site.servers()
            least.append(sum(row["state"] == "ready" and row["gateway"] == "UP" for row in rows.values()))
            return name not in rows and site.whole()

        until(renewed)
        until(lambda: len(jobs()) == 2)
    assert (load.lost, load.wrong) == ([], 0)
    assert min(least) == 2, "there was a gap between the two"


def test_servers_are_taken_out_and_back_and_not_made_by_the_gateway(site: Site) -> None:
    name = next(iter(site.servers()))
    with Load(site, clients=2) as load:
        site.order(do="drain", server=name)
        assert site.servers()[name]["gateway"] == "DRAIN"
        site.order(do="resume", server=name)
        until(site.whole)
    assert (load.lost, load.wrong) == ([], 0)
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
