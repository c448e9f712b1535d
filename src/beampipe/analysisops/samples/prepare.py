"""The data of an instance: a family and a seed become files that anybody may read, and what is hidden of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, cast

import numpy as np

from beampipe.analysisops.samples.dialects import DIALECTS
from beampipe.analysisops.samples.draws import Draws
from beampipe.analysisops.samples.hidden import Hidden
from beampipe.analysisops.samples.instance import Instance
from beampipe.analysisops.samples.writing import Layout, columns_of, write_manifest, write_text, write_tree
from beampipe.errors import UnknownNameError

__all__ = ["VERSION", "families", "prepare"]

VERSION: Final = "1"
"""Version of the generator. It changes whenever the same family and seed give other arrays than before."""

_FAMILIES: Final = {
    "zmumu": "peaks.zmumu",
    "width": "peaks.width",
    "hyy": "peaks.hyy",
    "search": "peaks.search",
    "hmumu": "peaks.hmumu",
    "hbb": "peaks.hbb",
    "hzz4l": "peaks.hzz4l",
    "ttbar": "peaks.ttbar",
    "wz3l": "counts.wz3l",
    "counting": "counts.counting",
    "tagprobe": "counts.tagprobe",
    "jets": "systems.jets",
    "operations": "systems.operations",
    "tracks": "systems.tracks",
}

_FIRST_EVENTS: Final = 10_000_000
_MILLIMETRES: Final = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


def families() -> tuple[str, ...]:
    """The families that there are, by name."""
    return tuple(_FAMILIES)


def prepare(
    family: str, seed: int, folder: Path, *, parameters: Mapping[str, tuple[float, float]] | None = None
) -> Hidden:
    """Make the data of an instance.

    Args:
        family: name of the family, one of `families`.
        seed: seed of the instance; the same family, seed and version give the same arrays.
        folder: the files are written into its folder ``data``, with ``manifest.json`` beside them.
        parameters: hidden parameter -> lowest and highest value, in place of the family's own range.

    Returns:
        What is hidden; nothing of it stands in the folder.

    Raises:
        UnknownNameError: there is no such family, or it has no such parameter.
        ConfigError: a range of a parameter is impossible.
    """
    if family not in _FAMILIES:
        raise UnknownNameError("family of tasks", family, _FAMILIES)
    draws = Draws(family, seed, parameters)
    layout = _layout(draws)
    module = import_module(f"beampipe.analysisops.samples.families.{_FAMILIES[family]}")
    instance = cast("Callable[[Draws], Instance]", module.make)(draws)
    draws.check()
    return _write(family, seed, draws, instance, layout, folder / "data")


def _layout(draws: Draws) -> Layout:
    dialect = DIALECTS[draws.choice("dialect", len(DIALECTS))]
    # A tree goes by the name of any dialect: nobody shall guess the columns from it.
    tree = DIALECTS[draws.choice("tree", len(DIALECTS))].tree
    unit = (1.0, 0.001)[draws.choice("mev", 2)]
    length = tuple(_MILLIMETRES.values())[draws.choice("length", len(_MILLIMETRES))]
    return Layout(dialect, tree, unit, length)


def _write(family: str, seed: int, draws: Draws, instance: Instance, layout: Layout, folder: Path) -> Hidden:
    files, columns, first = [], {}, _FIRST_EVENTS
    names: dict[str, tuple[str, ...]] = {}
    for sample in instance.samples:
        numbers = np.arange(first, first + sample.events.number, dtype=np.int64)
        first += sample.events.number
        events = sample.events.with_columns({"eventNumber": numbers})
        facts = write_tree(folder / f"{sample.name}.root", events, layout)
        files.append({**facts, "role": sample.role, **sample.facts})
        names[sample.role] = (*names.get(sample.role, ()), facts["name"])
        columns.update(columns_of(events, layout))
    for name, (role, text) in instance.texts.items():
        files.append({**write_text(folder / name, text), "role": role})
        names[role] = (*names.get(role, ()), name)
    write_manifest(folder, files, {"generator_version": VERSION, **instance.public})
    luminosity = instance.public.get("luminosity_fb")
    return Hidden(
        family,
        seed,
        VERSION,
        {**draws.parameters, "length_unit": layout.lengths, **instance.hidden},
        instance.truth,
        instance.words,
        columns,
        layout.energy_unit,
        layout.tree if instance.samples else "",
        names,
        None if luminosity is None else float(luminosity),
        instance.analysis,
        instance.labels,
    )
