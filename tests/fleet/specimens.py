"""Specifications of fleets, from the smallest to one that uses everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from beampipe.fleet import Fleet, read_fleet

LEAST = 'repository = "models"\nmodels = ["one"]\n[servers.cpu]\ncount = 2\n'
"""Two servers without GPU, one model."""

WHOLE = """
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
"""Two groups, one of them with GPUs and scaled, behind TLS, tokens and an ingress, with models from CVMFS."""

NFS = LEAST + '[kubernetes]\nstorage = "nfs"\nnfs_server = "files"\nnfs_path = "/exports/models"\n'
"""Models from NFS."""

SPECIMENS = {"least": LEAST, "whole": WHOLE, "nfs": NFS}


def specimen(folder: Path, text: str) -> Fleet:
    """The fleet of a text, as if it were a file in a folder."""
    path = folder / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return read_fleet(path)


def write_model(repository: Path, name: str, *steps: str) -> None:
    """The configuration of a served model, as much of it as is read beside a server; with steps it is a chain."""
    folder = repository / name
    folder.mkdir(parents=True)
    text = f'name: "{name}"\n'
    if steps:
        inside = "".join(f'  step {{\n    model_name: "{step}"\n  }}\n' for step in steps)
        text += f"ensemble_scheduling {{\n{inside}}}\n"
    (folder / "config.pbtxt").write_text(text)


def write_requests(path: Path, requests: Mapping[str, Sequence[Mapping[str, ndarray]]]) -> None:
    """Record requests in a file, by model, as a user does with numpy."""
    arrays = {
        f"{model}/{number}/{tensor}": array
        for model, sent in requests.items()
        for number, request in enumerate(sent)
        for tensor, array in request.items()
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]
