"""What the operator of a fleet asked for, and every request, over random faults during random commands.

    python benchmarks/fleet/intent.py [--sequences 1000] [--seed 1]

The fleet has TLS, tokens and two servers. In each sequence an operator gives one or two commands of `beampipe fleet`
(scale, drain, resume, restart, update, down and up, up), while three to five faults happen: processes of the fleet, of
its gateway or of its servers are killed, or stopped and continued later; files of the run folder or of the operator are
broken or removed, and mended later; another program takes the gateway's port; an expired certificate is put in place.
Clients with their usual options ask all the time, over HTTP and gRPC.

After a sequence all is mended that an operator would mend, and where the fleet's process and the one that restarts it
were both killed, ``fleet up`` is given, as the documentation says. Then the fleet must be whole: the servers that were
asked for, drained ones drained, nothing left over. A command that failed may have had its effect or not.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from fleets import CONSOLE, HOSTS, Figure, Running, at_work, begin, options_of, running, until, write_result, write_toy

from beampipe import processes
from beampipe.errors import BeampipeError
from beampipe.fleet.certificates import make_server
from beampipe.fleet.control.daemon import daemon_pid
from beampipe.fleet.control.intent import processes_of
from beampipe.fleet.gateway.haproxy import gateway_processes
from beampipe.triton import ModelClient

_WHOLE: Final = 15.0
"""Time [s] in which a fleet has to be whole again."""
_GIVEN_UP: Final = 90.0
_MOST: Final = 3


@dataclass
class Clients:
    """Requests of clients with their usual options."""

    fleet: Running
    answered: int = 0
    wrong: int = 0
    lost: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def ask(self, protocol: str, number: int, ended: threading.Event) -> None:
        """Ask until the end."""
        with ModelClient(self.fleet.url(protocol), "toy", protocol=protocol, **self.fleet.security) as client:
            while not ended.wait(0.02):
                request, begun = np.array([number, self.answered % 10**6], np.float32), time.monotonic()
                try:
                    answer = client.infer({"X": request})["Y"]
                except BeampipeError as error:
                    self.lost.append(f"{protocol}: {type(error).__name__}: {error}")
                    continue
                self.answered += 1
                self.wrong += not np.array_equal(answer, 2 * request)
                self.slowest = max(self.slowest, time.monotonic() - begun)


@dataclass
class Asked:
    """What the operator has asked for: all that the fleet may look like, numbers of servers and drained ones."""

    states: set[tuple[int, frozenset[str]]]

    def after(self, words: tuple[str, ...], *, done: bool) -> None:
        """A command was done, or failed."""
        changed = {self._changed(state, words) for state in self.states}
        self.states = changed if done else self.states | changed

    @staticmethod
    def _changed(state: tuple[int, frozenset[str]], words: tuple[str, ...]) -> tuple[int, frozenset[str]]:
        count, drained = state
        match words:
            case ("scale", number):
                count = int(number)
                drained = frozenset(name for name in drained if int(name[-1]) < count)
            case ("drain", name):
                drained |= {name}
            case ("resume", name):
                drained -= {name}
            case ("down",):  # it ends all that was asked, and `up` follows
                count, drained = 2, frozenset()
        return count, drained


class Scene:
    """A fleet, the operator's commands and the faults.

    Args:
        fleet: the fleet.
        rng: draws all of it.
    """

    def __init__(self, fleet: Running, rng: random.Random) -> None:
        self.fleet, self.rng = fleet, rng
        self.asked = Asked({(2, frozenset())})
        self.mending: list[Callable[[], object]] = []
        self.ups = 0
        self.log: list[str] = []
        self._papers = fleet.specification.parent / "papers"
        self._faults: tuple[Callable[[], str], ...] = (
            partial(self._signalled, signal.SIGKILL),
            partial(self._signalled, signal.SIGKILL),
            partial(self._signalled, signal.SIGSTOP),
            self._broken_file,
            self._stolen_port,
            self._expired_certificate,
        )

    def command(self, *words: str) -> bool:
        """Give a command as an operator does; whether it was done."""
        options = ["-f", str(self.fleet.specification), "--folder", str(self.fleet.run.path)]
        program = [sys.executable, "-m", "beampipe", "fleet", *words, *options]
        try:
            done = subprocess.run(program, capture_output=True, text=True, timeout=_GIVEN_UP, check=False)
        except subprocess.TimeoutExpired:
            self.log.append(f"{' '.join(words)}: no end")
            return False
        self.log.append(f"{' '.join(words)}: {done.returncode} {done.stderr.strip().splitlines()[-1:]}")
        # `up` ends with 1 where all servers are drained.
        return done.returncode == 0

    def operate(self) -> None:
        """One or two commands."""
        for _ in range(self.rng.randint(1, 2)):
            words = self._drawn()
            self.asked.after(words, done=self.command(*words))
            if words == ("down",):
                self.command("up")

    def _drawn(self) -> tuple[str, ...]:
        server = f"cpu-{self.rng.randrange(2)}"
        scale = "scale", str(self.rng.randint(1, _MOST))
        others = (("restart",), ("update",), ("down",), ("up",))
        words = self.rng.choice((scale, ("drain", server), ("resume", server), *others))
        if words == ("update",):
            model = self.fleet.specification.parent / "models" / "toy" / "1" / "model.py"
            model.write_text(f"# {self.rng.random()}\n" + model.read_text(encoding="utf-8"), encoding="utf-8")
        if words[0] == "drain" and any(len(drained | {server}) >= count for count, drained in self.asked.states):
            return ("resume", server)  # one server is left for the clients
        if words[0] == "scale" and any(len(drained) >= int(words[1]) for _, drained in self.asked.states):
            return ("scale", str(_MOST))
        return words

    def fault(self) -> None:
        """Something happens."""
        with suppress(OSError, IndexError):
            self.log.append(self.rng.choice(self._faults)())

    def _signalled(self, number: signal.Signals) -> str:
        victims = [pid for pid in processes_of(self.fleet.run) if "sleep" not in processes.arguments(pid)[:1]]
        own = daemon_pid(self.fleet.run)
        victim = own if own is not None and self.rng.random() < 0.4 else self.rng.choice(sorted(victims))
        text = f"{number.name} of {' '.join(processes.arguments(victim)[-3:])[-60:]}"
        os.kill(victim, number)
        if number == signal.SIGSTOP and self.rng.random() < 0.5:
            threading.Timer(self.rng.uniform(0.5, 5.0), partial(_continued, victim)).start()
        return text

    def _broken_file(self) -> str:
        run, beside = self.fleet.run, self.fleet.specification.parent
        operators = [beside / "tokens", self._papers / "gateway.pem"]
        ours = [run.intent, run.process, run.path / "haproxy.cfg", *run.registry.glob("*"), *run.members.glob("*")]
        path = self.rng.choice([*operators, *sorted(ours)])
        content = path.read_bytes()
        if self.rng.random() < 0.5:
            path.unlink()
        else:
            path.write_bytes(self.rng.choice([b"", b"hello", content[: len(content) // 2]]))
        if path in operators:
            self.mending.append(partial(path.write_bytes, content))
        return f"broken: {path.name}"

    def _stolen_port(self) -> str:
        for gateway in gateway_processes(self.fleet.run.path):
            gateway.kill()
        thief = socket.socket()
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", self.fleet.port))
        thief.listen()
        threading.Timer(self.rng.uniform(0.5, 3.0), thief.close).start()
        self.mending.append(thief.close)
        return "the port of the gateway is stolen"

    def _expired_certificate(self) -> str:
        path = self._papers / "gateway.pem"
        content = path.read_bytes()
        make_server(self._papers, HOSTS, days=0)
        self.mending.append(partial(path.write_bytes, content))
        return "an expired certificate"

    def mend(self) -> None:
        """What an operator mends."""
        while self.mending:
            self.mending.pop()()

    def is_whole(self) -> bool:
        """Whether the fleet is what was asked for."""
        try:
            status = self.fleet.status()
        except (BeampipeError, OSError):
            return False
        rows = status["servers"]
        drained = frozenset(row["server"] for row in rows if row["desired"] == "drain")
        serving = [row["gateway"] == ("DRAIN" if row["server"] in drained else "UP") for row in rows]
        return (
            all(serving)
            and (len(rows), drained) in self.asked.states
            and not status["changing"]
            and not status["left_over"]
            and len(self.fleet.tritons()) == len(rows)
        )

    def recover(self) -> float:
        """Time [s] until the fleet is whole; infinity if it does not become so."""
        begun = time.monotonic()
        while not self.is_whole():
            late = time.monotonic() - begun
            if late > _GIVEN_UP:
                return float("inf")
            if late > 5.0 and daemon_pid(self.fleet.run) is None and self.command("up"):
                self.ups += 1
            time.sleep(0.1)
        status = self.fleet.status()["servers"]
        self.asked = Asked({(len(status), frozenset(row["server"] for row in status if row["desired"] == "drain"))})
        return time.monotonic() - begun


def _continued(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def main() -> None:
    parser = options_of("intent", __doc__)
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no sequence starts after this time")
    options = parser.parse_args()
    begun = begin("intent of an operator", ("tritonclient",))
    times, failed, ups = list[float](), list[dict[str, object]](), 0
    start, seed = time.monotonic(), options.seed
    with running(partial(write_toy, start=0.005), secure=True) as fleet:
        clients, ended = Clients(fleet), threading.Event()
        works = [partial(clients.ask, protocol, number, ended) for number, protocol in enumerate(("http", "grpc") * 2)]
        scene = Scene(fleet, random.Random(seed))
        with at_work(ended, *works):
            until(lambda: clients.answered > 20)
            for seed in range(options.seed, options.seed + options.sequences):
                if time.monotonic() - start > options.seconds:
                    break
                scene.rng, scene.log = random.Random(seed), []
                lost = len(clients.lost)
                operator = threading.Thread(target=scene.operate)
                operator.start()
                for _ in range(scene.rng.randint(3, 5)):
                    time.sleep(scene.rng.uniform(0.1, 2.0))
                    scene.fault()
                operator.join()
                scene.mend()
                times.append(scene.recover())
                if times[-1] > _WHOLE or len(clients.lost) > lost:
                    failed.append({"seed": seed, "whole": times[-1], "lost": clients.lost[lost:][:3], "log": scene.log})
                    CONSOLE.print(failed[-1], markup=False)
                if times[-1] == float("inf"):
                    break
        ups = scene.ups
    figures = [
        Figure("sequences", len(times), "", "higher"),
        Figure("requests answered", clients.answered, "", "higher"),
        Figure("requests lost", len(clients.lost), "", "equal"),
        Figure("wrong answers", clients.wrong, "", "equal"),
        Figure("sequences after which the fleet was not what was asked for", sum(t == float("inf") for t in times)),
        Figure(f"sequences with more than {_WHOLE:g} s until it was", sum(t > _WHOLE for t in times)),
        Figure("time until whole: median", float(np.median(times)), "s"),
        Figure("processes left over after down", len(processes_of(fleet.run)), "", "equal"),
    ]
    write_result(options.output, begun, figures, seeds=[options.seed, seed], failed=failed, ups=ups)
    raise SystemExit(1 if failed or clients.wrong else 0)


if __name__ == "__main__":
    main()
