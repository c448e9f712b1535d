"""The configuration for files of a kind that a preset nearly describes: written, for people to go on with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["advised", "as_toml", "guessed_branches"]

_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "run": ("run", "runnumber", "runnum"),
    "event": ("event", "eventnumber", "evtnum", "evt"),
    "pt": ("pt",),
    "eta": ("eta",),
    "phi": ("phi",),
    "n_trk": ("ntrk", "ntracks", "numtrk", "ntrack", "chargedmultiplicity", "nchg"),
    "width": ("width", "trackswidth", "trackwidth", "girth"),
    "c1": ("c1", "tracksc1"),
    "label": ("label", "partontruthlabelid", "partonflavor", "partonflavour", "truthlabelid"),
}
"""Column -> what branches of it are called, without the word for jets, in small letters."""

_ONCE: Final = ("run", "event")
"""Columns with one number per event."""


def guessed_branches(branches: Iterable[str]) -> dict[str, str]:
    """Column -> the branch that it may be, going by names; the shortest one that fits. Columns without one are empty.

    >>> guessed_branches(["RunNum", "EvtNum", "Jets/Jets.fCoordinates.fPt", "Jets/Jets.fCoordinates.fEta"])["pt"]
    'Jets/Jets.fCoordinates.fPt'
    """
    found = dict.fromkeys(_WORDS, "")
    for branch in sorted(branches, key=lambda name: (len(name), name)):
        for column, words in _WORDS.items():
            if not found[column] and _fits(branch, words, jets=column not in _ONCE):
                found[column] = branch
    return found


def _fits(branch: str, words: tuple[str, ...], *, jets: bool) -> bool:
    """Whether a branch may be a column that is called by one of some words."""
    parts = [part for part in re.split(r"[^0-9A-Za-z]+", branch) if part]
    if not jets:
        return "".join(parts).lower() in words
    if not re.match(r"(?i)(reco|ak4|antikt4\w*?|analysis)?jets?", parts[0]):
        return False
    rest = re.sub(r"(?i)^(reco|ak4|antikt4\w*?|analysis)?jets?", "", parts[0])
    tail = [rest, *parts[1:]]
    if rest.lower() not in ("", "ak4", *words):  # jets of another kind
        return False
    return "".join(tail[-1:]).lower().removeprefix("f") in words or "".join(tail).lower() in words


def advised(problems: Iterable[str]) -> dict[str, str]:
    """Lines under [layout] that problems advise to set, as ``set layout.energy_unit = 'MeV'``: key -> value as text.

    >>> advised(["got a median leading pT of 6e+05 ...; set layout.energy_unit = 'MeV'"])
    {'energy_unit': 'MeV'}
    """
    found = (re.search(r"set layout\.([\w.]+) = '?(\w+)'?", said) for said in problems)
    return {match[1]: match[2] for match in found if match}


def as_toml(
    file: str, preset: str, changes: Mapping[str, Any], missing: Mapping[str, str], *, labelled: bool = True
) -> str:
    """A configuration to start from.

    Args:
        file: path or pattern of the files.
        preset: name of the preset.
        changes: lines under [layout] that are not those of the preset; a table stands for one.
        missing: what could not be found -> what to say of it.
        labelled: whether the file is simulation.
    """
    other = {"nominal": "data", "data": "nominal"}
    name = "nominal" if labelled else "data"
    lines = [f"[samples.{name}]", f'files = "{file}"']
    lines += ["luminosity = 1.0  # 1/pb"] if labelled else ['kind = "data"']
    if preset != "beampipe" and labelled:
        lines.append("cross_section = 1.0  # pb; or a manifest under [layout.sums]")
    lines += ["", f"[samples.{other[name]}]", f'files = "{other[name]}/*.root"']
    lines += ['kind = "data"'] if labelled else ["luminosity = 1.0  # 1/pb"]
    lines += ["", "[layout]", f'preset = "{preset}"']
    tables = {key: value for key, value in changes.items() if isinstance(value, Mapping)}
    for key, value in changes.items():
        if key not in tables:
            lines.append(f"{key} = {value}" if value in ("true", "false") else f'{key} = "{value}"')
    lines += [f"# {told}" for told in (f"{key}: {said}" for key, said in missing.items())]
    for key, table in tables.items():
        lines += ["", f"[layout.{key}]  # guessed by name: look at each"]
        lines += [f'{inner} = "{value}"' for inner, value in table.items()]
    return "\n".join(lines) + "\n"
