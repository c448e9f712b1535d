"""Athena's client, unchanged, through a gateway: at its door, and through a sidecar."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from beampipe.errors import ConfigError
from beampipe.fleet.specification import AthenaSettings, GatewaySettings
from beampipe.serving.contract import track_lists
from tests.fleet.clients.athena import ask_as_athena, athena_lists, wide
from tests.fleet.clients.conftest import few_hits, labels_here
from tests.fleet.conftest import RunningFleet
from tests.fleet.opened_sidecar import sidecar

MODEL = "module_map_athena"


def door(site: RunningFleet) -> str:
    """Address of the port for Athena."""
    athena = site.reconciler.fleet.gateway.athena
    assert athena is not None
    return f"127.0.0.1:{athena.port}"


def check_answers(url: str) -> None:
    """Each event, empty or not and in any width, gives the bytes of the lists that are found here."""
    for hits, labels in zip(few_hits(), labels_here(), strict=True):
        for width in (3, 44):
            answer = ask_as_athena(url, MODEL, wide(hits.position, width))
            (output,) = answer.outputs
            expected = track_lists(labels)
            assert (output.name, output.datatype, list(output.shape)) == ("LABELS", "INT64", [len(expected)])
            assert list(answer.raw_output_contents) == [expected.astype("<i8").tobytes()]
            assert not output.contents.ByteSize()
            assert all(row < len(hits) for track in athena_lists(answer) for row in track)


def test_at_its_door(site: RunningFleet) -> None:
    check_answers(door(site))


def test_through_a_sidecar(site: RunningFleet, papers: Path) -> None:
    port = site.reconciler.fleet.gateway.port
    with sidecar(port, "--ca", papers / "ca.pem", "--certificate", papers / "cms.pem") as (here, _):
        check_answers(f"127.0.0.1:{here}")


def test_an_error_is_a_status_and_no_answer(site: RunningFleet) -> None:
    refused = {
        "INVALID_ARGUMENT": (MODEL, np.zeros((6, 2), np.float32)),
        "NOT_FOUND": ("MetricLearning", np.zeros((6, 3), np.float32)),
    }
    for status, (model, features) in refused.items():
        with pytest.raises(grpc.RpcError) as error:
            ask_as_athena(door(site), model, features)
        assert error.value.code().name == status


def test_nothing_else_is_let_in_there(site: RunningFleet) -> None:
    with grpc.insecure_channel(door(site)) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for rpc in ("ServerLive", "RepositoryIndex", "RepositoryModelLoad", "ModelConfig"):
            with pytest.raises(grpc.RpcError) as refused:
                getattr(stub, rpc)(getattr(service_pb2, f"{rpc}Request")())
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_the_door_speaks_tls_if_it_is_told_to(single: RunningFleet, papers: Path) -> None:
    gateway = f'[gateway.tls]\ncertificate = "{papers}/gateway.pem"\n[gateway.athena]\nport = 0\ntls = true\n'
    request = np.array([[1, 2]], np.float32)
    with single.configured(gateway) as fleet:
        url = door(fleet).replace("127.0.0.1", "localhost")
        with pytest.raises(grpc.RpcError) as refused:  # of another tensor than FEATURES: it has been asked
            ask_as_athena(url, "one", request, papers / "ca.pem")
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as refused:
            ask_as_athena(url, "one", request)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_door_with_tls_needs_a_certificate() -> None:
    with pytest.raises(ConfigError, match=r"gateway\.athena\.tls: got true without gateway\.tls"):
        GatewaySettings(athena=AthenaSettings(tls=True))
