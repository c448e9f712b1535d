"""Inspect a ROOT file before it is calibrated: which preset fits, which branches are recognised, which are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.calibration.config import DijetSelection
from beampipe.calibration.layout import Layout, likely_presets, preset_layout
from beampipe.calibration.ntuple.branches import file_errors, open_root
from beampipe.calibration.ntuple.columns import DERIVED, EventSource
from beampipe.calibration.ntuple.inspection import (
    LIKELY,
    ColumnSummary,
    SanityChecks,
    branches_by_tree,
    missing_branches,
    sums_of_weights,
    weight_counts,
    weight_names,
)
from beampipe.errors import FileError
from beampipe.expressions import names_in

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
"""Column -> usual branch names, without the prefix for jets, in lower case."""

_ONCE: Final = ("run", "event")
"""Columns with one number per event."""


def guessed_branches(branches: Iterable[str]) -> dict[str, str]:
    """Column -> the likely branch, guessed by name: the shortest match. Columns without a match are empty.

    >>> guessed_branches(["RunNum", "EvtNum", "Jets/Jets.fCoordinates.fPt", "Jets/Jets.fCoordinates.fEta"])["pt"]
    'Jets/Jets.fCoordinates.fPt'
    """
    guesses = dict.fromkeys(_WORDS, "")
    for branch in sorted(branches, key=lambda name: (len(name), name)):
        for column, words in _WORDS.items():
            if not guesses[column] and _fits(branch, words, jets=column not in _ONCE):
                guesses[column] = branch
    return guesses


def _fits(branch: str, words: tuple[str, ...], *, jets: bool) -> bool:
    """Whether a branch name matches one of the usual words for a column."""
    parts = [part for part in re.split(r"[^0-9A-Za-z]+", branch) if part]
    if not jets:
        return "".join(parts).lower() in words
    if not re.match(r"(?i)(reco|ak4|antikt4\w*?|analysis)?jets?", parts[0]):
        return False
    rest = re.sub(r"(?i)^(reco|ak4|antikt4\w*?|analysis)?jets?", "", parts[0])
    tail = [rest, *parts[1:]]
    if rest.lower() not in ("", "ak4", *words):  # other jet collections
        return False
    return "".join(tail[-1:]).lower().removeprefix("f") in words or "".join(tail).lower() in words


def advised(problems: Iterable[str]) -> dict[str, str]:
    """Settings of [layout] that error messages suggest, e.g. ``set layout.energy_unit = 'MeV'``: key -> value as text.

    >>> advised(["got a median leading pT of 6e+05 ...; set layout.energy_unit = 'MeV'"])
    {'energy_unit': 'MeV'}
    """
    matches = (re.search(r"set layout\.([\w.]+) = '?(\w+)'?", problem) for problem in problems)
    return {match[1]: match[2] for match in matches if match}


def as_toml(
    file: str, preset: str, changes: Mapping[str, Any], missing: Mapping[str, str], *, labelled: bool = True
) -> str:
    """An initial configuration as TOML.

    Args:
        file: path or pattern of the files.
        preset: name of the preset.
        changes: keys under [layout] that differ from the preset; nested tables as mappings.
        missing: missing branch -> remark about it.
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
    lines += [f"# {remark}" for remark in (f"{key}: {text}" for key, text in missing.items())]
    for key, table in tables.items():
        lines += ["", f"[layout.{key}]  # guessed by name: look at each"]
        lines += [f'{inner} = "{value}"' for inner, value in table.items()]
    return "\n".join(lines) + "\n"


_MOST: Final = 30
"""Number of branches that are shown where some are missing."""


@dataclass(frozen=True)
class Inspection:
    """The result of the inspection of a file.

    Attributes:
        preset: name of the preset that was used.
        tree: name of the tree of events.
        events: number of events in it.
        lines: summary as lines of text.
        columns: summary of each column.
        missing: remark about each missing branch, by its name.
        wrong: problems, one line each.
        good: whether nothing is missing or wrong.
        configuration: an initial configuration.
    """

    preset: str
    tree: str
    events: int
    lines: tuple[str, ...]
    columns: Mapping[str, ColumnSummary]
    missing: Mapping[str, str]
    wrong: tuple[str, ...]
    good: bool
    configuration: str


def inspect_ntuple(path: str | Path, preset: str = "") -> Inspection:
    """Inspect a file with a preset, by default the one that fits best; branches of unknown formats are guessed.

    Args:
        path: ROOT file or address.
        preset: name of the preset; empty for the one that fits best.

    Raises:
        FileError: the file cannot be read, or has no tree of events.
        UnknownNameError: there is no such preset.
    """
    path = Path(path)
    with open_root(path) as file, file_errors(path, "trees"):
        trees = branches_by_tree(file)
        layout, changes = _layout_of(path, trees, preset)
        tree, name = file[layout.tree], layout.preset
        branches = trees[layout.tree]
        simulated = any(branch in branches for branch in layout.branches.label)
        missing = missing_branches(layout, branches, simulated=simulated, needs=DERIVED)
        source = EventSource(path, tree, layout, 0, int(tree.num_entries))
        # Report each missing branch once, by name.
        needs = tuple(key for key in DERIVED if source.has(f"jet_{key}") and not _lacks(layout, key, missing))
        checks = SanityChecks(source, labelled=simulated, needs=needs, min_pt=DijetSelection().min_subleading_pt)
        others = [_others(tree, checks)] if missing else []
        summed, unsummed = _sums(file, source, layout) if simulated and not layout.own_books else ("", "")
    lines = [f"{path}: preset {name}, tree {layout.tree}, {tree.num_entries} events", *_table(checks)]
    lines += [summed] if summed else []
    lines += [f"missing: {text}" for text in missing.values()]
    lines += others
    problems = [text for text in checks.problems if not any(f"'{branch}' cannot be read" in text for branch in missing)]
    problems = [text for text in problems if not any(f"'{branch}'" in text for branch in missing)]
    wrong = (*problems, *([unsummed] if unsummed else []))
    lines += [f"wrong: {text}" for text in wrong]
    changes |= advised(problems)
    return Inspection(
        name,
        layout.tree,
        int(tree.num_entries),
        tuple(lines),
        checks.columns,
        missing,
        wrong,
        not (missing or wrong),
        as_toml(str(path), name, changes, missing, labelled=simulated),
    )


def _others(tree: Any, checks: SanityChecks) -> str:
    """The first numeric branches that no column uses, as suggestions."""
    used = {name for each in checks.columns.values() for text in each.branches for name in names_in(text)}
    kinds = {str(name): _kind(tree, name) for name in tree.keys()}  # noqa: SIM118 - a tree
    names = [f"{name} ({kind})" for name, kind in kinds.items() if name not in used and "unknown" not in kind]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"other branches: {', '.join(names[:_MOST])}{more}"


def _kind(tree: Any, name: str) -> str:
    """The type of a branch; unknown if uproot cannot describe it, as the branch need not be used."""
    try:
        return str(tree[name].typename)
    except Exception:
        return "unknown"


def _lacks(layout: Layout, key: str, missing: Mapping[str, str]) -> bool:
    """Whether a branch that an observable is read or derived from is missing."""
    names = [name for text in getattr(layout.branches, key) for name in names_in(text)]
    return any(name in missing for name in names or layout.constituents.branches.values())


def _layout_of(path: Path, trees: Mapping[str, Any], preset: str) -> tuple[Layout, dict[str, Any]]:
    """The layout for the inspection, and its changes to the preset."""
    name, share = next(iter(likely_presets(trees).items()))
    if preset and preset_layout(preset).tree in trees:
        return preset_layout(preset), {}
    if not trees:
        raise FileError(f"{path}: got no tree, expected one with events", path=path)
    if not preset and share >= LIKELY:
        return preset_layout(name), {}
    # No preset fits: use the tree with the most branches, and guess columns by branch names.
    tree = max(sorted(trees), key=lambda each: len(trees[each]))
    changes: dict[str, Any] = {"tree": tree}
    if not preset:
        changes["branches"] = {key: branch for key, branch in guessed_branches(trees[tree]).items() if branch}
    return preset_layout(preset or "ntuple", changes), changes


def _sums(file: Any, source: EventSource, layout: Layout) -> tuple[str, str]:
    """A summary of the sums of weights, and the problem with them if there is one."""
    if layout.sums.source in ("none", "manifest", "events"):
        return f"sums of weights: to be given by layout.sums (source is {layout.sums.source!r})", ""
    try:
        counts = weight_counts(source)
        names = weight_names(source, counts)
        sums = sums_of_weights(file, source, counts, ()).sums
    except FileError as error:
        return "", str(error).removeprefix(f"{source.path}: ")
    return f"sums of weights: {len(names)} by {layout.sums.source}, nominal {sums[0]:.6g}", ""


def _table(checks: SanityChecks) -> Iterator[str]:
    """One line for each column."""
    yield f"{'column':16} {'branch':40} {'type':16} range in the file"
    for column, each in checks.columns.items():
        branch = ", ".join(each.branches) or "(derived or default)"
        span = f"{each.low:.6g} to {each.high:.6g}"
        if each.codes:
            span = "labels of leading jets " + ", ".join(f"{code}: {count}" for code, count in each.codes.items())
            n = sum(each.codes.values())
            span += f"; {each.unmatched} of {n} ({each.unmatched / n:.1%}) without a parton"
        yield f"{column:16} {branch:40} {each.kind:16} {span}"
    yield f"median leading pT: {checks.median_pt:.4g} GeV"
