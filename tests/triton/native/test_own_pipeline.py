"""The example of a user's C++ model: built by CMake against the package, and served by Triton."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import BeampipeError, InputError
from beampipe.triton import Instance, ModelClient, ServerSettings, TritonServer
from beampipe.triton.engine import Engine
from beampipe.triton.metrics import read_metrics
from beampipe.triton.model.contract import model_class
from tests.triton.waiting import wait_until

EXAMPLE = Path(__file__).parents[3] / "examples/cpp/towers"
GRID = {"N_ETA": "100", "N_PHI": "64"}

pytestmark = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("c++") is None, reason="needs CMake and a C++ compiler"
)


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    python = f"-DPython_EXECUTABLE={sys.executable}"
    run("cmake", "-S", EXAMPLE, "-B", folder, "-DCMAKE_CXX_FLAGS=-O1 -Wall -Werror", python)
    run("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="module")
def repository(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("towers") / "models"
    run(sys.executable, EXAMPLE / "export.py", built, folder)
    return folder


@pytest.fixture(scope="module")
def server(engine: Engine, repository: Path) -> Iterator[TritonServer]:
    with TritonServer(ServerSettings(repository, triton=engine.folder)) as running:
        yield running
        running.kill()


def events() -> list[ndarray]:
    """Cells of events of every special size, the last with cells on the limits of phi."""
    random = np.random.default_rng(7)
    cells = [random.uniform([-5, -3.14, -1], [5, 3.14, 50], (n, 3)).astype(np.float32) for n in (0, 1, 300, 20_000)]
    return [*cells, np.array([[-4.99, -np.pi, 1], [4.99, np.pi, 2]], np.float32)]


def in_numpy(cells: ndarray) -> ndarray:
    model = model_class(f"{EXAMPLE / 'towers.py'}:Towers")(Instance(parameters=GRID))
    towers: ndarray = model.run([{"CELLS": cells}])[0]["TOWERS"]
    return towers


def test_answers_are_those_of_numpy_byte_for_byte(server: TritonServer) -> None:
    expected = [in_numpy(cells) for cells in events()]
    assert expected[3].sum() > 0
    for url in (f"grpc://{server.grpc_url}", f"http://{server.http_url}"):
        with ModelClient(url, "towers", in_flight=32) as client:
            answers = [client.submit({"CELLS": cells}) for cells in events() * 8]
            for answer, towers in zip(answers, expected * 8, strict=True):
                served = answer.result()["TOWERS"]
                assert served.shape == (100, 64)
                assert served.tobytes() == towers.tobytes()
    assert server.stubs() == ()


def test_a_bad_request_in_a_batch_costs_no_other(server: TritonServer) -> None:
    cells = events()[2]
    bad = cells.copy()
    bad[7, 2] = np.nan
    with ModelClient(f"grpc://{server.grpc_url}", "towers", in_flight=64) as client:
        answers = [client.submit({"CELLS": bad if row % 8 == 7 else cells}) for row in range(64)]
        for row, answer in enumerate(answers):
            if row % 8 == 7:
                with pytest.raises(InputError, match="out of range in row 7"):
                    answer.result()
            else:
                assert answer.result()["TOWERS"].tobytes() == in_numpy(cells).tobytes()


def test_its_counters_stand_among_the_metrics(server: TritonServer) -> None:
    def count() -> float:
        return read_metrics(server.metrics_url)["towers"].observed.get("cells", 0.0)

    before = count()
    with ModelClient(f"grpc://{server.grpc_url}", "towers") as client:
        client.infer({"CELLS": events()[3]})
    wait_until(lambda: count() >= before + 20_000)


@pytest.mark.parametrize(
    ("word", "other", "message"),
    [pytest.param('"64"', '"32"', "the canary got another TOWERS", id="another answer than that of numpy")],
)
def test_a_wrong_configuration_is_not_served(
    engine: Engine, repository: Path, tmp_path: Path, word: str, other: str, message: str
) -> None:
    changed = shutil.copytree(repository, tmp_path / "models")
    config = changed / "towers/config.pbtxt"
    config.write_text(config.read_text().replace(word, other))
    with pytest.raises(BeampipeError, match=message), TritonServer(ServerSettings(changed, triton=engine.folder)):
        pass
