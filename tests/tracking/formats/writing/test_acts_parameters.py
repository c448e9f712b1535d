"""Fitted parameters for ACTS: its own reader gets values, errors and correlations as they were written."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import InputError
from beampipe.events import Event, FitStatus, Tracks
from beampipe.tracking import FittedFinder, load_pipeline, load_track_fitter, shipped_events, write_tracks

READ = """
import sys, acts, acts.examples as ae
info = acts.logging.INFO
chain = ae.Sequencer(events=2, numThreads=1, logLevel=acts.logging.ERROR, trackFpes=False, outputDir="")
where = {"inputDir": sys.argv[1], "inputStem": "track_parameters", "beamspot": [0.0, 0.0, 0.0]}
chain.addReader(ae.CsvTrackParameterReader(info, **where, outputTrackParameters="tracks"))
chain.addAlgorithm(ae.TrackParametersPrinter(info, inputTrackParameters="tracks"))
chain.run()
"""
LINE = re.compile(r"^(loc0|loc1|phi|theta|q/p): +(\S+) \+- (\S+) +(.*)$", re.M)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Event, Tracks]]:
    finder = FittedFinder(load_pipeline(threads=1), load_track_fitter(threads=1))
    found = ((event, finder.find(event)) for event in shipped_events(0))
    some = [pair for pair in found if pair[1].n_tracks > 1][:2]
    return [(replace(event, event_id=number), tracks) for number, (event, tracks) in enumerate(some)]


@pytest.mark.acts
def test_acts_reads_what_was_written(pairs: list[tuple[Event, Tracks]], tmp_path: Path) -> None:
    pytest.importorskip("acts")
    assert write_tracks(tmp_path, pairs, "acts-parameters") == 2
    done = subprocess.run([sys.executable, "-c", READ, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = LINE.findall(done.stdout)
    fits = [tracks.parameters for _, tracks in pairs]
    n_tracks = sum(len(fit) for fit in fits if fit is not None)
    assert len(lines) == 5 * n_tracks
    values = np.array([float(line[1]) for line in lines]).reshape(-1, 5)
    errors = np.array([float(line[2]) for line in lines]).reshape(-1, 5)
    # Correlations are printed as a lower triangle.
    correlations = np.array([float(number) for line in lines for number in line[3].split()]).reshape(n_tracks, 15)
    want = np.concatenate([fit.values for fit in fits if fit is not None])
    covariance = np.concatenate([fit.covariance for fit in fits if fit is not None])
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    rows, columns = np.tril_indices(5)
    normed = covariance / (sigma[:, :, np.newaxis] * sigma[:, np.newaxis])
    np.testing.assert_allclose(values, want, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(errors, sigma, rtol=1e-3)
    np.testing.assert_allclose(correlations, normed[:, rows, columns], atol=1e-3)


def test_only_fitted_tracks_are_written(pairs: list[tuple[Event, Tracks]], tmp_path: Path) -> None:
    event, tracks = pairs[0]
    assert tracks.parameters is not None
    status = tracks.parameters.status.copy()
    status[0] = FitStatus.TOO_FEW_HITS
    partly = replace(tracks, parameters=replace(tracks.parameters, status=status))
    assert write_tracks(tmp_path / "one.csv", [(event, partly)], "acts-parameters") == 1
    table = np.loadtxt(tmp_path / "one.csv", delimiter=",", skiprows=1, ndmin=2)
    assert table[:, 0].tolist() == list(range(1, tracks.n_tracks))
    np.testing.assert_array_equal(table[:, 1:6], tracks.parameters.values[1:])


def test_tracks_without_a_fit_are_refused(pairs: list[tuple[Event, Tracks]], tmp_path: Path) -> None:
    event, tracks = pairs[0]
    with pytest.raises(InputError, match="got tracks without parameters, expected fitted ones"):
        write_tracks(tmp_path / "one.csv", [(event, replace(tracks, parameters=None))], "acts-parameters")
