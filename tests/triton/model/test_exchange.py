"""Arrays pass unchanged, and what passes them on owns them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy import ndarray

from beampipe.triton.engine import Engine
from beampipe.triton.model.backend import exchange
from beampipe.triton.model.contract import ModelSettings
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.triton.model.dlpack import Capsule


def triton_tensor(name: str, capsule: object) -> tuple[str, ndarray]:
    return name, np.from_dlpack(Capsule(capsule))


TRITON = SimpleNamespace(Tensor=SimpleNamespace(from_dlpack=triton_tensor))


def test_a_tensor_keeps_its_array_and_then_frees_it() -> None:
    class Watched(np.ndarray):
        pass

    _, to_tensor = exchange(TRITON)
    array = np.arange(1000).view(Watched)
    seen = weakref.ref(array)
    _, sent = to_tensor("A", array)
    del array
    gc.collect()
    assert sent[-1] == 999
    assert seen() is not None
    del sent
    gc.collect()
    assert seen() is None


ECHO = """
import numpy as np
from beampipe.triton.model.contract import TensorSpec

KINDS = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "UINT64": np.uint64, "INT32": np.int32,
         "UINT8": np.uint8, "BOOL": np.bool_}

class Echo:
    inputs = tuple(TensorSpec(f"IN_{name}", name, kind, (-1, 2)) for name, kind in KINDS.items())
    outputs = tuple(TensorSpec(f"OUT_{name}", name, kind, (-1, 2)) for name, kind in KINDS.items())

    def __init__(self, instance):
        pass

    def run(self, requests):
        return [{f"OUT_{name}": request[f"IN_{name}"] for name in KINDS} for request in requests]

    @classmethod
    def example(cls):
        return {f"IN_{name}": np.array([[0, 1], [1, 0]], kind) for name, kind in KINDS.items()}
"""


def test_triton_hands_back_what_it_was_given(tmp_path: Path, engine: Engine) -> None:
    """Through the real backend: wrong numpy versions lose data there without an error."""
    import tritonclient.http as triton

    (tmp_path / "echo.py").write_text(ECHO)
    export_repository(tmp_path / "models", [ModelSettings("echo", f"{tmp_path}/echo.py:Echo")])
    random = np.random.default_rng(1)
    with (
        TritonServer(ServerSettings(tmp_path / "models", triton=engine.folder, supervise=False)) as server,
        triton.InferenceServerClient(server.http_url) as client,
    ):
        for n in (0, 1, 2, 1000, 70_000):
            kinds = {"FP32": "f4", "FP64": "f8", "INT64": "i8", "UINT64": "u8", "INT32": "i4", "UINT8": "u1"}
            arrays = {name: random.integers(0, 2**7, (n, 2)).astype(kind) for name, kind in kinds.items()}
            arrays["BOOL"] = random.random((n, 2)) < 0.5
            inputs = []
            for name, array in arrays.items():
                inputs.append(triton.InferInput(f"IN_{name}", array.shape, name))
                inputs[-1].set_data_from_numpy(array)
            answer = client.infer("echo", inputs)
            for name, array in arrays.items():
                back = answer.as_numpy(f"OUT_{name}")
                assert back.dtype == array.dtype
                assert back.shape == array.shape
                assert back.tobytes() == array.tobytes()
        server.kill()
