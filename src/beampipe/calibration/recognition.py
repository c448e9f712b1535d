"""Inspect ROOT files before they are calibrated: trees, the preset that fits, recognised and missing branches."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from beampipe.calibration.config import DijetSelection
from beampipe.calibration.layout import Layout, is_remote, likely_presets, preset_layout, preset_share
from beampipe.calibration.ntuple.columns import DECLARED, EventSource
from beampipe.calibration.ntuple.file_checks import (
    LIKELY,
    OPTIONAL,
    BranchContent,
    ColumnSummary,
    SanityChecks,
    branches_of,
    missing_branches,
    needed_observables,
    sums_of_weights,
    trees_of,
    weight_counts,
    weight_names,
)
from beampipe.calibration.ntuple.root_files import file_errors, open_root
from beampipe.errors import FileError, UnknownNameError
from beampipe.expressions import names_in

_ONCE: Final = ("run", "event", "weight")
"""Columns with numbers of events."""

_SIMULATED: Final = re.compile(r"(?i)^(gen|mc|truth|lhe|parton)[A-Z_]|genweight|mcweight|mcevent|truthlabel|partonfl")
"""Names of branches that only simulation has."""


def guessed_branches(branches: Iterable[str], content: BranchContent | None = None) -> dict[str, str | list[str]]:
    """Key of the layout -> the likely branch, by its name and content: the shortest name that fits.

    Two branches with numbers of the leading jets, such as ``jet1_pt`` and ``jet2_pt``, are guessed together. Keys
    without a match are left out.

    Args:
        branches: names of the branches.
        content: content of the first events; None to guess by names alone.

    >>> guessed_branches(["RunNum", "EvtNum", "Jets/Jets.fCoordinates.fPt", "Jet_btag"])["branches.pt"]
    'Jets/Jets.fCoordinates.fPt'
    """
    guesses: dict[str, str | list[str]] = {}
    names = sorted(branches, key=lambda name: (len(name), name))
    pairs = _pairs_of(names)
    for column in DECLARED.values():
        jets = column.name not in _ONCE
        key = f"branches.{column.name}" if column.name != "weight" else "weights.nominal"
        fitting = (name for name in names if _fits(name, column.words, jets=jets))
        match = next((name for name in fitting if content is None or content.fits(key, name)), None)
        if match is not None:
            guesses[key] = match
        elif jets:
            pair = next((pair for name, pair in pairs.items() if _fits(name, column.words, jets=True)), None)
            if pair is not None and (content is None or all(content.fits(key, name, flat=True) for name in pair)):
                guesses[key] = pair
        if key == "branches.pt" and content is not None and isinstance(guesses.get(key), str):
            content.jets_as_in(str(guesses[key]))
    if "branches.label" not in guesses and content is not None and "branches.pt" in guesses:
        by_content = [name for name in names if content.fits("branches.label", name)]
        if len(by_content) == 1:
            guesses["branches.label"] = by_content[0]
    return guesses


_NUMBERED: Final = re.compile(r"(?i)(?<![0-9])([012])(?![0-9])")


def _pairs_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Name without its number -> the two branches with the numbers of the leading jets: from 0, or from 1."""
    numbered: dict[str, dict[str, str]] = {}
    for name in names:
        for match in _NUMBERED.finditer(name):
            without = name[: match.start()].rstrip("_.") + "_" + name[match.end() :].lstrip("_.")
            numbered.setdefault(without.strip("_"), {}).setdefault(match[1], name)
    pairs = {}
    for without, members in numbered.items():
        first = next((number for number in "01" if {number, str(int(number) + 1)} <= set(members)), None)
        if first is not None:
            pairs[without] = [members[first], members[str(int(first) + 1)]]
    return pairs


def _fits(branch: str, words: Sequence[str], *, jets: bool) -> bool:
    """Whether a branch name matches one of the usual words for a column."""
    parts = [part for part in re.split(r"[^0-9A-Za-z]+", branch) if part]
    if not parts:
        return False
    if not jets:
        return "".join(parts).lower() in words or parts[-1].lower() in words
    prefix = r"(?i)^(reco|calib|ak4|ak04|antikt4\w*?|akt4\w*?|analysis|selected|good|leading)*_?(jets?|j)"
    if not re.match(prefix, parts[0]) and re.match(r"(?i)ak4|antikt4|akt4", parts[0]) and len(parts) > 1:
        parts = parts[1:] if re.match(r"(?i)jets?$", parts[1]) else ["jet", *parts[1:]]
    if not re.match(prefix, parts[0]):
        return False
    rest = re.sub(prefix, "", parts[0])
    tail = [rest, *parts[1:]]
    if rest.lower() not in ("", "ak4", "s", *words):  # other jet collections
        return False
    return any("".join(tail[k:]).lower().removeprefix("f") in words for k in range(len(tail)))


def advised(problems: Iterable[str]) -> dict[str, str]:
    """Settings of [layout] that error messages suggest, e.g. ``set layout.energy_unit = 'MeV'``: key -> value as text.

    >>> advised(["got a median leading pT of 6e+05 ...; set layout.energy_unit = 'MeV'"])
    {'energy_unit': 'MeV'}
    """
    matches = (re.search(r"set layout\.([\w.]+) = '?(\w+)'?", problem) for problem in problems)
    return {match[1]: match[2] for match in matches if match}


def as_toml(
    files: Mapping[bool, Sequence[str]], preset: str, changes: Mapping[str, Any], missing: Mapping[str, str]
) -> str:
    """An initial configuration as TOML.

    Args:
        files: paths or patterns of the files of simulation (True) and of data (False); none for one to replace.
        preset: name of the preset.
        changes: keys under [layout] that differ from the preset; nested tables as mappings.
        missing: missing branch -> remark about it.
    """
    simulation = json.dumps(files.get(True) or ["nominal/*.root"], ensure_ascii=False)
    data = json.dumps(files.get(False) or ["data/*.root"], ensure_ascii=False)
    lines = ["[samples.nominal]", f"files = {simulation}", "luminosity = 1.0  # 1/pb"]
    lines += [] if preset == "beampipe" else ["cross_section = 1.0  # pb; or a manifest under [layout.sums]"]
    lines += ["", "[samples.data]", f"files = {data}", 'kind = "data"']
    lines += ["", "[layout]", f'preset = "{preset}"']
    tables = {key: value for key, value in changes.items() if isinstance(value, Mapping)}
    for key, value in changes.items():
        if key not in tables:
            lines.append(f"{key} = {value}" if value in ("true", "false") else f"{key} = {json.dumps(value)}")
    lines += [f"# {remark}" for remark in (f"{key}: {text}" for key, text in missing.items())]
    for key, table in tables.items():
        lines += ["", f"[layout.{key}]  # guessed: look at each"]
        lines += [f"{inner} = {json.dumps(value)}" for inner, value in table.items()]
    return "\n".join(lines) + "\n"


_MOST: Final = 30
"""Number of branches that are shown where some are missing."""


@dataclass(frozen=True)
class TreeSummary:
    """A tree of a file.

    Attributes:
        name: name of the tree, with the folders that it is in.
        kind: ``TTree`` or ``RNTuple``.
        entries: number of entries.
        branches: number of branches.
    """

    name: str
    kind: str
    entries: int
    branches: int


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
        changes: keys under [layout] that differ from the preset.
        configuration: an initial configuration.
        unused: question about boolean branches that no cut uses, by the key of the layout that could name them.
        trees: all trees of the file.
        layout: the layout that was used.
        simulated: whether the file is simulation: it has labels, or other branches that only simulation has.
    """

    preset: str
    tree: str
    events: int
    lines: tuple[str, ...]
    columns: Mapping[str, ColumnSummary]
    missing: Mapping[str, str]
    wrong: tuple[str, ...]
    good: bool
    changes: Mapping[str, Any]
    configuration: str
    unused: Mapping[str, str]
    trees: tuple[TreeSummary, ...]
    layout: Layout
    simulated: bool


def inspect_ntuple(path: str | Path, preset: str = "", tree: str = "") -> Inspection:
    """Inspect a file with a preset, by default the one that fits best; branches of unknown formats are guessed.

    What is missing is what a run with the tagger ``n_trk`` would miss.

    Args:
        path: ROOT file or address.
        preset: name of the preset; empty for the one that fits best.
        tree: name of the tree of events, with its folders; empty for the one that fits best.

    Raises:
        FileError: the file cannot be read, or has no tree of events.
        UnknownNameError: there is no such preset or tree.
    """
    path = Path(path)
    with open_root(path) as file, file_errors(path, "trees"):
        trees = trees_of(file)
        layout, changes = _layout_of(path, trees, preset, tree)
        events, branches = trees[layout.tree], branches_of(trees[layout.tree])
        simulated = _is_simulated(layout, branches)
        needs = needed_observables(layout)
        source = EventSource(path, events, layout, 0, int(events.num_entries))
        fits = BranchContent(source).fits
        missing = missing_branches(layout, branches, simulated=simulated, needs=needs, fits=fits)
        # Report each missing branch once, by name.
        checked = tuple(key for key in needs if source.has(f"jet_{key}") and not _lacks(layout, key, missing))
        cuts = DijetSelection()
        limits = {"min_pt": cuts.min_subleading_pt, "max_abs_eta": cuts.max_abs_eta}
        checks = SanityChecks(source, labelled=simulated, needs=checked, **limits) if source.stop else None
        columns = checks.columns if checks else {}
        others = [_others(events, columns)] if missing else []
        unused = dict(_unused_flags(source, columns)) if source.stop else {}
        summed, unsummed = _sums(file, source, layout) if simulated and not layout.own_books else ("", "")
        summaries = tuple(
            TreeSummary(
                name,
                "RNTuple" if "RNTuple" in type(each).__name__ else "TTree",
                int(each.num_entries),
                len(each.keys()),
            )
            for name, each in trees.items()
        )
    kind = "simulation" if simulated else "data"
    lines = [f"{path}: preset {layout.preset}, tree {layout.tree}, {source.stop} events, {kind}"]
    lines += [
        f"tree: {each.name} ({each.kind}), {each.entries} entries, {each.branches} branches" for each in summaries
    ]
    lines += _table(checks) if checks else ["no events: only its sums of weights count"]
    lines += [summed] if summed else []
    lines += [f"missing: {text}" for text in missing.values()]
    lines += [f"question: {text}" for text in unused.values()]
    lines += others
    problems = checks.problems if checks else []
    named = [mark for branch in missing for mark in (f"'{branch}'", f"layout.branches.{branch},")]
    problems = [text for text in problems if not any(mark in text for mark in named)]
    wrong = (*problems, *([unsummed] if unsummed else []))
    lines += [f"wrong: {text}" for text in wrong]
    changes |= advised(problems)
    return Inspection(
        preset=layout.preset,
        tree=layout.tree,
        events=source.stop,
        lines=tuple(lines),
        columns=columns,
        missing=missing,
        wrong=wrong,
        good=not (missing or wrong),
        changes=changes,
        configuration=as_toml({simulated: [str(path)]}, layout.preset, changes, missing | unused),
        unused=unused,
        trees=summaries,
        layout=layout,
        simulated=simulated,
    )


def inspect_ntuples(
    paths: Sequence[str | Path], preset: str = "", tree: str = "", folder: Path = Path()
) -> list[Inspection]:
    """Inspect several files, all with the preset and the tree of the first one unless they are given.

    The configuration of the first one lists all files, of simulation and of data, relative to `folder`. Its layout is
    that of the first file of simulation, if there is one.

    Raises:
        FileError: a file cannot be read, or has no tree of events.
        UnknownNameError: there is no such preset or tree.
    """
    first = inspect_ntuple(paths[0], preset, tree)
    others = [inspect_ntuple(path, preset, tree or first.tree) for path in paths[1:]]
    model = next((each for each in (first, *others) if each.simulated), first)
    files: dict[bool, list[str]] = {True: [], False: []}
    for path, each in zip(paths, (first, *others), strict=True):
        kept = is_remote(path) or Path(path).is_absolute()
        files[each.simulated].append(str(path) if kept else os.path.relpath(path, folder))
    text = as_toml(files, model.preset, model.changes, {**model.missing, **model.unused})
    return [replace(first, configuration=text), *others]


def _is_simulated(layout: Layout, branches: set[str]) -> bool:
    """Whether a file is simulation, by its labels, its weights or other branches that only simulation has."""
    marks = [name for text in layout.branches.label for name in names_in(text)]
    marks += [layout.weights.nominal] if layout.weights.nominal else []
    return bool(set(marks) & branches) or any(_SIMULATED.search(name.rpartition("/")[2]) for name in branches)


def _others(tree: Any, columns: Mapping[str, ColumnSummary]) -> str:
    """The first numeric branches that no column uses, as suggestions."""
    used = {name for each in columns.values() for text in each.branches for name in names_in(text)}
    kinds = {str(name): _kind(tree, name) for name in tree.keys()}  # noqa: SIM118 - a tree
    names = [f"{name} ({kind})" for name, kind in kinds.items() if name not in used and "unknown" not in kind]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"other branches: {', '.join(names[:_MOST])}{more}"


def _unused_flags(source: EventSource, columns: Mapping[str, ColumnSummary]) -> Iterator[tuple[str, str]]:
    """For events and for jets: the key of the layout, and a question about boolean branches that no column uses."""
    content, names = BranchContent(source), [str(name) for name in source.tree.keys()]  # noqa: SIM118 - a tree
    used = {name for each in columns.values() for text in each.branches for name in names_in(text)}
    whole = [
        name for name in names if not used & {name, name.rpartition("/")[2]} and _WHOLE.search(_kind(source.tree, name))
    ]
    for key, flat, what in (("trigger", True, "events"), ("clean", False, "jets")):
        flags = [name for name in whole if content.fits("flag", name, flat=flat)]
        if flags:
            more = f" and {len(flags) - _MOST} more" if len(flags) > _MOST else ""
            yield (
                f"branches.{key}",
                f"does the selection of {what} use {', '.join(flags[:_MOST])}{more}? No cut does; name them in"
                f" layout.branches.{key} if so",
            )


_WHOLE: Final = re.compile(r"(?i)bool|char|int8|int16|int32|^int\b")
"""Types of branches that may hold flags."""


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


def _layout_of(path: Path, trees: Mapping[str, Any], preset: str, tree: str) -> tuple[Layout, dict[str, Any]]:
    """The layout for the inspection, and its changes to the preset."""
    if tree and tree not in trees:
        raise UnknownNameError(f"tree of {path}", tree, trees)
    if not trees:
        raise FileError(f"{path}: got no tree, expected one with events", path=path)
    chosen = {tree: trees[tree]} if tree else trees
    by_tree = {name: branches_of(each) for name, each in chosen.items()}
    # A preset fits a tree of another name or folder, too: choose the preset by branches, of trees with most entries.
    best: tuple[tuple[float, int, int], str, str] | None = None
    for name, branches in by_tree.items():
        for candidate in [preset] if preset else likely_presets({}):
            layout, share = preset_layout(candidate), preset_share(candidate, branches)
            own_name = name == layout.tree
            if not own_name and layout.own_books:
                continue
            rank = (share, int(own_name), int(chosen[name].num_entries))
            if (share >= LIKELY or preset) and (best is None or rank > best[0]):
                best = rank, candidate, name
    if best is not None:
        _, fitting, name = best
        changes: dict[str, Any] = {} if name == preset_layout(fitting).tree else {"tree": name}
        layout = preset_layout(fitting, changes)
        if not preset:
            absent = _absent(layout, by_tree[name])
            guesses = _guesses_in(path, chosen[name], layout) if absent else {}
            changes |= _as_tables({key: guess for key, guess in guesses.items() if key in absent})
            layout = preset_layout(fitting, changes)
        return layout, changes
    # No preset fits: guess columns, of the tree in which most are found, then of that with most entries.
    plain = preset_layout("ntuple")
    guessed = {name: _guesses_in(path, each, plain) for name, each in chosen.items()}
    name = max(guessed, key=lambda each: (len(guessed[each]), int(chosen[each].num_entries), len(by_tree[each])))
    changes = {"tree": name, **_as_tables(guessed[name])}
    return preset_layout("ntuple", changes), changes


def _guesses_in(path: Path, tree: Any, layout: Layout) -> dict[str, str | list[str]]:
    """The branches that `guessed_branches` finds in a tree, by their content if it has events."""
    n_events = int(tree.num_entries)
    content = BranchContent(EventSource(path, tree, layout, 0, n_events)) if n_events else None
    return guessed_branches(branches_of(tree), content)


def _absent(layout: Layout, branches: set[str]) -> set[str]:
    """Keys of the layout whose branch a tree lacks, or that name none."""
    names = {f"branches.{key}": texts for key, texts in vars(layout.branches).items()}
    names["weights.nominal"] = (layout.weights.nominal,)
    wanted = {key: {name for text in texts if text for name in names_in(text)} for key, texts in names.items()}
    return {key for key, needed in wanted.items() if not needed or not needed <= branches}


def _as_tables(guesses: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """Guessed branches as tables below [layout]."""
    tables: dict[str, Any] = {}
    for key, guess in guesses.items():
        table, _, inner = key.partition(".")
        tables.setdefault(table, {})[inner] = guess
    return tables


def _sums(file: Any, source: EventSource, layout: Layout) -> tuple[str, str]:
    """A summary of the sums of weights, and the problem with them if there is one."""
    if layout.sums.source in ("none", "manifest", "events"):
        return f"sums of weights: to be given by layout.sums (source is {layout.sums.source!r})", ""
    try:
        counts = weight_counts(source) if source.stop else None
        n_weights = len(weight_names(source, counts)) if counts else 0
        sums = sums_of_weights(file, source, counts, ()).sums
    except FileError as error:
        return "", str(error).removeprefix(f"{source.path}: ")
    return f"sums of weights: {n_weights or len(sums)} by {layout.sums.source}, nominal {sums[0]:.6g}", ""


def _table(checks: SanityChecks) -> Iterator[str]:
    """One line for each column."""
    yield f"{'column':16} {'branch':40} {'type':16} range in the file"
    for column, each in checks.columns.items():
        default = OPTIONAL.get(f"branches.{column.removeprefix('jet_')}", "derived")
        branch = ", ".join(each.branches) or f"(no branch: {default})"
        span = f"{each.low:.6g} to {each.high:.6g}"
        if each.codes:
            span = "labels of leading jets " + ", ".join(f"{code}: {count}" for code, count in each.codes.items())
            n = sum(each.codes.values())
            span += f"; {each.unmatched} of {n} ({each.unmatched / n:.1%}) without a parton"
        yield f"{column:16} {branch:40} {each.kind:16} {span}"
    yield f"median leading pT: {checks.median_pt:.4g} GeV"
