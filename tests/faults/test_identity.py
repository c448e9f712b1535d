"""Servers that are not what their model's name says: another pipeline, version, unit, or one member of a fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.calibration import RunSettings
from beampipe.chain.recipes import Plan
from beampipe.chain.run import make_ntuples
from beampipe.chain.settings import TrackSettings
from beampipe.chain.tracks import finder_digest, served_finder
from beampipe.errors import MismatchError, ServiceError, ServiceUnavailableError, UnknownModelError
from beampipe.events import Hits
from beampipe.serving import contract
from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.models import ServingSettings, named_models
from beampipe.tracking.catalogue import PIPELINES
from beampipe.tracking.data import shipped_events
from beampipe.tracking.loading import load_pipeline
from beampipe.triton.client.fake import FakeTransport
from beampipe.triton.engine import Engine
from beampipe.triton.model.contract import DIGEST, ModelSettings, model_class, model_digest
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server import management
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.chain.test_chain import small
from tests.faults.fault import Fault, cases, check

HITS = Hits(np.array([[30, 0, 0], [70, 0, 0], [110, 0, 0]], np.float32))
MINE, OTHER = "a" * 40, "b" * 40


def fake(
    config: Mapping[str, str], answer: str = MINE, outputs: tuple[str, ...] = ("LABELS", "DIGEST")
) -> FakeTransport:
    """A server whose configuration states these parameters, and whose answers state a digest."""
    specs = {spec.name: spec for spec in (contract.LABELS, contract.DIGEST, contract.LAYOUT)}

    def labels(arrays: Mapping[str, ndarray]) -> dict[str, ndarray]:
        stated = np.frombuffer(bytes.fromhex(answer), np.uint8)
        made: dict[str, ndarray] = {"LABELS": np.zeros(len(arrays["FEATURES"]), np.int64), "DIGEST": stated}
        return {name: made[name] for name in outputs if answer or name != "DIGEST"}

    return FakeTransport(labels, [contract.FEATURES], [specs[name] for name in outputs], parameters=config)


def asked(digest: str | None, *arguments: object) -> Callable[[Path], object]:
    """Find tracks by a fake server that must state a digest."""

    def plant(folder: Path) -> object:
        with TritonTrackFinder("fake:1", "module_map", digest=digest, transport=fake(*arguments)) as finder:  # type: ignore[arg-type]
            return finder.find(HITS)

    return plant


LABELS_ALONE = ("LABELS",)

FAULTS = (
    Fault("a server of an older version", asked(MINE, {}), "states no digest.*expected aaaaaaaaaaaa", MismatchError),
    Fault("a server with another model", asked(MINE, {DIGEST: OTHER}), "bbbbbbbbbbbb .*expected aaaa", MismatchError),
    Fault(
        "a server that runs another pipeline under this name",
        asked(MINE, {DIGEST: OTHER, "PIPELINE": "all"}),
        r"pipeline all",
        MismatchError,
    ),
    Fault("a member of a fleet that differs", asked(MINE, {DIGEST: MINE}, OTHER), "bbbbbbbbbbbb", MismatchError),
    Fault("a member of a fleet that states none", asked(MINE, {DIGEST: MINE}, ""), "DIGEST", ServiceError),
    Fault("a digest behind an identity in words", asked("", {DIGEST: OTHER}), "expected none", MismatchError),
    Fault("a digest that is only a part", asked(MINE, {DIGEST: MINE[:12]}), "expected aaaa", MismatchError),
    Fault("a server without labels", asked(MINE, {DIGEST: MINE}, MINE, ("LAYOUT",)), "a track finder", ServiceError),
    Fault(
        "a server with an unknown scale",
        asked(MINE, {DIGEST: MINE, "FEATURE_SCALE": "inch"}),
        "inch",
        ServiceError,
    ),
)


@pytest.mark.parametrize("fault", cases(FAULTS))
def test_servers_that_are_not_what_they_seem(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)


SOUND = (
    asked(MINE, {DIGEST: MINE}),
    asked(MINE, {DIGEST: MINE}, MINE, LABELS_ALONE),
    asked("", {}, MINE, LABELS_ALONE),
    asked(None, {DIGEST: OTHER}),
    asked(None, {}),
)


@pytest.mark.parametrize("use", SOUND)
@pytest.mark.filterwarnings("error")
def test_sound_servers_answer(use: Callable[[Path], object], tmp_path: Path) -> None:
    assert use(tmp_path) is not None


RIGHT = {"all": "native", "module_map": "python"}


@pytest.fixture(scope="module")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Serves two pipelines under their names, another one as `module_map_soft`, and one in other units."""
    models = [
        *(named_models(ServingSettings((name,), threads=1, backend=way))[0] for name, way in RIGHT.items()),
        *named_models(ServingSettings(("module_map",), threads=1, name="module_map_soft")),
        *named_models(ServingSettings(("exatrkx_walk",), threads=1, scale="exatrkx")),
    ]
    repository = tmp_path_factory.mktemp("identity") / "models"
    names = export_repository(repository, models)
    with TritonServer(ServerSettings(repository, models=tuple(names), triton=engine.folder)) as running:
        yield running
        running.kill()


@pytest.mark.parametrize("name", RIGHT)
def test_served_and_direct_have_one_digest(server: TritonServer, name: str) -> None:
    digest = finder_digest(TrackSettings(finder=name), None)
    config = management.model_config(server.http_url, name)
    assert config["parameters"][DIGEST]["string_value"] == digest == load_pipeline(name).digest
    hits = min((event.hits for event in shipped_events(0)), key=len)
    with served_finder(TrackSettings(finder=name, servers=(server.grpc_url,)), digest) as finder:
        finder.check()
        assert finder.find(hits).track_id.tolist() == load_pipeline(name).find(hits).track_id.tolist()


@pytest.mark.parametrize("name", ["module_map_soft", "exatrkx_walk"])
def test_a_chain_refuses_another_model_before_the_first_event(server: TritonServer, name: str, tmp_path: Path) -> None:
    settings = replace(small(tmp_path), tracks=TrackSettings(finder=name, servers=(server.grpc_url,)))
    with pytest.raises(MismatchError, match=rf"{name} states the digest .*the model of this name there has other"):
        make_ntuples(settings, RunSettings("inline"))
    assert not list((tmp_path / "store").glob("*/?/*"))


@pytest.mark.parametrize(
    ("url", "finder", "error"),
    [("grpc://127.0.0.1:1", "module_map", ServiceUnavailableError), ("", "exatrkx", UnknownModelError)],
)
def test_a_server_that_is_gone_or_lacks_the_model_is_said_first(
    server: TritonServer, url: str, finder: str, error: type[Exception], tmp_path: Path
) -> None:
    settings = replace(small(tmp_path), tracks=TrackSettings(finder=finder, servers=(url or server.grpc_url,)))
    with pytest.raises(error, match=finder if not url else "127.0.0.1"):
        make_ntuples(settings, RunSettings("inline"))
    assert not list((tmp_path / "store").glob("*/?/*"))


def test_an_identity_stands_for_what_is_not_installed_here(tmp_path: Path) -> None:
    """Keys of a model that exists only on servers follow from the stated identity."""
    keys = set()
    for identity in ("gnn of June", "gnn of July", MINE):
        tracks = TrackSettings(finder="theirs", servers=("grpc://127.0.0.1:1",), identity=identity)
        keys.add(Plan(replace(small(tmp_path), tracks=tracks)).chunks["data"][0].recipes["tracks"].key)
    assert len(keys) == 3


def test_digests_of_pipelines_differ_and_do_not_depend_on_names() -> None:
    digests = {name: load_pipeline(name).digest for name in PIPELINES}
    assert len(set(digests.values())) == len(digests)
    pipeline = load_pipeline("module_map")
    assert replace(pipeline, spec=replace(pipeline.spec, name="mine", for_what="")).digest == pipeline.digest
    assert load_pipeline("module_map", threads=1).digest == pipeline.digest
    assert load_pipeline("module_map", check=False).digest != pipeline.digest
    stages = pipeline.staged()
    assert stages.digest != pipeline.digest
    assert stages.digest == pipeline.staged().digest


TEXT = """
import numpy as np
from beampipe.triton.model.contract import TensorSpec
class Doubler:
    inputs = (TensorSpec("X", "FP32", np.float32, (-1,)),)
    outputs = (TensorSpec("Y", "FP32", np.float32, (-1,)),)
    def __init__(self, instance): ...
    def run(self, requests): return [{"Y": FACTOR * request["X"]} for request in requests]
    @classmethod
    def example(cls): return {"X": np.arange(3, dtype=np.float32)}
FACTOR = 2
"""


def test_models_of_users_have_a_digest_of_code_weights_and_parameters(tmp_path: Path) -> None:
    code, weights = tmp_path / "doubler.py", tmp_path / "weights.bin"

    def exported(text: str = TEXT, content: bytes = b"1", **parameters: str) -> str:
        code.write_text(text)
        weights.write_bytes(content)
        settings = ModelSettings("doubler", f"{code}:Doubler", parameters, (weights,))
        export_repository(tmp_path / "models", [settings])
        config = (tmp_path / "models" / "doubler" / "config.pbtxt").read_text()
        return config.partition('key: "DIGEST"')[2].partition('string_value: "')[2][:40]

    first = exported()
    assert len(first) == 40
    assert exported() == first
    version = tmp_path / "models" / "doubler" / "1"
    model = model_class("doubler.py:Doubler", version)
    assert model_digest(model, "doubler.py:Doubler", version, {}) == first, "as the backend computes it"
    (version / "doubler.py").write_text(TEXT.replace("FACTOR = 2", "FACTOR = 3"))
    assert model_digest(model, "doubler.py:Doubler", version, {}) != first, "changed by hand"
    (version / "doubler.py").write_text(TEXT)
    others = [exported(TEXT.replace("FACTOR = 2", "FACTOR = 3")), exported(content=b"2"), exported(cut="1")]
    assert len({first, *others}) == 4
