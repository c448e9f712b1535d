"""The host beside programs that others wrote, none of them changed:
`python benchmarks/analysisops/outside.py --gateway FOLDER --purple FOLDER --green FOLDER`

The folders are checkouts of three repositories of github.com/RDI-Foundation, which no package index has:
`agentbeats-gateway`, which runs assessments on the public platform; `agent-template`, an agent of A2A 0.3; and
`green-agent-template`, whose tests say what the platform wants of a host. They need a2a-sdk before its version 1, which
cannot stand beside ours: an environment is made for them, or named by `--python`. The host is `beampipe analysisops
serve` at one port for all of them; the agents are `scripted` and the template, which echoes what it is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import httpx

from beampipe.terminal import console, make_table

OLD: Final = ("a2a-sdk[http-server]>=0.3.20,<1", "httpx>=0.28", "pytest>=8", "pytest-asyncio>=0.24", "uvicorn>=0.40")
CARD: Final = ".well-known/agent-card.json"
TASK: Final = "zmumu"
ANALYST, ECHO = "analyst", "echo"
SECONDS: Final = 240.0

Line = tuple[str, str, bool]
"""What was looked at, what was seen, and whether it is as it should be."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def program(
    command: Sequence[str], log: Path, *, ready: str, folder: Path | None = None, **variables: str
) -> Iterator[None]:
    """A process while the block runs, which begins when an address answers."""
    with log.open("wb") as output:
        environment = {**os.environ, **variables}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        until = time.monotonic() + 60.0
        while not answers(ready):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command}: does not start: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def environment_of(old: Path | None, home: Path) -> str:
    """The Python with the old SDK."""
    if old is not None:
        return str(old.absolute())
    venv.create(home / "old", with_pip=True)
    python = str(home / "old/bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", *OLD], check=True)
    return python


def conformance(python: str, tests: Path, url: str) -> tuple[str, bool]:
    """The last line of somebody else's tests of a server."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", "--agent-url", url.rstrip("/")]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or [done.stderr[-200:]])[-1], done.returncode == 0


def through_gateway(python: str, gateway: Path, urls: Mapping[str, str], log: Path) -> dict[str, Any]:
    """What the platform's gateway counts as the result of an assessment."""
    proxy, results = free_port(), free_port()
    # Without the slash at the end, as the launchers give them: the proxy puts one between address and path.
    slots = {
        slot: urls[name].rstrip("/") for slot, name in (("green", "green"), ("purple1", ANALYST), ("purple2", ECHO))
    }
    command = [python, "main.py", "--proxy-port", str(proxy), "--results-port", str(results)]
    with program(
        command,
        log,
        ready=f"http://127.0.0.1:{results}/",
        folder=gateway / "src",
        SERVICE_URLS=json.dumps(slots),
        PARTICIPANT_ROLES=json.dumps({"green": "green", "purple1": ANALYST, "purple2": ECHO}),
        ASSESSMENT_CONFIG=json.dumps({"tasks": [TASK]}),
    ):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            result: dict[str, Any] = httpx.get(f"http://127.0.0.1:{results}/", timeout=10.0).json()
            if result["status"] != "running":
                return result
            time.sleep(0.5)
    return {"status": "still running", "results": []}


def one_message(url: str, agents: Mapping[str, str], **headers: str) -> dict[str, Any]:
    """The answer to one message of A2A 1.0, written by hand."""
    request = {"participants": dict(agents), "config": {"tasks": [TASK], "seeds": [1], "levels": [3]}}
    message = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": json.dumps(request)}]}
    body = {"jsonrpc": "2.0", "id": 7, "method": "SendMessage", "params": {"message": message}}
    answer: dict[str, Any] = httpx.post(url, json=body, headers=headers, timeout=SECONDS).json()
    return answer


def results_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    artifacts = answer["result"]["task"]["artifacts"]
    return [json.loads(part["text"]) for artifact in artifacts for part in artifact["parts"]]


def look(options: argparse.Namespace, home: Path) -> list[Line]:
    """Start all programs, and look at each."""
    python = environment_of(options.python, home)
    request = [python, "-c", "from importlib.metadata import version; print(version('a2a-sdk'))"]
    old = subprocess.run(request, capture_output=True, text=True, check=True).stdout.strip()
    ports = {name: free_port() for name in ("green", ANALYST, ECHO)}
    urls = {name: f"http://127.0.0.1:{port}/" for name, port in ports.items()}
    ours = [sys.executable, "-m", "beampipe", "analysisops"]
    secret = home / "secret"
    secret.write_bytes(os.urandom(48).hex().encode())
    hosting = ["--folder", str(home / "host"), "--task", TASK, "--secret-file", str(secret)]
    commands: dict[str, tuple[list[str], Path | None]] = {
        "green": ([*ours, "serve", "--port", str(ports["green"]), *hosting], None),
        ANALYST: ([*ours, "agent", "scripted", "--port", str(ports[ANALYST])], None),
        ECHO: ([python, "server.py", "--port", str(ports[ECHO])], options.purple / "src"),
    }
    lines = [("the others' a2a-sdk", old, old.startswith("0."))]
    with ExitStack() as stack:
        for name, (command, folder) in commands.items():
            started = program(command, home / f"{name}.log", ready=urls[name] + CARD, folder=folder)
            stack.enter_context(started)
        for name in ("green", ANALYST):
            output, good = conformance(python, options.green, urls[name])
            lines.append((f"the green template's tests, on our {name}", output, good and "3 passed" in output))
        lines += look_at_gateway(through_gateway(python, options.gateway, urls, home / "gateway.log"))
        lines += look_at_messages(urls)
    return lines


def look_at_gateway(found: Mapping[str, Any]) -> list[Line]:
    """What the gateway has counted."""
    results = found["results"]
    scores = {
        result["participant"]: (result["status"], result["final"]["normalized_score"])
        for result in results
        if "participant" in result
    }
    whole = bool(results) and type(results[0]["instance"]) is int and results[0]["seed"] is None
    return [
        (
            "the gateway's assessment",
            f"{found['status']}, {len(results)} results",
            found["status"] == "completed" and len(results) == 3,
        ),
        ("  our agent, through the gateway's proxy", str(scores.get(ANALYST)), scores.get(ANALYST) == ("ok", 1.0)),
        ("  the purple template of 0.3, an echo", str(scores.get(ECHO)), scores.get(ECHO) == ("fail", 0.0)),
        (
            "  numbers are as they were sent",
            f"instance {results[0]['instance']!r}, seed {results[0]['seed']!r}" if results else "none",
            whole,
        ),
    ]


def look_at_messages(urls: Mapping[str, str]) -> list[Line]:
    """Messages of A2A 1.0 that are written by hand."""
    answer = one_message(urls["green"], {ANALYST: urls[ANALYST]}, **{"A2A-Version": "1.0"})
    state = answer["result"]["task"]["status"]["state"]
    score = results_of(answer)[0]["final"]["normalized_score"]
    nobody = {ANALYST: f"http://127.0.0.1:{free_port()}/"}
    alone = one_message(urls["green"], nobody, **{"A2A-Version": "1.0"})
    ended, failed = alone["result"]["task"]["status"]["state"], results_of(alone)[0]
    bare = one_message(urls["green"], {ANALYST: urls[ANALYST]})
    return [
        ("one message of A2A 1.0, same port", f"{state}, score {score:g}", "COMPLETED" in state and score == 1),
        (
            "the same for an agent that is not there",
            f"{ended}, {failed['status']}: {failed['issues'][0]['message'][:70]}",
            "COMPLETED" in ended and failed["status"] == "error",
        ),
        ("the same without its version", str(bare.get("error", {}).get("message"))[:70], "error" in bare),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("gateway", "purple", "green"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).absolute(), required=True, metavar="FOLDER")
    parser.add_argument("--python", type=Path, help="of an environment with a2a-sdk<1, pytest and pytest-asyncio")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/analysisops_outside.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="beampipe-outside-") as name:
        lines = look(options, Path(name))
    table = make_table("programs of others", ["what", "seen", "holds"], [])
    for what, seen, holds in lines:
        table.add_row(what, seen, "yes" if holds else "NO")
    console(150).print(table)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    body = [{"what": what.strip(), "seen": seen, "holds": holds} for what, seen, holds in lines]
    options.output.write_text(json.dumps(body, indent=1) + "\n")
    if not all(holds for _, _, holds in lines):
        raise SystemExit("some of this does not hold")


if __name__ == "__main__":
    main()
