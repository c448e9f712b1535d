"""CMS's client SONIC, call by call, through a gateway with TLS that asks for a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from numpy import ndarray
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from tests.fleet.clients.conftest import MODELS, few_hits, labels_here
from tests.fleet.conftest import RunningFleet
from tests.fleet.opened_sidecar import sidecar

COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


@pytest.fixture(scope="module")
def stub(site: RunningFleet, papers: Path) -> Iterator[Any]:
    """The service, as a client with ``rootCertificates``, ``privateKey`` and ``certificateChain`` has it."""
    shown = (papers / "cms.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials((papers / "ca.pem").read_bytes(), shown, shown)
    with grpc.secure_channel(f"localhost:{site.reconciler.fleet.gateway.port}", credentials) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def config_of(site: RunningFleet, model: str) -> Any:
    """The exported ``config.pbtxt`` of the client's side, by a parser that knows NVIDIA's messages and nothing else."""
    text = (site.reconciler.fleet.repository / model / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def infer(stub: Any, model: str, features: ndarray, version: str = "", compression: str = "none") -> Any:
    """One event as it is sent: raw bytes, one output named."""
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name="FEATURES", datatype="FP32", shape=list(features.shape))
    request.outputs.add(name="LABELS")
    request.raw_input_contents.append(np.ascontiguousarray(features, "<f4").tobytes())
    return stub.ModelInfer(request, compression=COMPRESSIONS[compression], timeout=60)


def test_a_service_starts(stub: Any) -> None:
    """At the start of the service, for each server: a failure would leave the server out."""
    assert stub.ServerMetadata(service_pb2.ServerMetadataRequest()).name == "triton"
    assert stub.ServerLive(service_pb2.ServerLiveRequest()).live
    assert stub.ServerReady(service_pb2.ServerReadyRequest()).ready
    index = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest())
    assert {model.name for model in index.models} == {*MODELS, "module_map_athena_finder"}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("model", ["module_map", "module_map_ragged"])
def test_a_client_sends_events(site: RunningFleet, stub: Any, model: str, compression: str) -> None:
    local = config_of(site, model)
    config = stub.ModelConfig(service_pb2.ModelConfigRequest(name=model, version="")).config
    assert config.max_batch_size == local.max_batch_size
    metadata = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=model, version=""))
    outer = 1 if local.max_batch_size > 0 else 0
    (tensor,) = metadata.inputs
    assert (tensor.name, tensor.datatype) == ("FEATURES", "FP32")
    assert list(tensor.shape) == [*[-1] * outer, *local.input[0].dims]
    assert metadata.outputs[0].name == local.output[0].name == "LABELS"
    for hits, labels in zip(few_hits(), labels_here(), strict=True):
        stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=model, version=""))
        features = hits.position.reshape(*[1] * outer, *hits.position.shape)
        answer = infer(stub, model, features, compression=compression)
        statistics = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=model, version=""))
        assert statistics.model_stats[0].name == model
        assert [output.name for output in answer.outputs] == ["LABELS"]
        assert list(answer.outputs[0].shape) == [*[1] * outer, len(hits)]
        assert list(answer.raw_output_contents) == [labels.astype("<i8").tobytes()]


@pytest.mark.parametrize("model", MODELS)
def test_the_configuration_of_the_clients_side_is_strict_text(site: RunningFleet, stub: Any, model: str) -> None:
    local = config_of(site, model)
    assert local.name == model
    served = stub.ModelConfig(service_pb2.ModelConfigRequest(name=model)).config
    for side in ("input", "output"):
        own, theirs = (
            [(each.name, each.data_type, list(each.dims)) for each in getattr(config, side)]
            for config in (local, served)
        )
        assert own == theirs
    with pytest.raises(text_format.ParseError):
        text_format.Parse(f"{text_format.MessageToString(local)}\nno_such_field: 1", model_config_pb2.ModelConfig())


def test_through_a_sidecar_without_tls(site: RunningFleet, papers: Path) -> None:
    """As with ``SONIC_LOCAL_BALANCER_HOST``."""
    hits, labels = few_hits()[-1], labels_here()[-1]
    port = site.reconciler.fleet.gateway.port
    with (
        sidecar(port, "--ca", papers / "ca.pem", "--certificate", papers / "cms.pem") as (here, _),
        grpc.insecure_channel(f"127.0.0.1:{here}") as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert len(stub.RepositoryIndex(service_pb2.RepositoryIndexRequest()).models) == 4
        answer = infer(stub, "module_map", hits.position, compression="gzip")
        assert list(answer.raw_output_contents) == [labels.astype("<i8").tobytes()]


def test_what_is_refused(stub: Any, papers: Path, site: RunningFleet) -> None:
    features = few_hits()[2].position
    for version, model, status in (
        ("-1", "module_map", "INVALID_ARGUMENT"),
        ("7", "module_map", "NOT_FOUND"),
        ("", "ParticleNet", "NOT_FOUND"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            infer(stub, model, features, version)
        assert refused.value.code().name == status, (version, model)
    for rpc in ("SystemSharedMemoryRegister", "CudaSharedMemoryRegister", "RepositoryModelLoad"):
        with pytest.raises(grpc.RpcError) as refused:
            getattr(stub, rpc)(getattr(service_pb2, f"{rpc}Request")())
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    nobody = grpc.ssl_channel_credentials((papers / "ca.pem").read_bytes())
    with grpc.secure_channel(f"localhost:{site.reconciler.fleet.gateway.port}", nobody) as channel:
        unknown = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            unknown.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
