"""How a Triton is started in a container: one script of shell, whatever runs the container."""

from __future__ import annotations

import json
import math
import shlex
from typing import Final

from beampipe.errors import ConfigError
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.triton.model.repository import MANIFEST

__all__ = [
    "DRAIN",
    "GRPC",
    "HTTP",
    "METRICS",
    "fleet_models",
    "memory",
    "readiness",
    "server_script",
]

HTTP: Final = 8000
"""Port of a server in its container for HTTP."""
GRPC: Final = 8001
"""Port of a server in its container for gRPC."""
METRICS: Final = 8002
"""Port of a server's metrics in its container."""
DRAIN: Final = 10
"""Time [s] that a server goes on after it was told to end, until every gateway knows."""

_TRITON: Final = "/opt/tritonserver/bin/tritonserver"
_CHOSEN: Final = "/tmp/models"
"""Folder in the container of links to the models of the fleet, where those are not the whole repository."""
_CLOSED: Final = "shared-memory,logging,trace"
_HERE: Final = f"http://localhost:{HTTP}"


def fleet_models(fleet: Fleet) -> tuple[str, ...]:
    """Names of the models that each server has.

    Raises:
        ConfigError: the specification names none, and its repository is not on this machine.
    """
    if fleet.models:
        return fleet.models
    try:
        names = json.loads((fleet.repository / MANIFEST).read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError, TypeError):
        names = sorted(path.parent.name for path in fleet.repository.glob("*/config.pbtxt"))
    if not names:
        raise ConfigError(
            f"models: got none, and {fleet.repository} is no repository on this machine, expected the names of the"
            ' models, such as models = ["module_map"]: each server is asked whether it has them'
        )
    return tuple(map(str, names))


def server_script(
    fleet: Fleet, group: ServerGroup, repository: str, *, drains: bool = False, program: str = _TRITON
) -> str:
    """The script that starts a server, and ends with it.

    Nobody can load or unload models there: Triton refuses to in the mode ``none``. Of a part of the repository a
    folder of links is made. Shared memory, logging and traces ask for a secret that is thrown away.

    Args:
        fleet: the specification.
        group: group of the server.
        repository: folder of the models in the container.
        drains: whether the script itself tells that it ends, by the file ``/tmp/shutdown``, and goes on for `DRAIN`
            before it does; without, it becomes the server.
        program: path of Triton.
    """
    folder, lines = repository, [f"export OMP_NUM_THREADS={group.threads}"] if group.threads else []
    if fleet.models:
        folder = _CHOSEN
        linked = " ".join(shlex.quote(f"{repository}/{name}") for name in fleet.models)
        lines += [f"mkdir -p {folder}", f"ln -sfn {linked} {folder}/"]
    arguments = [
        shlex.quote(f"--model-repository={folder}"),
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        f"--http-port={HTTP}",
        f"--grpc-port={GRPC}",
        f"--metrics-port={METRICS}",
        f"--exit-timeout-secs={fleet.exit_timeout}",
        *([] if group.device == "gpu" else ["--allow-gpu-metrics=false"]),
        f'"--http-restricted-api={_CLOSED}:beampipe-secret=$secret"',
        f'"--grpc-restricted-protocol={_CLOSED}:beampipe-secret=$secret"',
    ]
    lines.append("secret=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \\n')")
    command = " \\\n  ".join([program, *arguments])
    if not drains:
        return "\n".join([*lines, f"exec {command}"]) + "\n"
    ending = [
        f"{command} &",
        "server=$!",
        f"trap 'touch /tmp/shutdown; sleep {DRAIN}; kill -TERM $server' TERM INT",
        # A signal ends `wait`, not the server.
        "wait $server; status=$?",
        "while kill -0 $server 2>/dev/null; do wait $server; status=$?; done",
        "exit $status",
    ]
    return "\n".join([*lines, *ending]) + "\n"


def readiness(models: tuple[str, ...]) -> str:
    """A command of shell that succeeds if a server says of each model that it is ready.

    Since Triton 26.01 that becomes false where a process of a model has died or hangs.
    """
    urls = [f"{_HERE}/v2/models/{model}/ready" for model in models]
    return " && ".join(f"curl -sf {url} > /dev/null" for url in [f"{_HERE}/v2/health/ready", *urls])


def memory(group: ServerGroup) -> str:
    """Memory of a server as Kubernetes writes it, such as ``4096Mi``."""
    return f"{math.ceil(1024 * group.memory)}Mi"
