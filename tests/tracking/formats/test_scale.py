from __future__ import annotations

import numpy as np
import pytest

from beampipe.errors import UnknownNameError
from beampipe.tracking.formats import SCALES, scale_named


@pytest.mark.parametrize(
    ("name", "features"),
    [
        # r/3000, phi/pi, z/400: the inputs of the Exa.TrkX service (CTD 2023); r/1000, phi/pi, z/1000: of the ACTS one.
        ("exatrkx", [0.01, -0.5, 2.5]),
        ("acts", [0.03, -0.5, 1.0]),
        ("mm", [30.0, -np.pi / 2, 1000.0]),
    ],
)
def test_one_hit_in_every_scale(name: str, features: list[float]) -> None:
    position = np.array([[30.0, -np.pi / 2, 1000.0]], np.float32)
    scale = scale_named(name)
    np.testing.assert_allclose(scale.from_mm(position), [features], rtol=1e-6)
    np.testing.assert_allclose(scale.to_mm(np.array([features], np.float32)), position, rtol=1e-6)
    assert scale.to_mm(position).dtype == np.float32


def test_an_unknown_scale_is_told_the_nearest() -> None:
    assert set(SCALES) == {"mm", "exatrkx", "acts"}
    with pytest.raises(UnknownNameError, match="did you mean 'exatrkx'"):
        scale_named("exatrk")
