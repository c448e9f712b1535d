"""Modules that one event, one request, one chunk and one assessment pass through, in order of first use.

    python benchmarks/ways.py

An event goes through `module_map` and through `exatrkx`. A request goes from a client over a socket of this machine,
and from the arrays that Triton's backend hands over to the labels. A chunk is one task of the calibration's demo. An
assessment is one task of AnalysisOps for the scripted agent: data, reference, agent, grade.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import beampipe.terminal.scripts

from fingerprints import http_recorder, model_config

import beampipe
from beampipe.analysisops import Seeds, evaluate
from beampipe.calibration import DEMO_CONFIGURATION, RunSettings, load_configuration, run_calibration
from beampipe.serving import ServingSettings, TritonTrackFinder, export_repository, named_models
from beampipe.serving.tracking_model import TrackingModel
from beampipe.tracking import load_pipeline, shipped_events
from beampipe.triton import Instance

SOURCE = Path(beampipe.__file__).parent


class Way:
    """Files of the package whose functions are called, each once, in order.

    Args:
        inside: record only while a function of this name runs; everything if empty.
    """

    def __init__(self, inside: str = "") -> None:
        self.files: dict[str, None] = {}
        self._inside = inside
        self._depth = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code.co_name == self._inside:
            self._depth += {"call": 1, "return": -1}.get(event, 0)
        if event == "call" and (self._depth > 0 or not self._inside):
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(SOURCE) and frame.f_code.co_name != "<module>":
                self.files[str(path.relative_to(SOURCE))] = None


@contextmanager
def recorded(name: str, inside: str = "") -> Iterator[None]:
    """Print the files that the block passes, in all threads."""
    way = Way(inside)
    threading.setprofile(way)
    sys.setprofile(way)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    print(f"{name}: {len(way.files)} files")
    for number, path in enumerate(way.files, 1):
        print(f"  {number:2} {path}")


def event_ways(find: Callable[[str], Callable[..., Any]]) -> None:
    """An event from hits to labels."""
    hits = shipped_events(0)[0].hits
    for name in ("module_map", "exatrkx"):
        finder = find(name)
        finder(hits)  # what is loaded once is no part of the way
        with recorded(f"an event through {name}"):
            finder(hits)


def request_way(folder: Path) -> None:
    """A request: from the client to the socket, and from the model's arrays to its labels."""
    hits = shipped_events(0)[0].hits
    (settings,) = named_models(ServingSettings(("exatrkx",), threads=1))
    export_repository(folder, [settings])
    with http_recorder(model_config(folder, "exatrkx"), []) as url, TritonTrackFinder(url, "exatrkx") as finder:
        finder.find(hits)
        with recorded("a request, client"):
            finder.find(hits)
    model = TrackingModel(Instance(weights=folder / "exatrkx" / "weights", parameters=settings.parameters))
    request = {"FEATURES": hits.position}
    model.run([request])
    with recorded("a request, model behind Triton's backend"):
        model.run([request])


def chunk_way(folder: Path) -> None:
    """A chunk of the calibration's demo."""
    with recorded("a chunk", inside="run_chunk"):
        run_calibration(load_configuration(DEMO_CONFIGURATION, output=folder), RunSettings("inline"))


def assessment_way(folder: Path) -> None:
    """An assessment: the scripted agent, the task zmumu, one instance whose data are made for it."""
    with recorded("an assessment"):
        evaluate(["zmumu"], ["scripted"], Seeds.first(1), folder, levels=(1,))


def main() -> None:
    """Print all ways."""
    event_ways(lambda name: load_pipeline(name, threads=1).find)
    with tempfile.TemporaryDirectory() as folder:
        request_way(Path(folder) / "models")
        chunk_way(Path(folder) / "calibration")
        assessment_way(Path(folder) / "analysisops")


if __name__ == "__main__":
    main()
