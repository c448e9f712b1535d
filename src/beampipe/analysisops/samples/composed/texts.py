"""Prompts of composed tasks at three levels, from the templates of ``texts.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.samples.composed.grammar import BACKGROUNDS, FAULTS, Composition

_TEMPLATES: Final = Path(__file__).with_name("texts.yaml")


@cache
def _templates() -> Mapping[str, Any]:
    import yaml

    templates: Mapping[str, Any] = yaml.safe_load(_TEMPLATES.read_text(encoding="utf-8"))
    return templates


def texts_of(composition: Composition, simulated: int = 0, generated: int = 0) -> dict[str, dict[str, str]]:
    """Values of the placeholders of the prompts, by level.

    Args:
        composition: the composition.
        simulated: number of events of the simulation.
        generated: number of decays of which these are.
    """
    c, templates = composition, _templates()
    words = {
        "objects": c.objects,
        "line": f"{c.line:g}",
        "simulated": simulated,
        "generated": generated,
        "luminosities": ", ".join(f"{luminosity:g}" for luminosity in c.luminosity),
        "low": f"{c.window[0]:g}",
        "high": f"{c.window[1]:g}",
    }
    question, faults = templates["questions"][c.question], templates["faults"]
    given = [
        "simulation" if c.asks.counts else ("calibration" if c.question != "efficiency" else ""),
        "trigger" if "trigger" in c.faults else "",
        "control" if BACKGROUNDS[c.background].control else "",
        "blocks",
        "doubt",
    ]
    ask = [question["ask"], *(templates["given"][name] for name in given if name)]
    possible = [name for name in c.asks.faults if name in FAULTS or name in c.faults]
    do = [question["do"], *(faults[name]["do"] for name in possible)]
    how = [*(faults[name]["how"] for name in c.faults), question["how"]]
    steps = [f"{number}. {text}" for number, text in enumerate(how, 1)]
    levels = {
        "3": ask,
        "2": [*ask, "What to do:", *(f"- {text}" for text in do)],
        "1": [*ask, "What to do:", *(f"- {text}" for text in do), "The steps, for these data:", *steps],
    }
    return {
        level: {"title": question["title"], "text": "\n\n".join(parts).format_map(words)}
        for level, parts in levels.items()
    }
