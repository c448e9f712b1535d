"""Vertices of tracks by the adaptive multi-vertex finder of ACTS.

ACTS reads track parameters, and writes vertices, as CSV files only: their containers have no interface in Python.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.events import ON_AXIS, BeamSpot
from beampipe.tracking.acts import sequencer
from beampipe.tracking.formats.acts import PARAMETERS_OF_ACTS


def find_vertices(
    values: Float64[ndarray, "n 5"],
    covariance: Float64[ndarray, "n 5 5"],
    field_z: float = 2.0,
    beam_spot: BeamSpot = ON_AXIS,
) -> Float64[ndarray, "n_vertices 3"]:
    """The vertices of one event.

    Args:
        values: parameters of its tracks, as `beampipe.events.TrackParameters.values`.
        covariance: covariances of these.
        field_z: magnetic field along z [T].
        beam_spot: beam line that the parameters are measured from.

    Returns:
        x, y, z of the vertices [mm], in the order in which they are found.

    Raises:
        MissingExtraError: pyacts is not installed.
    """
    acts, examples = sequencer.pyacts()
    with tempfile.TemporaryDirectory(prefix="beampipe-vertices-") as folder:
        _write(Path(folder) / "event000000000-parameters.csv", values, covariance)
        reading = examples.CsvTrackParameterReader.Config()
        reading.inputDir, reading.inputStem, reading.outputTrackParameters = folder, "parameters", "parameters"
        reading.beamspot = [beam_spot.x, beam_spot.y, 0.0]
        finding = examples.AdaptiveMultiVertexFinderAlgorithm.Config()
        finding.bField = acts.ConstantBField(acts.Vector3(0.0, 0.0, field_z * acts.UnitConstants.T))
        finding.inputTrackParameters, finding.outputVertices = "parameters", "vertices"
        finding.outputProtoVertices = "vertex_tracks"
        finding.seedFinder = examples.VertexSeedFinder.GaussianSeeder
        writing = examples.CsvVertexWriter.Config()
        writing.inputVertices, writing.outputDir, writing.outputStem = "vertices", folder, "vertices"
        level = acts.logging.ERROR
        sequencer.run_sequence(
            [examples.AdaptiveMultiVertexFinderAlgorithm(finding, level)],
            1,
            1,
            writers=[examples.CsvVertexWriter(writing, level)],
            readers=[examples.CsvTrackParameterReader(reading, level)],
        )
        lines = (Path(folder) / "event000000000-vertices.csv").read_text(encoding="ascii").splitlines()[1:]
    return np.array([[float(value) for value in line.split(",")[:3]] for line in lines]).reshape(-1, 3)


def _write(path: Path, values: Float64[ndarray, "n 5"], covariance: Float64[ndarray, "n 5 5"]) -> None:
    """Write tracks as ACTS reads them."""
    n = values.shape[1]
    variances, others = covariance[:, range(n), range(n)], covariance[:, ~np.eye(n, dtype=bool)]
    rows = np.column_stack([np.arange(len(values)), values, variances, others])
    with path.open("w", encoding="ascii") as file:
        file.write(",".join(PARAMETERS_OF_ACTS.types) + "\n")
        np.savetxt(file, rows, fmt=["%d"] + ["%.9g"] * (rows.shape[1] - 1), delimiter=",")
