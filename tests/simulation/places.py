"""Where hits must be, whatever the detector."""

from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.events import Hits
from beampipe.simulation.detector import PIPE_VOLUME, Modules


def assert_on_modules(hits: Hits, table: Modules) -> None:
    """Each hit has a module, lies on it but for its error, and is at one place in both systems."""
    assert hits.geometry_id is not None
    assert hits.local is not None
    assert hits.variance is not None
    row = table.rows(hits.geometry_id)
    np.testing.assert_allclose(hits.variance, table.variance[row], rtol=1e-6)
    # Measurements are smeared, so a hit at the edge may be measured just outside.
    assert table.inside(row, hits.local, 6 * np.sqrt(hits.variance)).all()
    xyz = table.to_global(row, hits.local.astype(np.float64))
    np.testing.assert_allclose(hits.position[:, 0], np.hypot(xyz[:, 0], xyz[:, 1]), atol=1e-3)
    np.testing.assert_allclose(hits.position[:, 2], xyz[:, 2], atol=1e-3)


def read_modules(geometry: Any) -> dict[str, ndarray]:
    """Positions, axes and sizes of the sensitive modules of a geometry, as fields of `Modules`.

    The table of the GenericDetector in the package is made of this by `np.savez_compressed`.
    """
    import acts

    world, rows = acts.GeometryContext.dangerouslyDefaultConstruct(), []
    for identifier, surface in geometry.geoIdSurfaceMap().items():
        if identifier.sensitive == 0 or identifier.value >> 56 == PIPE_VOLUME:
            continue
        transform, bounds = surface.localToGlobalTransform(world), surface.bounds.values()
        if surface.bounds.type == acts.SurfaceBoundsType.Rectangle:
            low = high = bounds[2]
            half_y = bounds[3]
        else:
            low, high, half_y = bounds[:3]
        axes = [[transform.rotation[i, k] for k in range(3)] for i in range(3)]
        rows.append((identifier.value, [transform.translation[i] for i in range(3)], axes, low, high, half_y))
    rows.sort(key=lambda row: row[0])
    names = ("geometry_id", "centre", "axes", "half_x_low", "half_x_high", "half_y")
    columns = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return columns | {"geometry_id": columns["geometry_id"].astype(np.uint64)}
