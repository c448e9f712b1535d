"""Symbols that the native backend needs: exported by the newest Triton, by its headers, and by the installed one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from beampipe.serving.models import native_libraries
from beampipe.tracking.kernels import native
from beampipe.triton.engine import Engine

NM = shutil.which("nm")
BACKENDS = native_libraries()[:1]
assert BACKENDS or native() is None, "the kernels were built and the backend was not"
NEWEST = Path(__file__).with_name("exported.txt")
MANDATORY = "TRITONBACKEND_ModelInstanceExecute"

pytestmark = [
    pytest.mark.skipif(NM is None, reason="needs nm, of the GNU binutils"),
    pytest.mark.skipif(native() is None, reason="the package was installed without a compiler"),
]


def symbols(library: Path, which: str) -> set[str]:
    """Names of the dynamic symbols of a library, ``--defined-only`` or ``--undefined-only``, without their versions."""
    assert NM is not None
    table = subprocess.run([NM, "-D", which, str(library)], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].partition("@")[0] for line in table.splitlines()}


def of_triton(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(("TRITONBACKEND_", "TRITONSERVER_"))}


def newest() -> set[str]:
    lines = NEWEST.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.fixture(params=BACKENDS, ids=lambda path: path.parent.name)
def needed(request: pytest.FixtureRequest) -> set[str]:
    names = of_triton(symbols(request.param, "--undefined-only"))
    assert {"TRITONBACKEND_ResponseSend", "TRITONBACKEND_RequestRelease"} <= names  # or nothing is compared
    return names


def test_the_newest_triton_exports_all_that_the_backend_needs(needed: set[str]) -> None:
    assert not needed - newest()


def test_the_installed_engine_exports_all_that_the_backend_needs(needed: set[str], engine: Engine) -> None:
    (server,) = (path for folder in engine.libraries for path in folder.glob("libtritonserver*.so"))
    assert not needed - symbols(server, "--defined-only")


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda path: path.parent.name)
def test_the_backend_exports_its_entry_points_and_nothing_else(backend: Path) -> None:
    exported = symbols(backend, "--defined-only")
    assert MANDATORY in exported
    assert not {name for name in exported if not name.startswith("TRITONBACKEND_")}
    # A name that both have could be bound to the wrong one of them.
    assert not exported & newest()


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda path: path.parent.name)
def test_the_backend_is_not_linked_with_a_server(backend: Path) -> None:
    assert b"libtritonserver" not in backend.read_bytes()
