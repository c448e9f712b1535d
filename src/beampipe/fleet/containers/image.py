"""The image of the servers: NVIDIA's Triton with beampipe in it, for Docker and for Apptainer."""

from __future__ import annotations

from beampipe.fleet.containers.server import GRPC, HTTP, METRICS, server_script
from beampipe.fleet.specification import Fleet, ServerGroup

__all__ = ["MODELS", "apptainer_definition", "dockerfile", "wish_list"]

MODELS = "/models"
"""Folder in the container under which the models appear."""

_BUILD = """python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source"""
_COMPILER = (
    "apt-get update && apt-get install -y --no-install-recommends g++ python3-dev && rm -rf /var/lib/apt/lists/*"
)


def dockerfile(fleet: Fleet) -> str:
    """The text of a Dockerfile; its build context is a clone of beampipe."""
    return f"""# docker build -t {fleet.container.image} -f Dockerfile CLONE; CLONE is a clone of beampipe.
FROM {fleet.container.triton} AS build
RUN {_COMPILER}
COPY . /source
RUN {_BUILD}

FROM {fleet.container.triton}
COPY --from=build /wheels /wheels
RUN wheel=$(ls /wheels/beampipe-*.whl) \\
 && python3 -m pip install --no-cache-dir "beampipe[serving] @ file://$wheel" \\
 && rm -rf /wheels
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
EXPOSE {HTTP} {GRPC} {METRICS}
"""


def apptainer_definition(fleet: Fleet, group: ServerGroup) -> str:
    """The text of a definition file for Apptainer, to be built in the folder of a clone of beampipe.

    Args:
        fleet: the specification.
        group: group whose servers run in it.
    """
    script = "".join(f"    {line}\n" for line in server_script(fleet, group, MODELS).splitlines())
    return f"""# apptainer build {fleet.name}.sif FILE, in the folder of a clone of beampipe.
# apptainer run --bind MODELS:{MODELS}:ro{" --nv" if group.device == "gpu" else ""} {fleet.name}.sif
Bootstrap: docker
From: {fleet.container.triton}

%files
    pyproject.toml /source/pyproject.toml
    CMakeLists.txt /source/CMakeLists.txt
    README.md /source/README.md
    LICENSE /source/LICENSE
    src /source/src

%post
    set -e
    {_COMPILER}
    {_BUILD}
    wheel=$(ls /wheels/beampipe-*.whl)
    python3 -m pip install --no-cache-dir "beampipe[serving] @ file://$wheel"
    rm -rf /wheels /source

%environment
    export PYTHONDONTWRITEBYTECODE=1

%runscript
{script}
%test
    python3 -c "import beampipe.triton.model.backend"
    test -x /opt/tritonserver/bin/tritonserver
"""


def wish_list(fleet: Fleet) -> str:
    """The wish list with which CernVM-FS takes the image into ``/cvmfs/unpacked.cern.ch``; its input is one line."""
    image = fleet.container.image
    registry = image if "." in image.partition("/")[0] else f"registry.hub.docker.com/library/{image}"
    return f"""# The line to ask for at https://gitlab.cern.ch/unpacked/sync is the one under `input`.
version: 1
user: cvmfsunpacker
cvmfs_repo: unpacked.cern.ch
output_format: https://gitlab-registry.cern.ch/unpacked/sync/$(image)
input:
  - https://{registry}
"""
