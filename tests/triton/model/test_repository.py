"""Repositories are generated whole, touch nothing of others, and Triton reads them."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError
from beampipe.triton.engine import Engine
from beampipe.triton.model.canary import read_canary
from beampipe.triton.model.contract import EnsembleSettings, ModelSettings, TensorSpec
from beampipe.triton.model.repository import MANIFEST, config_text, export_repository
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.management import check_canary
from beampipe.triton.server.server import TritonServer


def parsed(text: str) -> Any:
    """A configuration as protobuf reads it by Triton's own schema."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_a_configuration_keeps_every_character() -> None:
    name = 'quo"ted\\ and \u00e9\n'
    config = parsed(config_text({"name": name, "parameters": {"A": {"string_value": "$$TRITON_MODEL_DIRECTORY/w"}}}))
    assert config.name == name
    assert config.parameters["A"].string_value == "$$TRITON_MODEL_DIRECTORY/w"


ADDER = """
import numpy as np
from beampipe.triton.model.contract import TensorSpec
from beampipe.errors import InputError

X = TensorSpec("X", "FP32", np.float32, (-1, 2))
Y = TensorSpec("Y", "FP32", np.float32, (-1,))
Z = TensorSpec("Z", "FP32", np.float32, (-1,), exact=False)

class Adder:
    inputs = (X,)
    outputs = (Y,)

    def __init__(self, instance):
        path = instance.weights / "offset.txt"
        self.offset = np.float32(path.read_text() if path.exists() else 0)

    def run(self, requests):
        return [{"Y": request["X"].sum(axis=1) + self.offset} for request in requests]

    @classmethod
    def example(cls):
        return {"X": np.arange(6, dtype=np.float32).reshape(3, 2)}

class Doubler(Adder):
    inputs = (Y,)
    outputs = (Z,)

    def run(self, requests):
        return [{"Z": 2 * request["Y"]} for request in requests]

class Refuser(Adder):
    def run(self, requests):
        raise InputError("X: got the wrong mood")

class Liar(Adder):
    def run(self, requests):
        return [{"Y": request["X"].sum(axis=1).astype(np.float64)} for request in requests]

class Mute(Adder):
    def run(self, requests):
        return [{} for request in requests]

class Confused(Adder):
    outputs = (TensorSpec("Y", "FP64", np.float32, (-1,)),)

class Needy(Adder):
    def __init__(self, instance):
        open(instance.weights / "network.bin")

class Faulty(Adder):
    def run(self, requests):
        raise ZeroDivisionError
"""


@pytest.fixture
def adder(tmp_path: Path) -> str:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "adder.py").write_text(ADDER)
    return f"{folder}/adder.py"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one(adder: str, name: str = "adder", **settings: Any) -> ModelSettings:
    return ModelSettings(name, f"{adder}:Adder", **settings)


def chain(adder: str) -> EnsembleSettings:
    steps = (one(adder, "first"), ModelSettings("second", f"{adder}:Doubler"))
    x = TensorSpec("X", "FP32", np.float32, (-1, 2))
    z = TensorSpec("Z", "FP32", np.float32, (-1,))
    return EnsembleSettings("chain", steps, (x,), (z,))


def test_what_is_written(tmp_path: Path, adder: str) -> None:
    offset = tmp_path / "offset.txt"
    offset.write_text("10")
    folder = tmp_path / "repository"
    assert export_repository(folder, [one(adder, weights=(offset,), parameters={"COLOUR": "red"})]) == ["adder"]
    assert set(contents(folder)) == {
        MANIFEST,
        "adder/config.pbtxt",
        "adder/weights/offset.txt",
        "adder/1/model.py",
        "adder/1/adder.py",
        "adder/1/canary.safetensors",
    }
    config = parsed((folder / "adder/config.pbtxt").read_text())
    assert (config.name, config.backend, config.max_batch_size) == ("adder", "python", 0)
    assert not config.HasField("dynamic_batching")
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert re.fullmatch("[0-9a-f]{40}", parameters.pop("DIGEST"))
    assert parameters == {
        "COLOUR": "red",
        "EXECUTION_MODEL_PATH": "$$TRITON_MODEL_DIRECTORY/weights",
        "MODEL_CLASS": "adder.py:Adder",
        "THREADS": "auto",
    }
    canary = read_canary(folder / "adder/1")
    assert canary is not None
    assert canary[1]["Y"].tolist() == [11, 15, 19]


def test_no_stranger_may_write_to_a_repository_whatever_the_umask(tmp_path: Path, adder: str) -> None:
    old = os.umask(0)
    try:
        export_repository(tmp_path / "models", [one(adder)])
    finally:
        os.umask(old)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "models", *tmp_path.rglob("models/**/*"))}
    assert len(modes) > 5
    assert not [path for path, mode in modes.items() if mode & stat.S_IWOTH]
    assert all(mode & stat.S_IROTH for mode in modes.values()), "reading is up to the umask"


@pytest.mark.parametrize(
    ("device", "kind", "gpus"),
    [("cpu", "KIND_CPU", []), ("cuda", "KIND_GPU", []), ("cuda:3", "KIND_GPU", [3]), ("auto", "KIND_AUTO", [])],
)
def test_instances_threads_and_device(tmp_path: Path, adder: str, device: str, kind: str, gpus: list[int]) -> None:
    export_repository(tmp_path / "repository", [one(adder, instances=3, threads=2, device=device, max_batch_size=8)])
    config = parsed((tmp_path / "repository/adder/config.pbtxt").read_text())
    (group,) = config.instance_group
    assert (group.count, group.Kind.Name(group.kind), list(group.gpus)) == (3, kind, gpus)
    assert config.parameters["THREADS"].string_value == "2"
    assert config.max_batch_size == 8
    assert all(tensor.allow_ragged_batch for tensor in config.input)
    assert config.HasField("dynamic_batching")
    assert not config.dynamic_batching.HasField("default_queue_policy")


def test_the_same_again_is_the_same_and_no_file_knows_where_it_lies(tmp_path: Path, adder: str) -> None:
    for name in ("a", "b"):
        export_repository(tmp_path / name, [one(adder), chain(adder)])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    for name, content in contents(tmp_path / "a").items():
        assert not [folder for folder in (str(tmp_path), "/work", "/root", "/home") if folder.encode() in content], name


def test_steps_come_before_their_ensemble(tmp_path: Path, adder: str) -> None:
    assert export_repository(tmp_path / "repository", [chain(adder)]) == ["first", "second", "chain"]
    config = parsed((tmp_path / "repository/chain/config.pbtxt").read_text())
    assert config.platform == "ensemble"
    assert [step.model_name for step in config.ensemble_scheduling.step] == ["first", "second"]
    assert dict(config.ensemble_scheduling.step[1].input_map) == {"Y": "Y"}
    canary = read_canary(tmp_path / "repository/chain/1")
    assert canary is not None
    assert canary[1]["Z"].tolist() == [2, 10, 18]


def test_its_own_is_replaced(tmp_path: Path, adder: str) -> None:
    folder = tmp_path / "repository"
    export_repository(folder, [one(adder), one(adder, "other")])
    cache = folder / "adder/1/__pycache__"
    cache.mkdir()
    (cache / "adder.cpython-311.pyc").write_bytes(b"as Python leaves them")
    export_repository(folder, [one(adder, instances=2)])
    assert {path.name for path in folder.iterdir()} == {MANIFEST, "adder"}
    assert "count: 2" in (folder / "adder/config.pbtxt").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"code", "repository"}


def test_a_link_to_a_folder_stays_one(tmp_path: Path, adder: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for _ in range(2):
        export_repository(tmp_path / "link", [one(adder)])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/adder/config.pbtxt").exists()


@pytest.mark.parametrize("what", ["text", "manifest", "file"])
def test_what_others_wrote_is_refused(tmp_path: Path, adder: str, what: str) -> None:
    folder = tmp_path / "thesis"
    if what == "file":
        folder.write_text("precious")
    else:
        folder.mkdir()
        (folder / ("chapter.txt" if what == "text" else MANIFEST)).write_text('"precious"')
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="no export wrote"):
        export_repository(folder, [one(adder)])
    assert contents(tmp_path) == before


@pytest.mark.parametrize("change", ["edit", "add", "delete"])
def test_changes_by_hand_are_refused(tmp_path: Path, adder: str, change: str) -> None:
    folder = tmp_path / "repository"
    export_repository(folder, [one(adder)])
    config = folder / "adder/config.pbtxt"
    if change == "edit":
        config.write_text(config.read_text().replace("count: 1", "count: 7"))
    elif change == "add":
        (folder / "adder/notes.txt").write_text("do not lose me")
    else:
        config.unlink()
    before = contents(folder)
    with pytest.raises(ConfigError, match="changes by hand in adder/") as raised:
        export_repository(folder, [one(adder)])
    assert ("notes.txt" if change == "add" else "config.pbtxt") in str(raised.value)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("Refuser", "from its own example, expected an answer: X: got the wrong mood"),
        ("Liar", "got float64 [3] for Y, expected float32 [-1] as declared"),
        ("Mute", "got nothing for Y"),
        ("Confused", "got Y of FP64 and float32, expected the same type twice, such as FP32"),
        ("Needy", "network.bin' from the model, expected its files among its weights"),
        ("Nobody", "expected 'package.module:Class' or 'file.py:Class'"),
    ],
)
def test_a_failed_export_leaves_everything_as_it_was(tmp_path: Path, adder: str, name: str, error: str) -> None:
    folder = tmp_path / "repository"
    bad = ModelSettings("bad", f"{adder}:{name}")
    with pytest.raises(ConfigError, match=re.escape(error)):
        export_repository(folder, [one(adder), bad])
    assert {path.name for path in tmp_path.iterdir()} == {"code"}
    export_repository(folder, [one(adder)])
    before = contents(folder)
    with pytest.raises(ConfigError):
        export_repository(folder, [bad])
    assert contents(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"code", "repository"}


def test_what_cannot_be_exported_leaves_nothing(tmp_path: Path, adder: str) -> None:
    refused: list[tuple[list[ModelSettings | EnsembleSettings], type[Exception], str]] = [
        ([ModelSettings("bad", f"{adder}:Faulty")], ZeroDivisionError, "division|"),  # a fault of the model, not ours
        ([chain(adder), one(adder, "second")], ConfigError, "got first, second, chain, second, expected distinct"),
        ([one(adder, weights=(tmp_path / "offset.txt",))], FileError, r"offset\.txt"),
    ]
    for models, error, message in refused:
        with pytest.raises(error, match=message):
            export_repository(tmp_path / "repository", models)
        assert {path.name for path in tmp_path.iterdir()} == {"code"}


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"name": ""}, ConfigError),
        ({"name": "../up"}, ConfigError),
        ({"name": ".hidden"}, ConfigError),
        ({"name": "a/b"}, ConfigError),
        ({"name": "a\n"}, ConfigError),
        ({"instances": 0}, ConfigError),
        ({"threads": 0}, ConfigError),
        ({"max_batch_size": -1}, ConfigError),
        ({"device": "gpu"}, UnknownNameError),
        ({"device": "3"}, UnknownNameError),
        ({"device": "cuda:"}, UnknownNameError),
        ({"device": "cuda:-1"}, UnknownNameError),
    ],
)
def test_impossible_settings(settings: dict[str, Any], error: type[BeampipeError]) -> None:
    with pytest.raises(error, match="expected"):
        ModelSettings(**{"name": "adder", "model": "adder.py:Adder", **settings})


def test_triton_serves_it_wherever_it_was_moved(tmp_path: Path, adder: str, engine: Engine) -> None:
    batched = one(adder, "batched", instances=2, device="auto", max_batch_size=4)
    export_repository(tmp_path / "repository", [one(adder), batched, chain(adder)])
    (tmp_path / "code" / "adder.py").unlink()
    moved = (tmp_path / "repository").rename(tmp_path / "elsewhere")
    with TritonServer(ServerSettings(moved, triton=engine.folder, supervise=False)) as server:
        assert set(server.models) == {"adder", "batched", "first", "second", "chain"}
        assert len([stub for stub in server.stubs() if stub.model == "batched"]) == 2
        for name in server.models:
            assert check_canary(server.http_url, moved / name / "1", name, batched=name == "batched")
    # Running it is no change by hand.
    manifest = json.loads((moved / MANIFEST).read_text())
    (tmp_path / "code" / "adder.py").write_text(ADDER)
    assert export_repository(moved, [one(adder)]) == ["adder"]
    assert json.loads((moved / MANIFEST).read_text()) != manifest
