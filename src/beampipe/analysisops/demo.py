"""The demo: tools and agent on loopback sockets; one instance of every task; a page with the results."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from beampipe.analysisops.contract import Level
from beampipe.analysisops.evaluation import evaluate
from beampipe.analysisops.http_server import listen
from beampipe.analysisops.report import write_report
from beampipe.analysisops.sandbox import Sandbox
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tasks.load import shipped_tasks
from beampipe.errors import ServiceUnavailableError
from beampipe.terminal import Progress

_SEED: Final = 1
_LEVEL: Final[Level] = 1
_AGENT: Final = "scripted"
_BASELINES: Final = ("recall", "nop")
_START_SECONDS: Final = 60.0

PAGE: Final = "report.html"
"""Name of the page of the demo."""


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        page: the page of the run.
        scores: normalised score of each task's assessment.
        statuses: status of each task's assessment, such as ``"ok"``, with the first error.
        seconds: total time [s].
        weaknesses: restrictions that the sandbox of the agent cannot enforce on this machine.
    """

    page: Path
    scores: Mapping[str, float]
    statuses: Mapping[str, str]
    seconds: float
    weaknesses: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The results as text."""
        for task, score in self.scores.items():
            yield f"{task:12} {score:6.3f}  {self.statuses[task]}"
        mean = sum(self.scores.values()) / len(self.scores)
        yield f"{len(self.scores)} tasks: mean {mean:.3f}; {self.seconds:.0f} s"
        for weakness in self.weaknesses:
            yield f"sandbox: {weakness}"


def run_demo(folder: Path, progress: Progress, *, tasks: Sequence[str] = (), workers: int = 2) -> DemoResult:
    """Have the scripted agent solve one instance of every task, and write the page of the run.

    The agent is a sandboxed process. The host sends it tasks over A2A; it calls its tools over MCP.

    Args:
        folder: folder of the run and its page.
        progress: draws progress bars.
        tasks: names of shipped tasks; all if there are none.
        workers: number of processes that generate data.

    Raises:
        ServiceUnavailableError: the agent's process does not start.
        WorkflowError: the host failed.
    """
    begin = time.monotonic()
    names = tuple(tasks or shipped_tasks())
    agents = len(_BASELINES) + 1
    with _agent_process(_AGENT) as (url, weaknesses), progress("assessments", agents * len(names)) as step:
        records = evaluate(
            names,
            [f"{_AGENT}={url}", *_BASELINES],
            Seeds((_SEED,)),
            folder / "run",
            levels=(_LEVEL,),
            workers=workers,
            progress=lambda _: step(),
        )
    page = write_report(folder / "run", folder / PAGE, title="Analysis tasks: the demo")
    results = [record["grade"] for record in records if record["assessment"]["agent"] == _AGENT]
    scores = {result["task_id"]: result["final"]["normalized_score"] for result in results}
    statuses = {}
    for result in results:
        errors = [issue["message"] for issue in result["issues"] if issue["severity"] == "error"]
        statuses[result["task_id"]] = "; ".join([result["status"], *errors[:1]])
    return DemoResult(page, scores, statuses, time.monotonic() - begin, weaknesses)


@contextmanager
def _agent_process(name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Serve a shipped agent in a sandbox; yields its address and the weaknesses of the sandbox."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    sandbox = Sandbox()
    command = [sys.executable, "-m", "beampipe", "analysisops", "agent", name, "--port", str(port)]
    url = f"http://127.0.0.1:{port}/"
    with sandbox.running(command) as confined:
        until = time.monotonic() + _START_SECONDS
        ready = False
        while not ready:
            with suppress(httpx.HTTPError):
                card = httpx.get(f"{url}.well-known/agent-card.json", timeout=1.0, trust_env=False)
                ready = card.status_code == 200
            if not ready and (confined.wait(0.1) is not None or time.monotonic() > until):
                raise ServiceUnavailableError(
                    f"agent {name}: got no server, expected one; its output: {confined.output()}"
                )
        yield url, sandbox.weaknesses()
