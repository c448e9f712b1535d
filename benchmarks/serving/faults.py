"""Processes that are killed and processes that hang, with 100 requests in flight: nothing lost, nothing wrong.

    python benchmarks/serving/faults.py [--repeats 20] [--only KIND ...] [--in-flight 100] [--backend python]

`beampipe serve` runs as its users start it, and would be started again as by systemd if all of it ended.
Clients are `TritonTrackFinder`s over gRPC and HTTP with the settings that they have if nothing is said. Each kind of
fault is done `--repeats` times, `--pause` seconds after all was well again:

killed stub, server, supervisor    kill -9 of a model's process (Python backend), of Triton, of what watches it
killed client                      kill -9 of a client of its own with 64 requests in flight over gRPC
stopped stub, server               SIGSTOP: the process is there, its ports are open, and nothing comes
sleeping model                     a model that does not come back from a request (Python backend)
hanging handler                    Triton as after a heap corruption whose signal handler hangs (`hanging_handler.c`)

*Again*: from the fault until something that was asked after it is answered. *Lost*: an event that got an error.
*Restarts*: how often the supervisor started Triton again. A killed client is no fault of the server, but Triton 2.51
may crash when the network tells of a cancelled request just as its answer is ready (see `churn.py`).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from elsewhere import Service
from pressure import Pressure
from served import (
    CONSOLE,
    Figure,
    Model,
    begin,
    direct_finder,
    events_at,
    models_of,
    options_of,
    write_result,
)

from beampipe.errors import ServiceError
from beampipe.events import Hits
from beampipe.triton.model.repository import export_repository

MODEL: Final = "exatrkx"
HANG: Final = "BEAMPIPE_BENCH_HANG"
"""Variable with the name of the file at which a model or a handler begins to hang."""
HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        strike: does it to a service; the path is that of the file for `HANG`.
        backend: backend that it needs, None for the one that was asked for.
        hangs: whether the process goes on living.
        sleeps: whether the model is one that can fall asleep.
        preload: whether Triton has `hanging_handler.c` in it.
    """

    strike: Callable[[Service, Path], None]
    backend: str | None = None
    hangs: bool = False
    sleeps: bool = False
    preload: bool = False


def sent(number: signal.Signals, who: str) -> Callable[[Service, Path], None]:
    """Send a signal to ``supervisor``, ``server`` or ``stub``."""

    def strike(service: Service, flag: Path) -> None:
        pid = getattr(service, who)
        if pid is None:
            raise ServiceError(f"got no {who} to send {number.name} to, expected one: does this backend have it?")
        os.kill(pid, number)

    return strike


def kill_client(service: Service, flag: Path) -> None:
    """Start one more client, and kill it once it is under way."""
    command = [sys.executable, "-c", "from pressure import main; main()", f"grpc://{service.grpc_url}", MODEL, "64"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=HERE) as client:
        assert client.stdout is not None
        client.stdout.readline()
        client.kill()


def begin_to_hang(service: Service, flag: Path) -> None:
    """Make the file that the model or the handler waits for."""
    flag.touch()


FAULTS: Final[dict[str, Fault]] = {
    "killed stub": Fault(sent(signal.SIGKILL, "stub"), "python"),
    "killed server": Fault(sent(signal.SIGKILL, "server")),
    "killed supervisor": Fault(sent(signal.SIGKILL, "supervisor")),
    "killed client": Fault(kill_client),
    "stopped stub": Fault(sent(signal.SIGSTOP, "stub"), "python", hangs=True),
    "stopped server": Fault(sent(signal.SIGSTOP, "server"), hangs=True),
    "sleeping model": Fault(begin_to_hang, "python", hangs=True, sleeps=True),
    "hanging handler": Fault(begin_to_hang, hangs=True, preload=True),
}


def main() -> None:
    parser = options_of("faults", __doc__)
    parser.add_argument("--repeats", type=int, default=20, help="number of faults of each kind")
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--pause", type=float, default=12.0, help="between two faults [s]; restarts are rationed")
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--logs", type=Path, help="folder for the logs of the service, one file for each kind")
    options = parser.parse_args()
    begun = begin("faults")
    events = [hits for hits in events_at(0, 60, options.seed) if len(hits) > 50][:39] + events_at(60, 1)
    rows = []
    for name in options.only:
        rows.append(row := suffered(name, FAULTS[name], events, options))
        CONSOLE.print(f"{name}: {row['answered']} answered, {row['lost']} lost {row['first'][:200]}", markup=False)
    figures = [
        figure
        for row in rows
        for figure in (
            Figure(f"{row['fault']}: lost", row["lost"], "", "equal"),
            Figure(f"{row['fault']}: wrong", row["wrong"], "", "equal"),
            Figure(f"{row['fault']}: answers again, median", float(np.median(row["again_s"])), "s"),
            Figure(f"{row['fault']}: answers again, longest", max(row["again_s"]), "s"),
        )
    ]
    write_result(options.output, begun, figures, rows=rows)
    raise SystemExit(1 if any(row["lost"] or row["wrong"] for row in rows) else 0)


def suffered(name: str, fault: Fault, events: Sequence[Hits], options: argparse.Namespace) -> dict[str, Any]:
    """One kind of fault, again and again."""
    direct = direct_finder(MODEL, options.threads)
    labels = [direct.find(hits).track_id for hits in events]
    again: list[float] = []
    backend = fault.backend or options.backend
    with tempfile.TemporaryDirectory(prefix="beampipe-bench-") as path:
        folder = Path(path)
        flag = folder / "hang"
        export_repository(folder / "models", [model_of(fault, backend, options.threads)])
        log = (options.logs or folder) / f"{name.replace(' ', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with Service(folder / "models", log, environment_of(fault, folder, flag)) as service:
            urls = [f"grpc://{service.grpc_url}", f"http://{service.http_url}"]
            with Pressure(urls, MODEL, events, labels, options.in_flight) as pressure:
                pressure.settle(time.perf_counter())
                for _ in range(options.repeats):
                    time.sleep(1)
                    fault.strike(service, flag)
                    moment = time.perf_counter()
                    again.append(pressure.again(moment))
                    pressure.settle(time.perf_counter())
                    time.sleep(options.pause)
        restarts = log.read_text(errors="replace").count("beampipe: server back")
    return {
        "fault": name,
        "backend": backend or "default",
        "repeats": len(again),
        "answered": pressure.answered,
        "lost": len(pressure.errors),
        "wrong": pressure.wrong,
        "first": pressure.errors[0] if pressure.errors else "",
        "restarts": restarts,
        "again_s": again,
        "slowest_s": pressure.slowest,
        "hangs": fault.hangs,
    }


def model_of(fault: Fault, backend: str | None, threads: int) -> Model:
    """Settings of the model that is served."""
    (model,) = models_of([MODEL], threads=threads, backend=backend)
    return replace(model, model=f"{HERE / 'sleeper.py'}:Sleeper") if fault.sleeps else model


def environment_of(fault: Fault, folder: Path, flag: Path) -> dict[str, str]:
    """Variables that the service needs for the fault."""
    environment = {HANG: str(flag)}
    if fault.preload:
        library = folder / "hanging_handler.so"
        command = ["gcc", "-O1", "-shared", "-fPIC", "-pthread", "-o", str(library), str(HERE / "hanging_handler.c")]
        subprocess.run(command, check=True)
        environment["LD_PRELOAD"] = str(library)
    return environment


if __name__ == "__main__":
    main()
