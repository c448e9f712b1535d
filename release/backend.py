"""Builds the package by scikit-build-core, with four rules of ours.

- Where a C++ compiler is found, kernels that cannot be built are an error, with the log of the build.
- Without one, or with ``--config-settings=kernels=none``, the package has no kernels: it finds no
  tracks, and the calibration uses numpy. Its version then ends with ``without.kernels``, which pip prints when it has
  installed it.
- A wheel is mostly used where it is built, so its kernels are for this CPU and for the oldest. An editable install, in
  which the tests run, has those of all CPUs, and so have wheels for others: ``-C cmake.define.BEAMPIPE_ISA=all``.
- Builds in one folder wait for each other, since they share its folder ``build/``. They compile only what changed since
  the last one, be it of an editable install or of a wheel.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from scikit_build_core import build as scikit
from scikit_build_core.build import build_sdist, get_requires_for_build_sdist
from scikit_build_core.metadata.setuptools_scm import Provider

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "dynamic_metadata",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, Any] | None
"""What a user gives by ``--config-settings``."""

COMPILERS: Final = ("c++", "CC", "g++", "clang++", "icpx", "xlC")
"""Programs that CMake looks for."""

ISA: Final = "cmake.define.BEAMPIPE_ISA"
"""Setting that names the instruction sets of the kernels."""

LABEL: Final = "without.kernels"
"""End of the version of a package without kernels."""

_MARK: Final = "BEAMPIPE_WITHOUT_KERNELS"
"""Variable by which a hook of this file has `dynamic_metadata` add the label: it gets no settings."""


def why_without(asked: str | None) -> str | None:
    """Why this package is built without kernels; None if it is built with them.

    Args:
        asked: the value of the setting ``kernels``; None if it is not given.

    Raises:
        ValueError: there is no such value.
    """
    if asked not in (None, "none"):
        raise ValueError(f"--config-settings=kernels={asked}: expected kernels=none, or nothing")
    if asked == "none":
        return "as asked by --config-settings=kernels=none"
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"they are written for x86-64, and this is a {platform.machine()} processor"
    named = os.environ.get("CXX") or "CMAKE_CXX_COMPILER" in (arguments := os.environ.get("CMAKE_ARGS", ""))
    if named or "CMAKE_TOOLCHAIN_FILE" in arguments or any(map(shutil.which, COMPILERS)):
        return None
    return f"no C++ compiler was found: none of {', '.join(COMPILERS)}, and CXX is not set"


def _settings(given: Settings) -> dict[str, Any]:
    """The settings for scikit-build-core."""
    settings = dict(given or {})
    reason = why_without(settings.pop("kernels", None))
    os.environ.pop(_MARK, None)
    if reason is not None:
        os.environ[_MARK] = "1"
        settings["wheel.cmake"] = "false"
        print(f"*** beampipe is built without its compiled kernels: {reason}", file=sys.stderr)
    return settings


def _conditions(settings: dict[str, Any]) -> dict[str, Any]:
    """What decides, besides the sources, how they are compiled: another value makes all objects old."""
    variables = {key: value for key, value in os.environ.items() if key.startswith("CMAKE") or key.endswith("FLAGS")}
    compilers = {}
    for name in (*os.environ.get("CXX", "").split()[:1], *COMPILERS):
        if path := shutil.which(name):
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            compilers[path] = said.stdout
    return {
        "folder": str(Path.cwd()),
        # CMakeLists.txt handles other instruction sets.
        "settings": {name: value for name, value in settings.items() if name != ISA},
        "CXX": os.environ.get("CXX", ""),
        "variables": variables,
        "compilers": compilers,
    }


@contextmanager
def _alone(settings: dict[str, Any]) -> Iterator[None]:
    """Wait until no other build runs in this folder; delete what it compiled unless only sources changed since."""
    folder = Path("build")
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if "wheel.cmake" in settings:  # nothing is compiled
            yield
            return
        lock.seek(0)
        text, built_at = lock.read(), os.fstat(lock.fileno()).st_mtime_ns
        last = json.loads(text) if text.startswith("{") else {}  # cut off where a build was killed
        files = [path for kind in ("*.?pp", "*.h") for path in sorted(Path("src").rglob(kind))]
        sources = {str(path): sha256(path.read_bytes()).hexdigest() for path in files}
        # Ninja compares times, which a restored or copied file may have of before.
        unseen = [
            file
            for file, digest in sources.items()
            if digest != last.get("sources", {}).get(file) and Path(file).stat().st_mtime_ns <= built_at
        ]
        conditions = _conditions(settings)
        for known in folder.glob("*/.skbuild-info.json"):
            if unseen or last.get("conditions") != conditions:
                shutil.rmtree(known.parent)
            else:
                known.unlink()  # by it scikit-build-core deletes what another isolated environment compiled
        lock.truncate(0)
        try:
            yield
        except BaseException:
            for cache in folder.glob("*/CMakeCache.txt"):  # CMake looks for everything again
                cache.unlink()
            raise
        finally:
            json.dump({"conditions": conditions, "sources": sources}, lock)


def dynamic_metadata(settings: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, Any]:
    """The version: that of the last tag, with the label if there are no kernels; called by scikit-build-core."""
    version = str(Provider.dynamic_metadata(settings, project)["version"])
    if _MARK in os.environ:
        version += f"{'.' if '+' in version else '+'}{LABEL}"
    return {"version": version}


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """Packages that a build needs: CMake only where kernels are built."""
    return scikit.get_requires_for_build_wheel(_settings(config_settings))


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """The same of an editable install."""
    return scikit.get_requires_for_build_editable(_settings(config_settings))


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """Metadata of the wheel, without a build."""
    return scikit.prepare_metadata_for_build_wheel(metadata_directory, _settings(config_settings))


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Settings = None) -> str:
    """The same of an editable install."""
    return scikit.prepare_metadata_for_build_editable(metadata_directory, _settings(config_settings))


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build the wheel; returns its name."""
    settings = {ISA: "native"} | _settings(config_settings)
    with _alone(settings):
        return scikit.build_wheel(wheel_directory, settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel of an editable install; returns its name."""
    settings = {ISA: "all"} | _settings(config_settings)
    with _alone(settings):
        return scikit.build_editable(wheel_directory, settings, metadata_directory)
