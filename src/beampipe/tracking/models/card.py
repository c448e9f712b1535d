"""Cards of tracker models: writes them, and summarises what each pipeline of a model is for, finds and misses."""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from beampipe.errors import FileError
from beampipe.files import write_whole
from beampipe.tracking.catalogue import CARD, DEFAULT_PIPELINE, PIPELINES
from beampipe.tracking.models import CARD_FORMAT, Performance, TrackerModel, Versions, Weights, digest_of

HEADINGS: Final = ("pipeline", "efficiency", "displaced", "dense", "fakes", "hits on tracks", "ms", "cannot")
"""Headings of the columns of `pipeline_rows`."""

_NOT_MEASURED: Final = "-"

USABLE_EFFICIENCY: Final = 0.97
"""Lowest efficiency of a usable model."""

USABLE_FAKES: Final = 0.05
"""Largest share of fake tracks of a usable model."""

_LITTLE_WORSE: Final = 0.005
"""Efficiency less share of fakes by which the default pipeline may be worse than the best one."""

_FEWEST_TO_JUDGE: Final = 100
"""Fewest particles that show that a model is usable; if 97 of 100 are found, the error is 2 %."""

_ADVICE: Final = "add events (30 with hundreds of tracks each are usual), or learn longer (without --quick)"


def pipeline_rows(model: TrackerModel) -> list[tuple[str, ...]]:
    """One row for each pipeline that the model can run, then for ACTS, in the order of `HEADINGS`.

    Cells are "-" where nothing was measured.
    """
    rows = []
    for name in model.pipelines:
        *cells, cannot = _cells(model.performance.get(name), model.acts)
        rows.append((name, *cells, "; ".join((cannot, *_refused_events(name)))))
    return rows + [(name, *_cells(measured)) for name, measured in model.acts.items()]


def pt_floors(model: TrackerModel) -> str:
    """The lowest pT that each of the weights was learned from, in words."""
    return ", ".join(f"{stem} {weights.pt_floor:g} GeV" for stem, weights in model.weights.items())


def model_overview(model: TrackerModel) -> list[str]:
    """Lines of text about a model and each of its pipelines: purpose, performance, weaknesses."""
    lines = [f"{model.name}: {model.for_what}", f"  folder: {model.path}", f"  learned down to pT: {pt_floors(model)}"]
    lines.append(f"  default pipeline: {model.default_pipeline}")
    for name in model.pipelines:
        lines.append(f"  {name}: {PIPELINES[name].for_what}")
        lines += [f"    cannot take {what}" for what in _refused_events(name)]
        limit, measured = PIPELINES[name].limit, model.performance.get(name)
        if limit is not None and measured is not None and measured.hits > limit.hits:
            lines.append(f"    measured on events of {measured.hits:,.0f} hits, beyond this limit")
        lines += _measured_lines(model, measured, model.acts)
    for name, measured in model.acts.items():
        lines += [f"  {name}: seeding and Kalman filter of ACTS, for comparison", *_measured_lines(model, measured)]
    samples = dict.fromkeys((one.particles, one.events, one.sample, one.counted) for one in model.performance.values())
    for particles, events, sample, counted in samples:
        lines += [f"  measured with {particles} particles in {events} events: {sample}"]
        lines += [f"  counted: {counted}"] if counted else []
    return lines


def _measured_lines(
    model: TrackerModel, measured: Performance | None, acts: Mapping[str, Performance] = MappingProxyType({})
) -> list[str]:
    """Numbers and weaknesses of one finder, with those of ACTS beside."""
    if measured is None:
        return ["    not measured"]
    cells = dict(zip(HEADINGS[1:], _cells(measured, acts), strict=True))
    cannot = cells.pop("cannot")
    lines = ["    " + ", ".join(f"{what} {value}" for what, value in cells.items() if value != _NOT_MEASURED)]
    lines.append(f"    finds less than 90 % of: {cannot}")
    if untested := "; ".join(measured.untested()):
        lines.append(f"    too few particles to tell: {untested}")
    if measured.chi2:
        share = "" if measured.good_fits is None else f" ({measured.good_fits:.2%} of the tracks)"
        median, mean = measured.chi2
        lines.append(
            f"    chi2 per degree of freedom of fits that are not suspect{share}: median {median:.2f}, mean {mean:.2f}"
        )
    if measured.layers:
        ordered = sorted((share, layer.name) for share, layer in zip(measured.layers, model.layout.layers, strict=True))
        ends = (f"{share:.0%} ({name})" for share, name in (ordered[0], ordered[-1]))
        lines.append(f"    hits on tracks by layer: {' to '.join(ends)}")
    return lines


def model_facts(model: TrackerModel) -> dict[str, Any]:
    """The content of `model_overview` for scripts: numbers by name, shares in [0, 1], times in ms, pT in GeV."""
    pipelines = {}
    for name in model.pipelines:
        limit, measured = PIPELINES[name].limit, model.performance.get(name)
        pipelines[name] = {
            "for": PIPELINES[name].for_what,
            "most_hits": None if limit is None else limit.hits,
            "performance": measured,
            "weaknesses": None if measured is None else list(measured.weaknesses(model.acts)),
            "untested": None if measured is None else list(measured.untested()),
        }
    return {
        "name": model.name,
        "for": model.for_what,
        "folder": model.path,
        "default_pipeline": model.default_pipeline,
        "pt_floors": {stem: weights.pt_floor for stem, weights in model.weights.items()},
        "pipelines": pipelines,
        "acts": model.acts,
    }


class Verdict(NamedTuple):
    """Whether a model can be used.

    Attributes:
        usable: whether it finds enough of the particles, at least above some pT.
        text: the same in words, with the reason and what to do.
        pipeline: name of the pipeline that is judged.
    """

    usable: bool
    text: str
    pipeline: str = DEFAULT_PIPELINE


def verdict(model: TrackerModel) -> Verdict:
    """Whether the best pipeline of a model finds enough of the particles of the events that validated it.

    The default pipeline, which is quick, is preferred where it is good enough and little worse.

    Args:
        model: a model with its measured performance.
    """
    particles = max((measured.particles for measured in model.performance.values()), default=0)
    if particles < _FEWEST_TO_JUDGE:
        few = f"{particles} particles are too few to measure it, expected {_FEWEST_TO_JUDGE} or more"
        return Verdict(False, f"not usable, because {few}; {_ADVICE}")
    merit = {name: (each.efficiency or 0.0) - (each.fakes or 0.0) for name, each in model.performance.items()}
    name = max(merit, key=lambda name: merit[name])
    quick = model.performance.get(DEFAULT_PIPELINE)
    if quick is not None and (quick.efficiency or 0.0) >= USABLE_EFFICIENCY and (quick.fakes or 0.0) <= USABLE_FAKES:
        name = DEFAULT_PIPELINE if merit[DEFAULT_PIPELINE] > merit[name] - _LITTLE_WORSE else name
    best = model.performance[name]
    efficiency, fakes = best.efficiency or 0.0, best.fakes or 0.0
    found = f"{100 * efficiency:.1f} % of the {particles} particles"
    numbers = f"{name} finds {found}, {100 * fakes:.1f} % of its tracks are fakes"
    if fakes <= USABLE_FAKES:
        if efficiency >= USABLE_EFFICIENCY:
            return Verdict(True, f"usable: {numbers}", name)
        by_pt = best.curves["pt"]
        for number, edge in enumerate(by_pt.edges[:-1]):
            above = [rate for rate in by_pt.values[number:] if rate is not None]
            if sum(by_pt.total[number:]) >= _FEWEST_TO_JUDGE and min(above) >= USABLE_EFFICIENCY:
                return Verdict(True, f"usable above pT = {edge:g} GeV: {numbers} in all; {_ADVICE}", name)
    limits = f"expected {100 * USABLE_EFFICIENCY:.0f} % or more, and at most {100 * USABLE_FAKES:.0f} %"
    limits += f"; it learned from {model.origin.events} events"
    return Verdict(False, f"not usable, because {numbers} ({limits}); {_ADVICE}", name)


def _refused_events(name: str) -> list[str]:
    """The limit of the pipeline of that name, and the pipeline to use beyond it, in words."""
    limit = PIPELINES[name].limit
    return [] if limit is None else [f"events of more than {limit.hits:,} hits (use {limit.instead})"]


def _cells(performance: Performance | None, acts: Mapping[str, Performance] = MappingProxyType({})) -> tuple[str, ...]:
    if performance is None:
        return (_NOT_MEASURED,) * (len(HEADINGS) - 1)
    shares = (performance.efficiency, performance.displaced, performance.dense, performance.fakes)
    return (
        *(_NOT_MEASURED if share is None else f"{100 * share:.2f} %" for share in shares),
        f"{100 * performance.hits_on_tracks:.0f} %",
        f"{performance.milliseconds:.1f}",
        "; ".join(performance.weaknesses(acts)) or "nothing seen",
    )


def write_model(model: TrackerModel) -> None:
    """Write the card of a model into its folder, beside the weights.

    Args:
        model: the model; the digests of its weights are not recomputed.
    """
    table = {"format": CARD_FORMAT, **_plain(replace(model, path=Path()))}
    del table["path"]
    text = json.dumps(table, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(model.path / CARD, lambda part: part.write_text(text, encoding="utf-8"))


def weights_of(folder: Path, pt_floors: Mapping[str, float]) -> dict[str, Weights]:
    """Weights with the digests of their files as they are now.

    Args:
        folder: folder of the files.
        pt_floors: stem of each pair of weights and card -> lowest pT that was learned from [GeV].

    Raises:
        FileError: a file is missing.
    """
    names = {stem: (f"{stem}.safetensors", f"{stem}.json") for stem in pt_floors}
    return {
        stem: Weights(pt_floor, {name: digest_of(folder / name) for name in names[stem]})
        for stem, pt_floor in pt_floors.items()
    }


def versions(*, torch: bool = False) -> Versions:
    """The versions of the installed software.

    Args:
        torch: whether PyTorch took part.
    """
    return Versions(version("beampipe"), platform.python_version(), version("numpy"), version("torch") if torch else "")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, renamed to `folder` if the block succeeds and removed if not.

    Raises:
        FileError: there is something of that name already, or no folder to write in.
    """
    folder = folder.absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileError(
            f"{folder}: got something there already, expected a new folder; choose another name", path=folder
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name[:48]}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise FileError(f"{folder}: cannot be made ({error.strerror}); choose another place", path=folder) from error
    try:
        yield building
        # Temporary folders, and files of safetensors, are readable by their owner only.
        building.chmod(0o755)
        for path in building.iterdir():
            path.chmod(0o644)
        building.replace(folder)  # over an empty folder, or none
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _plain(value: Any) -> Any:
    """The form that `beampipe.settings.build` reads: sequences of named objects as tables by name."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        if value and hasattr(value[0], "name"):
            tables = [_plain(item) for item in value]
            return {table.pop("name"): table for table in tables}
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
