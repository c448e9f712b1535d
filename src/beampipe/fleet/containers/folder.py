"""The folder of `beampipe fleet compose`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from beampipe.fleet.containers.compose import compose, compose_papers, compose_places, prometheus_configuration
from beampipe.fleet.containers.gateway import gateway_text
from beampipe.fleet.containers.generated import Files, write_files, yaml_text
from beampipe.fleet.containers.image import apptainer_definition, dockerfile, wish_list
from beampipe.fleet.specification import Fleet

__all__ = ["COMMAND", "compose_files", "compose_notes", "write_compose"]

COMMAND: Final = "beampipe fleet compose"


def compose_files(fleet: Fleet) -> Files:
    """The files for containers on one machine, by name.

    Args:
        fleet: the specification.

    Raises:
        ConfigError: the names of the models are not known.
    """
    groups = [group for group in fleet.servers.values() if group.count]
    return {
        "Dockerfile": dockerfile(fleet),
        "docker-compose.yaml": yaml_text(compose(fleet)),
        "haproxy.cfg": gateway_text(fleet, compose_places(fleet), compose_papers(fleet)),
        "prometheus.yml": yaml_text(prometheus_configuration(fleet)),
        **{f"apptainer/{group.name}.def": apptainer_definition(fleet, group) for group in groups},
        "cvmfs-wish-list.yaml": wish_list(fleet),
    }


def write_compose(fleet: Fleet, folder: Path) -> list[Path]:
    """Write the files for containers on one machine.

    Args:
        fleet: the specification.
        folder: where to; files that an earlier call made and that are no longer needed are removed.

    Returns:
        The paths of the files.

    Raises:
        ConfigError: the names of the models are not known.
        FileError: a file cannot be written, or one of another origin is in its place.
    """
    return write_files(folder, compose_files(fleet), COMMAND)


def compose_notes(fleet: Fleet) -> Iterator[str]:
    """What the specification asks for and these files do not do, a sentence each."""
    if fleet.scaling is not None:
        yield "scaling: Docker Compose does not scale; the number of servers stays that of count"
    if fleet.gateway.balancing == "least_hits":
        yield "gateway.balancing: this gateway knows no sizes; it takes the server with the fewest requests"
    if fleet.gateway.athena is not None:
        yield "gateway.athena: there is no door without TLS; run `beampipe fleet sidecar` beside the jobs"
    if not Path(fleet.repository).is_dir():
        yield f"repository: got {fleet.repository}, which is no folder here; the servers will see it empty"
