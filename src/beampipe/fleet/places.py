"""What a fleet asks of the places where it may run: Slurm, Kubernetes, containers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from beampipe.errors import ConfigError

__all__ = ["ContainerSettings", "KubernetesSettings", "SlurmSettings"]

_TIME: Final = re.compile(r"(\d+-)?\d{1,2}:\d{2}:\d{2}")


@dataclass(frozen=True)
class SlurmSettings:
    """What Slurm is asked for.

    Attributes:
        partition: partition to submit to; None for the default one.
        account: account to charge; None for the default one.
        servers: number of servers of each job, all on one node: that of a node's GPUs where whole nodes are charged.
        time: time limit of each job, HH:MM:SS or D-HH:MM:SS.
        renew: time before that limit [s] at which the next job is submitted, so that the fleet goes on.
        folder: folder that all nodes see, for the registry of servers and the logs; None for one in the home folder.
        python: Python interpreter on the nodes, with beampipe installed; None for the one that writes the scripts.
        prologue: lines of shell to run before each server, e.g. ``"module load python"``.
        directives: further options for sbatch, e.g. ``"--qos=debug"``.
        host: host name or address under which a node is reached from others; ``{node}`` in it stands for the name that
            Slurm has for the node, as in ``"{node}-hsn0"``; None for that name.
    """

    partition: str | None = None
    account: str | None = None
    servers: int = 1
    time: str = "04:00:00"
    renew: int = 600
    folder: Path | None = None
    python: Path | None = None
    prologue: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    host: str | None = None

    def __post_init__(self) -> None:
        if not _TIME.fullmatch(self.time):
            raise ConfigError(f"slurm.time: got {self.time!r}, expected HH:MM:SS or D-HH:MM:SS")
        if self.servers < 1:
            raise ConfigError(f"slurm.servers: got {self.servers}, expected 1 or more")
        if not 0 <= self.renew < self.seconds:
            raise ConfigError(f"slurm.renew: got {self.renew}, expected 0 s (never) or more, and less than slurm.time")
        for directive in self.directives:
            if not directive.startswith("-") or "\n" in directive:
                raise ConfigError(
                    f"slurm.directives: got {directive!r}, expected an option for sbatch, as in --qos=debug"
                )

    @property
    def seconds(self) -> int:
        """Time limit of each job [s]."""
        days, _, clock = self.time.rpartition("-")
        hours, minutes, seconds = map(int, clock.split(":"))
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True)
class KubernetesSettings:
    """What Kubernetes is asked for.

    Attributes:
        namespace: namespace of everything.
        storage: what the models are mounted from: ``pvc``, ``nfs``, ``cvmfs-pvc`` or ``cvmfs-hostPath``, as SuperSONIC
            names them.
        claim: name of the volume claim, for ``pvc`` and ``cvmfs-pvc``.
        nfs_server: host of the models, for ``nfs``.
        nfs_path: folder of the models there, for ``nfs``.
        mount: folder in the container under which the models appear.
        gpu_product: GPU model to run on, the value of the label ``nvidia.com/gpu.product``; None for any.
        hostname: name under which clients outside the cluster reach the gateway; None for inside only.
        ingress_class: class of the cluster's ingress, such as ``nginx`` or ``haproxy``, through which clients outside
            reach SuperSONIC's gateway under `hostname`.
        tls_secret: secret with the gateway's certificate.
        token_secret: secret with the file of tokens, in the key ``tokens``.
        prometheus: address of the cluster's Prometheus, which scaling needs; None for none.
    """

    namespace: str = "beampipe"
    storage: Literal["pvc", "nfs", "cvmfs-pvc", "cvmfs-hostPath"] = "pvc"
    claim: str = "beampipe-models"
    nfs_server: str | None = None
    nfs_path: str | None = None
    mount: str = "/models"
    gpu_product: str | None = None
    hostname: str | None = None
    ingress_class: str = "nginx"
    tls_secret: str = "beampipe-tls"
    token_secret: str = "beampipe-tokens"
    prometheus: str | None = None

    def __post_init__(self) -> None:
        if self.storage == "nfs" and not (self.nfs_server and self.nfs_path):
            raise ConfigError("kubernetes.storage: got 'nfs', expected nfs_server and nfs_path with it")


@dataclass(frozen=True)
class ContainerSettings:
    """The image in which servers run.

    Attributes:
        triton: NVIDIA's image that the servers are made from.
        image: name of the image that is built from it, with beampipe in it.
        gateway: image of HAProxy.
        prometheus: image of Prometheus.
    """

    triton: str = "nvcr.io/nvidia/tritonserver:26.04-py3"
    image: str = "beampipe-triton:latest"
    gateway: str = "haproxy:3.0"
    prometheus: str = "prom/prometheus:v2.53.3"
