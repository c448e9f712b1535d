"""A look at a file before it is calibrated: which preset it is of, what was recognised, what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from beampipe.calibration.layout.presets import likely_presets, preset_layout
from beampipe.calibration.layout.recognise import as_toml
from beampipe.calibration.ntuple.glance import Glance, glance
from beampipe.calibration.ntuple.opening import faults, opened
from beampipe.calibration.ntuple.reading import branches_of, missing_branches
from beampipe.calibration.ntuple.source import DERIVED, EventSource
from beampipe.errors import FileError

__all__ = ["Look", "look_at"]


@dataclass(frozen=True)
class Look:
    """What was seen in a file.

    Attributes:
        preset: name of the preset that it was looked at with.
        lines: what was seen, for people.
        good: whether nothing is missing or wrong.
        configuration: a configuration to start from.
    """

    preset: str
    lines: tuple[str, ...]
    good: bool
    configuration: str


def look_at(path: Path, preset: str = "") -> Look:
    """Look at a file with a preset, by default the one that fits best.

    Raises:
        FileError: the file cannot be read, or has no tree of events.
        UnknownNameError: there is no such preset.
    """
    with opened(path) as file, faults(path, "trees"):
        names = {key.split(";")[0] for key in file.keys(recursive=False)}
        trees = {name: branches_of(file[name]) for name in names if hasattr(file[name], "num_entries")}
        name = preset or next(iter(likely_presets(trees)))
        layout = preset_layout(name)
        if layout.tree not in trees:
            raise FileError(
                f"{path}: got trees {', '.join(sorted(trees)) or 'none'}, expected {layout.tree!r} as in preset"
                f" {name!r}; name another preset by --preset",
                path=path,
            )
        tree = file[layout.tree]
        simulated = any(branch in trees[layout.tree] for branch in layout.branches.label)
        missing = missing_branches(layout, trees[layout.tree], simulated=simulated, needs=DERIVED)
        source = EventSource(path, tree, layout, 0, int(tree.num_entries))
        # What is missing is said once, by name.
        seen = glance(source, labelled=simulated, needs=DERIVED if not missing else ())
    lines = [f"{path}: preset {name}, tree {layout.tree}, {tree.num_entries} events", *_table(seen)]
    lines += [f"missing: {said}" for said in missing.values()]
    problems = [said for said in seen.problems if not any(f"'{branch}' cannot be read" in said for branch in missing)]
    lines += [f"wrong: {said}" for said in problems]
    return Look(name, tuple(lines), not (missing or problems), as_toml(str(path), name, {}, missing))


def _table(seen: Glance) -> list[str]:
    """One line for each column."""
    lines = [f"{'column':16} {'branch':40} {'type':16} range in the file"]
    for column, each in seen.seen.items():
        codes = ", ".join(f"{code}: {count}" for code, count in each.codes.items())
        branch = ", ".join(each.branches) or "(derived or made up)"
        span = f"labels of leading jets {codes}" if codes else f"{each.low:.6g} to {each.high:.6g}"
        lines.append(f"{column:16} {branch:40} {each.kind:16} {span}")
    return [*lines, f"median leading pT: {seen.median_pt:.4g} GeV"]
