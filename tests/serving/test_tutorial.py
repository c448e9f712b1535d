"""The code of the tutorial, run as its page has it: the served scores are the local ones, byte for byte."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import BeampipeError
from beampipe.serving.models import ServingSettings, named_models
from beampipe.tracking import load_pipeline
from beampipe.tracking.data import shipped_events, shipped_path
from beampipe.triton.engine import Engine
from beampipe.triton.model.contract import Instance, model_class
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/pipeline.md").read_text()
SERVING = (ROOT / "docs/serving.md").read_text()
INCLUDED = re.findall(r"^```\{literalinclude\} \.\./(\S+)$", PAGE, re.M)
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
COMMANDS = re.findall(r"^    (python .*?)(?: +#.*)?$", PAGE, re.M)


def run(folder: Path, *arguments: str) -> str:
    """What a Python command prints, in a folder."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(script: str) -> list[str]:
    """The arguments of the page's command that runs a script."""
    (result,) = [line for line in COMMANDS if f"/{script}" in line]
    words: list[str] = result.split()
    return words[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would be, with the exported repository in it."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples/jet_tagger", folder / "examples/jet_tagger")
    assert run(folder, *command("export.py")) == "written: jet_tagger jet_tagger_batched\n"
    return folder


@pytest.fixture(scope="module")
def tagger(folder: Path) -> Any:
    here = folder / "examples/jet_tagger"
    return model_class(f"{here}/jet_tagger.py:JetTagger")(Instance(weights=here))


@pytest.fixture(scope="module")
def server(folder: Path, engine: Engine) -> Iterator[TritonServer]:
    with TritonServer(ServerSettings(folder / "jets", triton=engine.folder, supervise=False)) as server:
        yield server
        server.kill()


def some_jets(n: int, seed: int) -> ndarray:
    random = np.random.default_rng(seed)
    low, high = [500, 0, 1, 0, 0], [2000, 2.1, 60, 0.4, 0.4]
    return random.uniform(low, high, (n, 5)).astype(np.float32)


def local(tagger: Any, jets: ndarray) -> ndarray:
    scores: ndarray = tagger.run([{"JETS": jets}])[0]["SCORES"]
    return scores


def served(url: str, model: str, jets: ndarray) -> ndarray:
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(url) as client:
        tensor = triton.InferInput("JETS", jets.shape, "FP32")
        tensor.set_data_from_numpy(jets)
        scores: ndarray = client.infer(model, [tensor], client_timeout=30).as_numpy("SCORES")
        return scores


def test_the_page_shows_all_of_the_example() -> None:
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "examples/jet_tagger").glob("*.py"))
    assert sorted(INCLUDED) == files
    for name in INCLUDED:
        assert len((ROOT / name).read_text().splitlines()) < 40


def test_the_weights_are_those_of_the_recipe(folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    shutil.copytree(folder / "examples/jet_tagger", tmp_path / "examples/jet_tagger")
    weights = tmp_path / "examples/jet_tagger/jet_tagger.safetensors"
    shipped = load_file(weights)
    weights.unlink()
    run(tmp_path, *command("train.py"))
    made = load_file(weights)
    assert made.keys() == shipped.keys()
    for name, values in shipped.items():
        np.testing.assert_allclose(made[name], values, rtol=1e-4, atol=1e-4)


def typed(*starts: str) -> str:
    """The block of *Run it locally*, then those that hold these words."""
    blocks = [block for word in ("toy_jets", *starts) for block in BLOCKS if word in block]
    assert len(blocks) == 1 + len(starts)
    return "".join(blocks)


def test_the_code_of_the_page_runs(server: TritonServer, folder: Path) -> None:
    """The model here, a fake, a counter, and the client of a server."""
    code = typed("FakeTransport", "CountingTagger", "client.submit")
    assert code.count("127.0.0.1:8001") == 1
    first, *printed = run(folder, "-c", code.replace("127.0.0.1:8001", server.grpc_url)).splitlines()
    assert printed == ["[0.5 0.5 0.5] after 1 request", "events 1 ", "jets 10000 ", "the same scores: True 10"]
    result = re.search(r"quarks (\S+), of gluons (\S+)$", first)
    assert result is not None
    quarks, gluons = map(float, result.groups())
    assert quarks > 0.5 > gluons
    assert quarks - gluons > 0.2


def test_the_served_scores_are_the_local_ones(server: TritonServer, tagger: Any) -> None:
    for n in (0, 1, 2, 7, 1000, 100_000):
        jets = some_jets(n, seed=n)
        assert served(server.grpc_url, "jet_tagger", jets).tobytes() == local(tagger, jets).tobytes()


def test_the_pages_client_gets_them_too(server: TritonServer, tagger: Any, folder: Path) -> None:
    script, url = command("ask.py")
    assert url == "127.0.0.1:8001"
    printed = run(folder, script, server.grpc_url)
    code = (folder / script).read_text()
    (line,) = [line for line in code.splitlines() if line.startswith("jets = ")]
    names: dict[str, Any] = {"np": np}
    exec(line, names)
    assert printed == f"{local(tagger, names['jets']).tolist()}\n"


def test_batches_change_no_byte(server: TritonServer, tagger: Any) -> None:
    events = [some_jets(n, seed=n) for n in np.random.default_rng(1).integers(0, 300, 64).tolist()]
    together = tagger.run([{"JETS": jets} for jets in events])
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda jets: served(server.grpc_url, "jet_tagger_batched", jets[None]), events)
        for jets, own, scores in zip(events, together, answers, strict=True):
            assert scores.shape == (1, len(jets))
            assert scores.tobytes() == own["SCORES"].tobytes() == local(tagger, jets).tobytes()


@pytest.mark.parametrize("model", ["jet_tagger", "jet_tagger_batched"])
def test_bad_jets_are_refused_by_name(server: TritonServer, model: str) -> None:
    from tritonclient.utils import InferenceServerException

    jets = some_jets(3, seed=1)
    jets[1, 2] = np.nan
    with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*JETS: got NaN"):
        served(server.grpc_url, model, jets[None] if model.endswith("batched") else jets)


def test_the_pages_server_starts(
    folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from beampipe.triton.engine import ENGINE_VARIABLE

    monkeypatch.setenv(ENGINE_VARIABLE, str(engine.folder))
    monkeypatch.chdir(folder)
    (block,) = [block for block in BLOCKS if "TritonServer" in block]
    assert "grpc_port=8001" in block
    # The port may be taken here: a free one stands in.
    exec(block.replace("grpc_port=8001", "grpc_port=0"), {})
    assert re.fullmatch(r"gRPC at 127\.0\.0\.1:\d+\n", capsys.readouterr().out)


def test_it_refuses_what_cannot_be_a_jet(tagger: Any) -> None:
    jets = some_jets(3, seed=1)
    jets[0, 0] = -1
    with pytest.raises(BeampipeError, match="pt <= 0"):
        local(tagger, jets)


def test_the_python_of_the_serving_page_runs(tmp_path: Path, engine: Engine) -> None:
    """All its blocks in order, as one reader would type them, with the addresses of this server."""
    code = "".join(re.findall(r"^```python\n(.*?)^```$", SERVING, re.M | re.S))
    shutil.copyfile(shipped_path(0), tmp_path / "events.parquet")
    export_repository(tmp_path / "models", named_models(ServingSettings(("exatrkx",))))
    with TritonServer(ServerSettings(tmp_path / "models", triton=engine.folder, supervise=False)) as server:
        assert code.count("127.0.0.1:8001") == 3
        # The nodes of the page are nowhere, which is what its fallback is for.
        code = code.replace("127.0.0.1:8001", server.grpc_url).replace("node1:8001", "127.0.0.1:1")
        printed = run(tmp_path, "-c", code.replace("node2:8001", "127.0.0.1:2")).splitlines()
        server.kill()
    n_tracks = [load_pipeline("exatrkx", threads=1).find(event.hits).n_tracks for event in shipped_events(0)]
    assert printed[:20] == [f"{number} {n}" for number, n in zip(range(20), n_tracks, strict=True)]
    assert printed[20] == str(n_tracks)
    assert re.fullmatch(r"\d{5} hits, \d{3} tracks", printed[21])
    assert len(printed) == 22
    events = json.loads((tmp_path / "events.json").read_text())["data"]
    assert len(events) > 10
    assert all(len(each["FEATURES"]["content"]) == 3 * each["FEATURES"]["shape"][0] for each in events)
