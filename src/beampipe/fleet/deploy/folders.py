"""The folders that `beampipe fleet compose`, `k8s` and `slurm` write, and what a specification asks in vain there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from beampipe.files import replacing
from beampipe.fleet.deploy import slurm
from beampipe.fleet.deploy.containers import (
    apptainer_definition,
    compose_credentials,
    compose_document,
    compose_slots,
    dockerfile,
    gateway_text,
    prometheus_configuration,
    wish_list,
)
from beampipe.fleet.deploy.kubernetes import (
    GATEWAY,
    SERVER,
    disruption_budget,
    gateway_configuration,
    gateway_credentials,
    gateway_deployment,
    gateway_monitor,
    gateway_name,
    gateway_service,
    gateway_slots,
    labels,
    metadata,
    network_policies,
    prometheus_rule,
    release_name,
    running_groups,
    scaled_group,
    scaled_object,
    server_deployment,
    server_monitor,
    server_service,
)
from beampipe.fleet.deploy.slurm_job import JobSettings, job_text
from beampipe.fleet.deploy.supersonic import CONFIG_MAP, chart_envoy, supersonic_values
from beampipe.fleet.generated_files import Files, write_files, yaml_text
from beampipe.fleet.monitoring.prometheus import rules_text
from beampipe.fleet.run_folder import RunFolder, make_snapshot, shared_folder
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.triton.client.endpoint import is_loopback
from beampipe.triton.server.launch import check_repository

COMPOSE_COMMAND: Final = "beampipe fleet compose"


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
        "docker-compose.yaml": yaml_text(compose_document(fleet)),
        "haproxy.cfg": gateway_text(fleet, compose_slots(fleet), compose_credentials(fleet)),
        "prometheus.yml": yaml_text(prometheus_configuration(fleet)),
        "rules.yml": rules_text(fleet.monitoring.interval),
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
    return write_files(folder, compose_files(fleet), COMPOSE_COMMAND)


def compose_notes(fleet: Fleet) -> Iterator[str]:
    """What the specification asks for and these files do not do, a sentence each."""
    if fleet.scaling is not None:
        yield "scaling: Docker Compose does not scale; the number of servers stays that of count"
    if fleet.gateway.balancing == "least_hits":
        yield "gateway.balancing: this gateway knows no sizes; it takes the server with the fewest requests"
    if fleet.gateway.athena is not None:
        yield "gateway.athena: there is no door without TLS; jobs need a sidecar of their own that adds TLS and token"
    if not Path(fleet.repository).is_dir():
        yield f"repository: got {fleet.repository}, which is no folder here; the servers will see it empty"


KUBERNETES_COMMAND: Final = "beampipe fleet k8s"


def kubernetes_files(fleet: Fleet) -> Files:
    """The files for Kubernetes, by their path: ``supersonic/`` for Helm, ``manifests/`` for `kubectl apply`.

    Args:
        fleet: the specification.

    Raises:
        ConfigError: the specification asks for what cannot be done in Kubernetes, or leaves out what must be known.
    """
    return {
        **{f"supersonic/{name}": text for name, text in _supersonic(fleet).items()},
        **{f"manifests/{name}": text for name, text in _manifests(fleet).items()},
    }


def write_kubernetes(fleet: Fleet, folder: Path) -> list[Path]:
    """Write the files for Kubernetes.

    Args:
        fleet: the specification.
        folder: where to; files that an earlier call made and that are no longer needed are removed.

    Returns:
        The paths of the files.

    Raises:
        ConfigError: the specification asks for what cannot be done in Kubernetes, or leaves out what must be known.
        FileError: a file cannot be written, or one of another origin is in its place.
    """
    return write_files(folder, kubernetes_files(fleet), KUBERNETES_COMMAND)


def kubernetes_notes(fleet: Fleet) -> Iterator[str]:
    """What the specification asks for and these files do not do, a sentence each."""
    gateway, settings = fleet.gateway, fleet.kubernetes
    if gateway.balancing == "least_hits":
        yield "gateway.balancing: these gateways know no sizes; they take the server with the fewest requests"
    if gateway.athena is not None:
        yield "gateway.athena: there is no door without TLS; jobs need a sidecar of their own that adds TLS and token"
    if gateway.tokens is not None or gateway.tls is not None:
        yield "gateway.tokens, gateway.tls: SuperSONIC's Envoy asks for neither; its ingress must, or take manifests/"
    if gateway.tls is None:
        yield f"gateway.tls: the gateway of manifests/ has TLS all the same, from the secret {settings.tls_secret}"
    if settings.storage == "cvmfs-pvc" and settings.claim != "cvmfs":
        yield f"kubernetes.claim: SuperSONIC mounts the claim cvmfs, not {settings.claim}"
    if any(group.device == "gpu" and group.weight == 10 for group in fleet.servers.values()) and len(fleet.servers) > 1:
        yield "servers: groups with and without GPU have the same weight; a faster server should have a larger one"


def _supersonic(fleet: Fleet) -> dict[str, str]:
    groups = running_groups(fleet)
    configuration = yaml_text(chart_envoy(fleet))
    files = {f"values-{group.name}.yaml": yaml_text(supersonic_values(fleet, group)) for group in groups}
    if len(groups) == 1:
        files = {"values.yaml": next(iter(files.values()))}
    monitors = [server_monitor(fleet, group, _chart_labels(release_name(fleet, group))) for group in groups]
    return {
        **files,
        "envoy.yaml": configuration,
        "envoy-configmap.yaml": yaml_text(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": metadata(fleet, f"{fleet.name}-{CONFIG_MAP}", GATEWAY),
                "data": {"envoy.yaml": configuration},
            }
        ),
        "monitors.yaml": yaml_text(*monitors),
    }


def _chart_labels(name: str) -> dict[str, str]:
    """Labels of the Service of the servers that the chart makes."""
    return {
        "app.kubernetes.io/name": "supersonic",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "triton",
    }


def _manifests(fleet: Fleet) -> dict[str, str]:
    text = gateway_text(fleet, gateway_slots(fleet), gateway_credentials(fleet))
    files = {
        "namespace.yaml": yaml_text(_namespace(fleet)),
        "network.yaml": yaml_text(*network_policies(fleet)),
        "gateway.yaml": yaml_text(
            gateway_configuration(fleet, text),
            gateway_deployment(fleet, text),
            gateway_service(fleet),
            disruption_budget(fleet, gateway_name(fleet), GATEWAY),
        ),
        "monitoring.yaml": yaml_text(
            *(
                server_monitor(fleet, group, labels(fleet, release_name(fleet, group), SERVER))
                for group in running_groups(fleet)
            ),
            gateway_monitor(fleet),
            prometheus_rule(fleet),
        ),
    }
    for group in running_groups(fleet):
        files[f"servers-{group.name}.yaml"] = yaml_text(
            server_deployment(fleet, group),
            server_service(fleet, group),
            disruption_budget(fleet, release_name(fleet, group), SERVER),
        )
    scaled = scaled_group(fleet)
    if scaled is not None and fleet.scaling is not None:
        files["scaling.yaml"] = yaml_text(scaled_object(fleet, scaled, fleet.scaling))
    return files


def _namespace(fleet: Fleet) -> dict[str, Any]:
    # The strictest standard that lets the models be mounted.
    level = {"nfs": "baseline", "cvmfs-hostPath": "privileged"}.get(fleet.kubernetes.storage, "restricted")
    enforced = {"pod-security.kubernetes.io/enforce": level}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": fleet.kubernetes.namespace, "labels": enforced},
    }


SLURM_COMMAND: Final = "beampipe fleet slurm"


def slurm_files(fleet: Fleet, specification: Path, folder: Path) -> Files:
    """The scripts, by name.

    Args:
        fleet: the specification.
        specification: its file.
        folder: folder in which the scripts will be.
    """
    shared = shared_folder(fleet)
    files = {
        slurm.script_name(group): slurm.servers_script(fleet, group, _settings_file(shared, group), shared / "logs")
        for group in _groups_with_servers(fleet)
    }
    if not is_loopback(fleet.gateway.host):
        files[slurm.GATEWAY] = slurm.gateway_script(fleet, specification, shared, folder / slurm.GATEWAY)
    files[slurm.START] = slurm.start_script(fleet, folder, shared)
    files[slurm.END] = slurm.end_script(fleet, shared)
    return files


def write_slurm(fleet: Fleet, specification: Path, folder: Path) -> list[Path]:
    """Write the scripts, and make the shared folder ready: a copy of the models, the secret, what jobs are told.

    Args:
        fleet: the specification.
        specification: its file.
        folder: folder for the scripts, which all nodes see.

    Returns:
        The paths of the scripts.

    Raises:
        ConfigError: a model is not what a server can load, or the shared folder belongs to somebody else.
        FileError: a file cannot be written, or one of another origin is in its place.
    """
    folder, specification = folder.absolute(), specification.absolute()
    check_repository(fleet.repository, fleet.models)
    run = RunFolder(shared_folder(fleet), shared_folder(fleet))
    run.make()
    digest, models = make_snapshot(fleet.repository, run.repositories)
    for group in _groups_with_servers(fleet):
        script = folder / slurm.script_name(group)
        with replacing(_settings_file(run.path, group), parents=True) as part:
            part.write_text(job_text(_job_settings(fleet, group, script, run.path, models, digest)), encoding="utf-8")
    return write_files(folder, slurm_files(fleet, specification, folder), SLURM_COMMAND)


def slurm_notes(fleet: Fleet) -> Iterator[str]:
    """What the specification asks for and these files do not do, a sentence each."""
    if fleet.scaling is not None:
        yield "scaling: jobs do not scale; the number of servers stays that of count"
    if is_loopback(fleet.gateway.host):
        yield (
            f"gateway.host: got {fleet.gateway.host}, where only programs beside the gateway reach it: run it where"
            " clients are; there is no script for a gateway in a job"
        )
    for group in _groups_with_servers(fleet):
        if fleet.slurm.renew and group.places < 2 * group.count:
            yield (
                f"servers.{group.name}.most: got {group.places}, expected {2 * group.count}: when all jobs are renewed"
                " at once, servers of old and new ones need places in the gateway"
            )


def _groups_with_servers(fleet: Fleet) -> list[ServerGroup]:
    return [group for group in fleet.servers.values() if group.count]


def _settings_file(shared: Path, group: ServerGroup) -> Path:
    return shared / "jobs" / f"{group.name}.json"


def _job_settings(
    fleet: Fleet, group: ServerGroup, script: Path, shared: Path, repository: Path, digest: str
) -> JobSettings:
    return JobSettings(
        group.name,
        group.count,
        fleet.slurm.servers,
        script,
        shared,
        repository,
        digest,
        slurm.step_options(group),
        models=fleet.models,
        host=fleet.slurm.host,
        threads=group.threads,
        start_timeout=fleet.start_timeout,
        exit_timeout=fleet.exit_timeout,
        patience=fleet.patience,
    )
