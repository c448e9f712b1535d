"""All cases that a scale factor is worked out for, side by side: nominal, variations, other samples, replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.histograms.templates import Templates
from beampipe.calibration.variations import Variation
from beampipe.errors import InputError

__all__ = ["Cases", "cases_of", "simulation_of"]


@dataclass(frozen=True, eq=False)
class Cases:
    """Numbers of jets for one tagger; regions are (forward, central), flavours (quark, gluon).

    Attributes:
        variations: what the first axis of `simulation` counts: those of the nominal sample, then the other samples.
        simulation: (n_cases, n_pt, 2 regions, 2 flavours, n_x) jets of simulation.
        simulation_replicas: (n_replicas, n_pt, 2 regions, 2 flavours, n_x) jets of nominal simulation.
        data: (n_pt, 2 regions, n_x) jets of data.
        data_replicas: (n_replicas, n_pt, 2 regions, n_x) jets of data.
        jets: (n_pt, 2 regions, 3, 2) number and effective number of nominal jets of (quark, gluon, data); no bins if
            they are not known.
        groups: (n_groups, n_cases, n_pt, 2 regions, 2 flavours, n_x) the part of `simulation` from each group of
            events; no groups if they were not wanted.
        data_groups: (n_groups, n_pt, 2 regions, n_x) the same of `data`.
    """

    variations: tuple[Variation, ...]
    simulation: Float64[ndarray, "v p 2 2 x"]
    simulation_replicas: Float64[ndarray, "b p 2 2 x"]
    data: Float64[ndarray, "p 2 x"]
    data_replicas: Float64[ndarray, "b p 2 x"]
    jets: Float64[ndarray, "q 2 3 2"] = field(default_factory=lambda: np.empty((0, 2, 3, 2)))
    groups: Float64[ndarray, "g w r 2 2 y"] = field(default_factory=lambda: np.empty((0, 0, 0, 2, 2, 0)))
    data_groups: Float64[ndarray, "g r 2 y"] = field(default_factory=lambda: np.empty((0, 0, 2, 0)))

    def without_group(self, number: int) -> Cases:
        """The cases with a group of events left out, without replicas."""
        simulation, data = self.simulation - self.groups[number], self.data - self.data_groups[number]
        return Cases(self.variations, simulation, self.simulation_replicas[:0], data, self.data_replicas[:0])


def simulation_of(
    tagger: str, nominal: Templates, samples: Mapping[str, Templates]
) -> tuple[Float64[ndarray, "v p 2 2 x"], Float64[ndarray, "b p 2 2 x"]]:
    """`simulation` and `simulation_replicas` of `Cases`.

    Raises:
        InputError: the samples were filled with different axes.
    """
    _same_axes(nominal, samples)
    others: Sequence[Float64[ndarray, "1 p 2 2 x"]] = [one.flavours(tagger)[:1] for one in samples.values()]
    return np.concatenate([nominal.flavours(tagger), *others]), nominal.flavours(tagger, replicas=True)


def cases_of(tagger: str, nominal: Templates, data: Templates, samples: Mapping[str, Templates]) -> Cases:
    """Stack the cases of one tagger.

    Args:
        tagger: name of the tagger.
        nominal: numbers of jets of the nominal sample, with all variations.
        data: numbers of jets of the sample in the role of data; only their sum over flavours is used.
        samples: numbers of jets of the other samples, by name; ``jets:NAME`` is a variation of jets.

    Raises:
        InputError: the samples were filled with different axes.
    """
    _same_axes(nominal, {"data": data})
    simulation, replicas = simulation_of(tagger, nominal, samples)
    grouped = {}
    if len(nominal.groups):
        parts = [nominal.flavours_by_group(tagger)]
        parts += [one.flavours_by_group(tagger)[:, :1] for one in samples.values()]
        grouped = {"groups": np.concatenate(parts, axis=1), "data_groups": data.totals_by_group(tagger)}
    return Cases(
        variations=(*nominal.variations, *map(_variation, samples)),
        simulation=simulation,
        simulation_replicas=replicas,
        data=data.total(tagger)[0],
        data_replicas=data.total(tagger, replicas=True),
        jets=np.concatenate([nominal.flavour_numbers(tagger), data.total_numbers(tagger)[:, :, None]], axis=2),
        **grouped,
    )


def _variation(sample: str) -> Variation:
    """What a sample that takes the nominal one's place varies."""
    found = Variation.parse(sample)
    return found if found.kind == "jets" else Variation("sample", sample)


def _same_axes(nominal: Templates, others: Mapping[str, Templates]) -> None:
    for name, templates in others.items():
        if (templates.axes.pt_edges, templates.axes.taggers) != (nominal.axes.pt_edges, nominal.axes.taggers):
            raise InputError(f"sample {name}: got other axes than the nominal sample, expected the same; fill it again")
