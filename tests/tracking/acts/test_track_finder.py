"""Our track finding as an algorithm of ACTS: its proto tracks are the tracks of Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import ConfigError, UnknownNameError
from beampipe.tracking import load_pipeline, open_events, write_tracks
from beampipe.tracking.acts import beampipe_track_finder

EXAMPLE = Path(__file__).parents[3] / "examples/acts_track_finder.py"
WRITERS = """
spacepoints = {"inputSpacePoints": "spacepoints", "outputDir": OUTPUT}
chain.addWriter(ae.CsvSpacePointWriter(QUIET, **spacepoints))
chain.addWriter(ae.CsvProtoTrackWriter(QUIET, **spacepoints, inputProtoTracks="found"))
chain.run()
"""


def measurements_of_tracks(file: Path) -> Int64[ndarray, "n 2"]:
    """Number of the track and of the measurement in each row of a file of proto tracks."""
    assert file.read_text().startswith("trackId,measurementId,x,y,z\n")
    return np.loadtxt(file, delimiter=",", skiprows=1, usecols=(0, 1), dtype=np.int64)


@pytest.mark.acts
@pytest.mark.parametrize("pipeline", ["module_map", "exatrkx_walk"])
def test_the_chain_of_the_example_gives_the_tracks_of_python(pipeline: str, tmp_path: Path) -> None:
    """ACTS writes its space points and the proto tracks; Python reads the space points and finds tracks itself."""
    pytest.importorskip("acts")
    there, here = tmp_path / "acts", tmp_path / "python"
    there.mkdir()
    code = f"OUTPUT = {str(there)!r}\n" + EXAMPLE.read_text()
    for line, instead in {
        "ParticleConfig(20)": "ParticleConfig(300)",
        "numThreads=1": "numThreads=2",
        'outputProtoTracks="found")': f'outputProtoTracks="found", config={{"pipeline": {pipeline!r}}})',
        "\nchain.run()\n": WRITERS,
    }.items():
        assert code.count(line) == 1
        code = code.replace(line, instead)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    finder = load_pipeline(pipeline, threads=1, check=False)  # muons fill the middle of the layers only
    events = open_events(there, format="acts-spacepoints")
    assert write_tracks(here, ((event, finder.find(event)) for event in events), "acts") == 2
    for number in range(2):
        name = f"event{number:09d}-prototracks.csv"
        rows = measurements_of_tracks(there / name)
        assert rows[:, 0].max() > 250
        assert rows.tobytes() == measurements_of_tracks(here / name).tobytes()


@pytest.mark.acts
def test_it_refuses_what_it_does_not_know() -> None:
    pytest.importorskip("acts")
    added: list[Any] = []
    sequencer = SimpleNamespace(addAlgorithm=added.append)
    with pytest.raises(ConfigError, match=r"config.*did you mean 'pipeline'"):
        beampipe_track_finder(sequencer, "points", config={"pipelin": "module_map"})
    with pytest.raises(ConfigError, match="seeds_per_track"):
        beampipe_track_finder(sequencer, "points", config={"seeds_per_track": 2})
    with pytest.raises(UnknownNameError, match="did you mean 'module_map'"):
        beampipe_track_finder(sequencer, "points", config={"pipeline": "module_mop"})
    assert added == []
    assert beampipe_track_finder(sequencer, "points") == "prototracks"
    assert len(added) == 1
