"""Fingerprints of what a fleet generates, for `fingerprints.py`: files for containers, Kubernetes and Slurm, and more.

    fleet/SPECIFICATION/compose/FILE, k8s/FILE, slurm/FILE     what `beampipe fleet compose`, `k8s` and `slurm` write
    fleet/SPECIFICATION/haproxy, haproxy_canary                the gateway's configuration on one machine
    fleet/SPECIFICATION/prometheus, page                       settings of its Prometheus, the page of `fleet watch`
    fleet/sidecar/CASE, metrics, dashboard, rules              the rest

YAML is compared as data, in its order; paths and the version of the package are masked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import yaml

from beampipe.fleet import Fleet, read_fleet
from beampipe.fleet.deploy.containers import compose_notes, write_compose
from beampipe.fleet.deploy.kubernetes import kubernetes_notes, write_kubernetes
from beampipe.fleet.deploy.slurm import slurm_files, slurm_notes
from beampipe.fleet.gateway.haproxy import haproxy_configuration
from beampipe.fleet.gateway.plan import Address, CanaryShare, GatewayPlan, slots_of
from beampipe.fleet.monitoring.page import fleet_metrics, render_page
from beampipe.fleet.monitoring.prometheus import grafana_dashboard, prometheus_settings, rules_text
from beampipe.fleet.registry import Record
from beampipe.fleet.sidecar import Sidecar, sidecar_configuration
from beampipe.triton.client.endpoint import Security, parse_endpoint

__all__ = ["items"]

LEAST: Final = """
repository = "models"
models = ["one"]
[servers.cpu]
count = 2
"""

NFS: Final = f"""
{LEAST}
[kubernetes]
storage = "nfs"
nfs_server = "files"
nfs_path = "/exports/models"
"""

WHOLE: Final = """
name = "trk"
repository = "models"
models = ["module_map", "exatrkx"]
exit_timeout = 20
[servers.cpu]
count = 2
cores = 4
threads = 2
[servers.gpu]
count = 1
most = 8
device = "gpu"
cores = 2
memory = 16
weight = 80
[gateway]
tokens = "tokens"
rate = 1000
[gateway.tls]
certificate = "tls.pem"
client_ca = "ca.pem"
[scaling]
group = "gpu"
queue = 12.5
[kubernetes]
namespace = "hep"
storage = "cvmfs-pvc"
claim = "cvmfs"
mount = "/cvmfs/unpacked.cern.ch/models"
gpu_product = "NVIDIA-A10"
hostname = "tracks.example.org"
prometheus = "https://prometheus.example.org"
"""

CHAINS: Final = """
name = "hp"
repository = "models"
[servers.cpu]
count = 1
most = 3
threads = 3
memory = 2.5
[servers.idle]
count = 0
[gateway]
host = "::1"
port = 9443
balancing = "round_robin"
compressed = true
arrival = 2.5
answer = 33.3
connections = 500
body = 1000000
[gateway.tls]
certificate = "tls.pem"
[gateway.athena]
port = 443
tls = true
networks = ["10.0.0.0/8", "192.168.0.0/16"]
[scaling]
group = "cpu"
[kubernetes]
storage = "cvmfs-hostPath"
mount = "/cvmfs/x.cern.ch/m"
hostname = "h.example.org"
ingress_class = "haproxy"
prometheus = "http://p:9091"
[monitoring]
interval = 0.7
retention = 3
prometheus_port = 9191
[container]
image = "beampipe/triton:2"
"""

SLURM: Final = """
name = "site"
repository = "models"
[servers.cpu]
count = 5
cores = 3
threads = 2
memory = 1.25
[servers.gpu]
count = 2
most = 2
device = "gpu"
[gateway]
host = "0.0.0.0"
port = 8443
tokens = "tokens"
balancing = "least_hits"
[gateway.tls]
certificate = "tls.pem"
[gateway.athena]
[slurm]
partition = "long"
account = "m12"
servers = 4
time = "1-02:00:00"
renew = 300
folder = "/scratch/my fleet"
python = "/opt/py 3/bin/python"
prologue = ["module load python", "export A='b c'"]
directives = ["--qos=debug", "--exclusive"]
host = "{node}-ib0"
"""

SPECIFICATIONS: Final = {"least": LEAST, "nfs": NFS, "whole": WHOLE, "chains": CHAINS, "slurm": SLURM}


def items(folder: Path) -> Iterator[tuple[str, str]]:
    """Pairs of name and sha256 of everything that is generated."""
    write_models(folder / "models")
    examples = {
        f"example_{name}": (files("beampipe.fleet") / "examples" / f"{name}.toml").read_text(encoding="utf-8")
        for name in ("laptop", "slurm", "kubernetes")
    }
    for name, text in (SPECIFICATIONS | examples).items():
        path = folder / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        for what, content in generated(read_fleet(path), path, folder / name).items():
            yield f"fleet/{name}/{what}", digest(what, content.replace(str(folder), "FOLDER"))
    for name, content in rest(folder).items():
        yield f"fleet/{name}", digest(name, content.replace(str(folder), "FOLDER"))


def digest(name: str, text: str) -> str:
    """The sha256 of a file; of YAML that of its data."""
    text = re.sub(r"Made by beampipe [^,]*,", "Made by beampipe VERSION,", text)
    if name.endswith((".yaml", ".yml", "prometheus")):
        text = json.dumps(list(yaml.safe_load_all(text)))
    return sha256(text.encode()).hexdigest()


def write_models(repository: Path) -> None:
    """The configurations of three models and of two chains, as much of them as is read beside a server."""
    models = {"one": (), "module_map": (), "exatrkx": (), "chain.x": ("exatrkx", "module_map"), "single": ("one",)}
    for name, steps in models.items():
        (repository / name).mkdir(parents=True)
        inside = "".join(f'  step {{\n    model_name: "{step}"\n  }}\n' for step in steps)
        text = f'name: "{name}"\n' + (f"ensemble_scheduling {{\n{inside}}}\n" if steps else "")
        (repository / name / "config.pbtxt").write_text(text, encoding="utf-8")


def generated(fleet: Fleet, specification: Path, folder: Path) -> dict[str, str]:
    """Everything that is generated for one fleet, by name."""
    texts = {
        "compose/notes": "\n".join(compose_notes(fleet)),
        "k8s/notes": "\n".join(kubernetes_notes(fleet)),
        "slurm/notes": "\n".join(slurm_notes(fleet)),
    }
    for kind, write in (("compose", write_compose), ("k8s", write_kubernetes)):
        for path in write(fleet, folder / kind):
            texts[str(path.relative_to(folder))] = path.read_text(encoding="utf-8")
    for name, text in slurm_files(fleet, specification, folder / "slurm").items():
        if fleet.slurm.python is not None:  # else it names this interpreter
            texts[f"slurm/{name}"] = text.replace(str(Path.home()), "HOME")
    addresses = [Address("10.0.0.7" if n % 2 else "::1", 8000 + n, 9000 + n) for n in range(99)]
    addressed = tuple(replace(slot, address=at) for slot, at in zip(slots_of(fleet), addresses, strict=False))
    plan = GatewayPlan(
        fleet,
        (replace(addressed[0], address=None), *addressed[1:]),
        Path("/run/haproxy.sock"),
        8404,
        ("one", "two"),
        "SECRET",
        hits=Path("/least_hits.lua") if fleet.gateway.balancing == "least_hits" else None,
        slow_bodies=Path("/slow_bodies.lua"),
        threads=4,
    )
    texts["haproxy"] = haproxy_configuration(plan)
    texts["haproxy_canary"] = haproxy_configuration(replace(plan, canary=CanaryShare(addressed[-1].server, 0.0525)))
    texts["prometheus"] = prometheus_settings(
        fleet,
        folder / "rules.yml",
        str(folder / "servers.json"),
        gateway="127.0.0.1:1234",
        page="127.0.0.1:2345",
    )
    texts["page"] = repr(render_page(fleet.name, fleet.monitoring.interval))
    return texts


def rest(folder: Path) -> dict[str, str]:
    """What is generated for no fleet in particular, by name."""
    (folder / "token").write_text('se%cr"et$\\x', encoding="utf-8")
    for name in ("ca.pem", "client.pem"):
        (folder / name).touch()
    security = Security(folder / "token", folder / "ca.pem", folder / "client.pem")
    sidecars = {
        "plain": Sidecar(parse_endpoint("grpc://127.0.0.1:9", "grpc"), Security()),
        "tls": Sidecar(parse_endpoint("grpcs://h.org:9", "grpc"), security, port=1, patience=7, answer=3.0),
    }
    records = {
        name: Record(name, 'a "group"', "host", 1, 2, 3, 4, state, beat=beat)
        for name, state, beat in (("a-0", "ready", 9e12), ('b\\"\n', "hangs", 9e12), ("c-2", "ready", 0.0))
    }
    return {
        **{f"sidecar/{name}": sidecar_configuration(sidecar) for name, sidecar in sidecars.items()},
        "metrics": fleet_metrics(records),  # type: ignore[arg-type]
        "dashboard": json.dumps(grafana_dashboard("x")),
        "rules.yml": rules_text(2.0),
    }
