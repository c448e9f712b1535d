"""The wheel that brings Triton, without its contents."""

from __future__ import annotations

from pathlib import Path

from beampipe.triton.engine import STUB

SERVER = "pytriton/tritonserver/bin/tritonserver"


def fake_wheel(folder: Path, versions: tuple[str, ...] = ("3.9", "3.10", "3.11", "3.12")) -> None:
    """The files of the wheel that matter, empty."""
    root = folder / "pytriton" / "tritonserver"
    names = [
        "bin/tritonserver",
        "backends/python/libtriton_python.so",
        "backends/python/triton_python_backend_utils.py",
    ]
    for name in (*names, *(f"python_backend_stubs/{version}/{STUB}" for version in versions)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
