"""For every test: shapes and types are checked, random numbers are seeded, tests without their programs are skipped.

With ``BEAMPIPE_REQUIRE_PROGRAMS=1`` a missing program or package is a failure instead.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before numpy loads its own: several workers share the processors, and threads that spin as they wait take them away.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

SOURCES = Path(__file__).parents[1] / "src"
SHAPED = [path for path in SOURCES.rglob("*.py") if "from beampipe.arrays import" in path.read_text()]
"""Modules with shapes in their signatures. mypy checks the types of all others, which takes long at each call."""

# Before any test module imports beampipe: shape-typed signatures are then checked at each call.
install_import_hook(
    [".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__") for path in SHAPED],
    "beartype.beartype",
)

# Tests depend neither on time (a busy machine may be slow) nor on luck (the same examples in every run).
settings.register_profile("beampipe", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("random", settings.get_profile("beampipe"), derandomize=False, print_blob=True)
settings.load_profile("beampipe")  # `make test-random` loads the other one, by --hypothesis-profile

# A shell has programs that it runs in the background ignore Ctrl-C, and the programs that tests interrupt inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from beampipe.triton.engine import Engine

_SEED = 20


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Code under test takes its seeds as arguments; these are for code that forgot to."""
    random.seed(_SEED)
    np.random.seed(_SEED)  # noqa: NPY002 - the global generator is exactly what is meant


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes imports find no package of that name for the rest of the test, as if it were not installed."""
    find, hidden = PathFinder.find_spec, set[str]()

    def found(name: str, *more: Any) -> ModuleSpec | None:
        return None if name.partition(".")[0] in hidden else find(name, *more)

    def hide(package: str) -> None:
        hidden.add(package)
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)

    monkeypatch.setattr(PathFinder, "find_spec", found)
    return hide


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Triton in the default folder (``$BEAMPIPE_ENGINE`` if set); installed if it is not there."""
    from beampipe.triton.engine import install_engine

    return install_engine()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, with WebGL on any machine, for tests with the marker `browser`.

    For a module and no longer: while it is open, no other event loop runs in this thread.
    """
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=_chromium(), args=flags)
        yield started
        started.close()


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def _missing_of_xrootd() -> str | None:
    """What of XRootD is missing here, or None."""
    if shutil.which("xrootd") is None:
        return "no server of XRootD: apt-get install xrootd-server"
    if any(importlib.util.find_spec(name) is None for name in ("XRootD", "fsspec_xrootd")):
        return "no client of XRootD: pip install fsspec-xrootd xrootd"
    return None


_PROGRAMS = {
    "browser": ((("chromium", "chromium-browser"),), "chromium"),
    "prometheus": ((("prometheus",), ("promtool",)), "prometheus"),
    "alertmanager": ((("prometheus-alertmanager", "alertmanager"),), "prometheus-alertmanager"),
}
"""Programs by marker, each with its names, and their package."""


@cache
def _missing(marker: str) -> str | None:
    """Why tests with that marker cannot run here, or None."""
    programs, package = _PROGRAMS.get(marker, ((), marker))
    if not all(any(map(shutil.which, names)) for names in programs):
        return f"no {package}: apt-get install {package}"
    if marker == "slurm":
        if not all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("slurmctld", "munged")):
            return "no Slurm: apt-get install slurm-wlm munge"
        if os.geteuid() != 0:
            return "Slurm's daemons need root"
        if importlib.util.find_spec("dask_jobqueue") is None:
            return "no dask-jobqueue: pip install 'beampipe[calibration]'"
    if marker == "xrootd":
        return _missing_of_xrootd()
    if marker == "acts" and importlib.util.find_spec("acts") is None:
        return "no pyacts: pip install 'beampipe[simulation]'"
    if marker == "gpu":
        if importlib.util.find_spec("torch") is None:
            return "no torch"
        import torch

        if not torch.cuda.is_available():
            return "no CUDA device"
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Servers that tests start end with the tests, however these end; workers have what their controller has set."""
    from beampipe.processes import ending_with_this_process

    if "PYTEST_XDIST_WORKER" not in os.environ:
        stack = contextlib.ExitStack()
        stack.enter_context(ending_with_this_process())
        config.add_cleanup(stack.close)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in ("browser", "acts", "prometheus", "alertmanager", "slurm", "xrootd", "gpu"):
        reason = _missing(marker) if item.get_closest_marker(marker) else None
        if reason is None:
            continue
        # No machine of ours has a GPU by right, so its absence never fails.
        if os.environ.get("BEAMPIPE_REQUIRE_PROGRAMS") == "1" and marker != "gpu":
            pytest.fail(f"BEAMPIPE_REQUIRE_PROGRAMS=1, but {reason}")
        pytest.skip(reason)
