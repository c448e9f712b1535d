"""What is known of an instance's data and told to no agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

__all__ = ["Hidden"]


@dataclass(frozen=True)
class Hidden:
    """The hidden side of an instance.

    Attributes:
        family: family of the task, such as ``"zmumu"``.
        seed: seed of the instance.
        version: version of the generator; the same family, seed and version give the same arrays.
        parameters: what was drawn for this instance, by name: masses and widths [GeV], numbers of events, resolutions.
        truth: what a perfect analysis would find, by the name under which it is asked.
        words: answers that are words.
        columns: standard name of a column, such as ``"lep_pt"`` -> its name in the files of this instance.
        energy_unit: what one unit of energy in the files is [GeV]: 1 or 0.001.
        tree: name of the tree in the files; empty if there is none.
        files: role, such as ``"data"`` or ``"signal_mc"`` -> names of the files.
        luminosity: integrated luminosity of the data [1/fb]; None if it does not matter.
        analysis: cuts, windows and models of the reference analysis; the docstring of the family says how they go.
        labels: per row of the data, its truth, such as the particle of a hit; empty if there is none.
    """

    family: str
    seed: int
    version: str
    parameters: Mapping[str, float]
    truth: Mapping[str, float]
    words: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    energy_unit: float = 1.0
    tree: str = ""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    luminosity: float | None = None
    analysis: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON types; `from_json` reads it back."""
        return cast("dict[str, Any]", json.loads(json.dumps(asdict(self), allow_nan=False)))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Hidden:
        """What `to_json` wrote."""
        files = {role: tuple(names) for role, names in data["files"].items()}
        return cls(**{**data, "files": files, "labels": tuple(data["labels"])})
