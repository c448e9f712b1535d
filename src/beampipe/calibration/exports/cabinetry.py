"""Principal components of the joint covariance as systematics of cabinetry: a part of its configuration.

Events of the analysis carry a weight for each component, up and down, from the file of corrections with components; a
template is filled with each. The names are those of the modifiers for pyhf, so that fits can be put together. The file
is JSON, which YAML takes as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.exports.likelihood import COMPONENT_NAME

__all__ = ["cabinetry_systematics", "write_cabinetry"]


def cabinetry_systematics(
    components: Float64[ndarray, "k n"], samples: Sequence[str] = (), weight: str = "weight_{name}_{way}"
) -> list[dict[str, Any]]:
    """The entries of ``Systematics`` in a configuration of cabinetry.

    Args:
        components: shifts by principal component, from `principal_components`.
        samples: names of the samples whose jets get scale factors; all samples if there are none.
        weight: expression for the weight of an event in a variation; ``{name}`` is that of the systematic, ``{way}`` is
            ``up`` or ``down``.
    """
    entries = []
    for k in range(len(components)):
        name = COMPONENT_NAME.format(k)
        ways = {way.capitalize(): {"Weight": weight.format(name=name, way=way)} for way in ("up", "down")}
        entry = {"Name": name, **ways, "Type": "NormPlusShape"}
        entries.append(entry | ({"Samples": list(samples)} if samples else {}))
    return entries


def write_cabinetry(components: Float64[ndarray, "k n"], path: Path) -> None:
    """Write the entries for all samples, to be put into a configuration of cabinetry.

    Args:
        components: shifts by principal component, from `principal_components`.
        path: the file to write.
    """
    plain = {"Systematics": cabinetry_systematics(components)}
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
