"""Two runs in one store, each a real process: they share the work, whatever is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from beampipe.calibration.config import Configuration
from beampipe.calibration.tasks.runtime import LOG
from beampipe.workflow import EventLog
from tests.calibration.campaign import Toys, counts, factors_sha256, made

ROOT = Path(__file__).parents[2]


@contextmanager
def running(toys: Toys, output: Path, workers: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.calibration.campaign", str(toys.folder), str(output), str(workers)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> None:
    _, output = process.communicate(timeout=300)
    assert process.returncode == 0, output.decode()


def made_by(output: Path) -> dict[str, Counter[object]]:
    """How often each artifact was made, by stage."""
    result: dict[str, Counter[object]] = {}
    for event in EventLog(output / LOG).read():
        if event["event"] == "done":
            result.setdefault(str(event["stage"]), Counter())[event["key"]] += 1
    return result


def until(output: Path, artifacts: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until so many artifacts are made."""
    deadline = time.monotonic() + 300
    while sum(made(output).values()) < artifacts and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def until_filled(output: Path, chunks: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the histograms of so many chunks are filled."""
    deadline = time.monotonic() + 300
    while made(output)["fill"] < chunks and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def test_two_runs_share_the_work(toys: Toys, base: Configuration, tmp_path: Path) -> None:
    with running(toys, tmp_path) as one:
        until_filled(tmp_path, 1, one)
        one.send_signal(signal.SIGSTOP)  # a run of toys is so fast that it would end before the other starts
        with running(toys, tmp_path, 2) as other:
            until_filled(tmp_path, 3, other)
            one.send_signal(signal.SIGCONT)
            ended(other)
            ended(one)
    times = {stage: set(result.values()) for stage, result in made_by(tmp_path).items()}
    assert times == {stage: {1} for stage in counts(base.output)}, "nothing was made twice"
    assert counts(tmp_path) == counts(base.output)
    makers = {event["pid"] for event in EventLog(tmp_path / LOG).read() if event["stage"] == "fill"}
    assert len(makers) > 1, "both worked"
    assert list((tmp_path / "store" / ".leases").iterdir()) == []


def test_a_run_that_is_killed_leaves_its_work_to_the_other(toys: Toys, tmp_path: Path, base: Configuration) -> None:
    """SIGKILL in the middle of a chunk, of one that holds the lease of it."""
    with running(toys, tmp_path) as one:
        until(tmp_path, 14, one)
        with running(toys, tmp_path) as other:
            until(tmp_path, 25, other)
            one.send_signal(signal.SIGKILL)
            assert one.wait() == -signal.SIGKILL, "it was at work"
            ended(other)
    again = [key for stage in made_by(tmp_path).values() for key, times in stage.items() if times > 1]
    assert len(again) <= 3, "no more than what one worker had in hand"
    assert counts(tmp_path) == counts(base.output)
    assert factors_sha256(replace(base, output=tmp_path)) == factors_sha256(base)
