"""What the serving benchmarks share: a server on a generated repository, events of any size, memory of processes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final
from unittest import mock

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks beside this folder share their report

from harness import EVENTS, joined_hits
from recording import CONSOLE, Figure, Reference, asked_in_turn, begin, parser_of, write_result  # noqa: F401

from beampipe.errors import FileError
from beampipe.events import Hits
from beampipe.serving.finders import DirectTrackFinder, TritonTrackFinder
from beampipe.serving.models import ServingSettings, named_models, native_libraries
from beampipe.serving.variants import pipeline_of
from beampipe.simulation.degradation import DEFAULT, degrade
from beampipe.tracking.data import shipped_events
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.formats import open_events
from beampipe.triton.model.contract import EnsembleSettings, ModelSettings
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server.access import AccessSettings
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

PROTOCOLS: Final = ("grpc", "http", "shm", "shm-http")
"""How events travel; ``shm`` hands them over in shared memory and asks by gRPC, ``shm-http`` asks by HTTP."""

BACKENDS: Final = ("native", "python")
"""What of Triton runs a model: our own backend in C++ inside the server, or its Python backend in a process beside."""

Model = ModelSettings | EnsembleSettings
"""What a repository is made from."""


def options_of(name: str, about: str | None, *, threads: int | list[int] = 1) -> argparse.ArgumentParser:
    """A parser with the options that each of these benchmarks has; with several threads, they are tried in turn."""
    parser = parser_of(about, f"serving/{name}")
    help_text = "number of threads of each instance, and of the direct pipeline"
    nargs = "+" if isinstance(threads, list) else None
    parser.add_argument("--threads", type=int, nargs=nargs, default=threads, help=help_text)
    parser.add_argument("--backend", choices=BACKENDS, help="of the models; by default native, where it was built")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def models_of(
    names: Sequence[str], *, instances: int = 1, threads: int = 1, backend: str | None = None, suffix: str = ""
) -> list[Model]:
    """Settings of the models of those names; the name on the wire ends in `suffix`.

    The suffix lets one server hold a model several times, run in different ways, to be asked in turn.
    """
    models = named_models(ServingSettings(tuple(names), instances=instances, threads=threads, backend=backend))
    return [replace(model, name=model.name + suffix) for model in models]


def backends_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The backends to compare: the one that was asked for, or all that are here."""
    if options.backend:
        return (options.backend,)
    if not native_libraries():
        CONSOLE.print("left out: the native backend, which was not built", style="yellow")
    return BACKENDS if native_libraries() else ("python",)


@contextmanager
def serving(
    models: Sequence[str | Model],
    *,
    instances: int = 1,
    threads: int = 1,
    backend: str | None = None,
    libraries: tuple[Path, ...] | None = None,
    log: Path | None = None,
    supervise: bool = True,
    proxy: bool | None = None,
) -> Iterator[TritonServer]:
    """A server on a repository of its own that holds these models; what is given by name is made by `models_of`.

    `libraries` take the place of those that native models bring along. `proxy` says whether HAProxy stands before
    HTTP; None for wherever it is installed.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beampipe-bench-")))
        names = [model for model in models if isinstance(model, str)]
        made = models_of(names, instances=instances, threads=threads, backend=backend) if names else []
        made += [model for model in models if not isinstance(model, str)]
        if libraries is not None:
            made = [replace(item, libraries=libraries) if getattr(item, "libraries", ()) else item for item in made]
        loaded = export_repository(folder / "models", made)
        door = AccessSettings(proxy=proxy)
        settings = ServerSettings(
            folder / "models", tuple(loaded), log=log, threads=threads, supervise=supervise, access=door
        )
        yield stack.enter_context(TritonServer(settings))


def finder_of(server: TritonServer, model: str, protocol: str, *, retries: int | None = 0, in_flight: int = 16,
              timeout: float = 120.0) -> TritonTrackFinder:  # fmt: skip
    """A client of one model; ``protocol`` is one of `PROTOCOLS`."""
    url = f"http://{server.http_url}" if protocol.endswith("http") else f"grpc://{server.grpc_url}"
    return TritonTrackFinder(
        url,
        model,
        protocol="shm" if protocol.startswith("shm") else "http" if protocol == "http" else "grpc",
        retries=retries,
        in_flight=in_flight,
        timeout=timeout,
    )


def is_proxied(server: TritonServer) -> bool:
    """Whether HAProxy stands before HTTP."""
    return server.access.proxy_pid is not None


def direct_finder(model: str, threads: int = 1) -> TrackFinder:
    """The same finder as the model of that name, in this process."""
    if model == "acts":
        from beampipe.tracking.acts import ACTS_SETTINGS, ActsTrackFinder

        return ActsTrackFinder(ACTS_SETTINGS["fast"])
    return DirectTrackFinder(pipeline_of(model), threads=threads)


def labels_of(finder: TrackFinder, events: Sequence[Hits]) -> list[Int64[ndarray, " _"]]:
    """Direct labels of each event."""
    return [finder.find(hits).track_id for hits in events]


def events_at(mu: int, count: int, seed: int = 1) -> list[Hits]:
    """Events at a pile-up: held-out ones with the losses of a real detector, or the shipped ones."""
    path = EVENTS / f"test{mu}.parquet"
    if not path.is_file():
        return [event.hits for event in islice(shipped_events(mu), count)]
    return [degrade(event, DEFAULT, seed).hits for event in islice(open_events(path), count)]


def events_of_sizes(count: int, largest: int, seed: int = 1) -> list[Hits]:
    """Events of 0, 1, 2, 3, 4, 5 and then ever more hits up to `largest`, evenly in the logarithm.

    Each is a slice in phi of events at mu = 200 laid on top of each other, at a random angle.
    """
    generator = np.random.default_rng(seed)
    sources = events_at(200, 2, seed)
    whole = sources[0]
    while len(whole) < largest:
        whole = joined_hits([whole, sources[len(sources) > 1]])
    small = [0, 1, 2, 3, 4, 5]
    sizes = [*small, *np.geomspace(6, largest, max(2, count - len(small))).astype(int).tolist()][:count]
    around = np.argsort(whole.position[:, 1], kind="stable")
    events = []
    for size in sizes:
        start = int(generator.integers(len(whole)))
        rows = np.sort(np.take(around, np.arange(start, start + size), mode="wrap"))
        events.append(whole.take(rows.astype(np.int64)))
    return events


def counter(server: TritonServer, name: str, model: str) -> float:
    """Sum of a Prometheus counter over the instances of a model."""
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    rows = [line for line in lines if line.startswith(name + "{") and f'model="{model}"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in rows)


# A native backend that was built with sanitizers, inside the real server: for `equality.py` and `fuzz.py`

SANITIZERS: Final = {"address": "address,undefined", "thread": "thread"}
"""What the compiler is told, by name."""
RUNTIMES: Final = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
"""Libraries that have to be in the server from its first moment on."""
OPTIONS: Final = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
}
"""Leaks are not looked for: Triton frees little when it ends. Frames that outlive their call are left out: GCC
before 13.3 does not align them for AVX-512 (its bug 110027)."""
TREE: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sanitized:
    """A native backend with sanitizers, or without.

    The build is made in ``build/sanitize-NAME`` beside the ordinary one, and the server is started with the runtime of
    the sanitizer loaded before all else. Triton itself is as it was shipped: what is watched are the backend and its
    kernels, and every byte of memory that they allocate, get or give. The thread sanitizer does not know OpenMP's own
    threads, so it is for models with one thread per instance; several instances at once are what it has to judge.

    Attributes:
        libraries: files that take the place of those of the ordinary build; None to leave these.
        folder: folder of the reports, None without sanitizers.
    """

    libraries: tuple[Path, ...] | None = None
    folder: Path | None = None

    def reports(self) -> list[str]:
        """What the sanitizers had to say; to be called once the server has ended."""
        result = sorted(self.folder.iterdir()) if self.folder else []
        return [path.read_text(encoding="utf-8", errors="replace") for path in result]


@contextmanager
def sanitized(name: str | None) -> Iterator[Sanitized]:
    """Servers that are started inside have the runtime of these sanitizers; none if there is no name."""
    if name is None:
        yield Sanitized()
        return
    libraries = build(name)
    preload = os.pathsep.join(str(runtime(library)) for library in RUNTIMES[name])
    with tempfile.TemporaryDirectory(prefix="beampipe-sanitize-") as folder:
        options = {key: f"{value}:log_path={folder}/report" for key, value in OPTIONS.items()}
        with mock.patch.dict(os.environ, options | {"LD_PRELOAD": preload}):
            yield Sanitized(libraries, Path(folder))


def build(name: str) -> tuple[Path, ...]:
    """The libraries with these sanitizers, made again where their sources have changed."""
    folder = TREE / "build" / f"sanitize-{name}"
    configure = ["cmake", "-S", str(TREE), "-B", str(folder), f"-DBEAMPIPE_SANITIZE={SANITIZERS[name]}"]
    make = ["cmake", "--build", str(folder), "--parallel", str(len(os.sched_getaffinity(0)))]
    for command in (configure, make):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (folder / "libtriton_beampipe.so", *sorted(folder.glob("_kernels_*.so")))


def runtime(library: str) -> Path:
    """Where the compiler has a library of its own.

    Raises:
        FileError: it has none.
    """
    output = subprocess.run(["g++", f"-print-file-name={library}"], check=True, capture_output=True, text=True)
    path = Path(output.stdout.strip())
    if not path.is_absolute():
        raise FileError(f"{library}: got a compiler without it, expected the sanitizers of GCC; install its libraries")
    return path.resolve()
