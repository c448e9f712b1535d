"""Where hits must be, whatever the detector."""

import numpy as np

from beampipe.events import Hits
from beampipe.simulation.detector import Modules


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
