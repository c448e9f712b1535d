"""What enters track finding from outside besides files of events: models, detectors, plug-ins, training samples."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray
from safetensors.numpy import load_file, save_file

from beampipe.errors import BeampipeError, ConfigError, FileError, InputError, ShapeError, UnknownNameError
from beampipe.events import NOISE, Event, Hits, Particles, TrackIds, Tracks
from beampipe.simulation.detector import modules_of_layout, read_layout
from beampipe.tracking.acts import ActsTrackFinder
from beampipe.tracking.acts.layouts import acts_detector
from beampipe.tracking.catalogue import CARD
from beampipe.tracking.data import shipped_events, write_example
from beampipe.tracking.display import estimate_pt
from beampipe.tracking.evaluation.results import Evaluation
from beampipe.tracking.evaluation.scoring import compare, evaluate
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.finder_names import named_finder
from beampipe.tracking.formats import open_events
from beampipe.tracking.kernels import number_by_first_hit
from beampipe.tracking.loading import load_pipeline, load_track_fitter
from beampipe.tracking.models import LayerRequirements, TrackerModel, load_model
from beampipe.tracking.models.card import verdict, write_model
from beampipe.tracking.training.detector import prepare
from beampipe.tracking.training.tracker_model import require_enough
from beampipe.tracking.truth import Selection
from tests.faults.fault import Fault, cases, check
from tests.tracking.digests import renew_digests
from tests.tracking.training.toy import toy_event
from tests.tracking.unchecked import unchecked

Plant = Callable[[Path], object]


@cache
def clean_events() -> tuple[Event, ...]:
    """Six events in 2 T, as a training takes them."""
    return tuple(toy_event(150, seed) for seed in range(6))


def with_momenta(event: Event, factor: float) -> Event:
    """The event as in a field larger by a factor: the same curvatures are those of larger momenta."""
    assert event.truth is not None
    particles = event.truth.particles
    momentum = (particles.momentum * np.float32(factor)).astype(np.float32)
    return replace(event, truth=replace(event.truth, particles=replace(particles, momentum=momentum)))


def two_files(folder: Path) -> object:
    events = clean_events()
    return prepare({"a.parquet": events[:4], "b.parquet": [with_momenta(event, 1.5) for event in events[4:]]})


def two_fields_in_a_file(folder: Path) -> object:
    return prepare([with_momenta(event, 1.9) if k == 3 else event for k, event in enumerate(clean_events())])


def two_fields_in_small_events(folder: Path) -> object:
    """Events of a few tracks each."""
    events = [toy_event(3, seed) for seed in range(40)]
    return prepare([with_momenta(event, 1.5 if k > 25 else 1.0) for k, event in enumerate(events)])


class InThreeTesla(InOneThread):
    """A third-party finder that finds every particle, and states neither field nor fewest hits."""

    def __init__(self, labels: TrackIds | None = None, **stated: float) -> None:
        self.labels, self.stated = labels, stated

    def find(self, hits: Hits, /) -> Tracks:
        labels = np.zeros(len(hits), np.int64) if self.labels is None else self.labels
        return Tracks(labels, **self.stated)  # type: ignore[arg-type]


def short_event() -> tuple[Event, Tracks]:
    """Particles of five hits, and their right tracks by a finder whose model counts from five on."""
    event = clean_events()[0]
    assert event.truth is not None
    order = np.argsort(event.truth.particle_id, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(event.truth.particle_id[order], event.truth.particle_id[order])
    event = event.take(np.sort(order[rank < 5]))
    assert event.truth is not None
    labels = number_by_first_hit(event.truth.particle_id)
    return event, Tracks(labels, magnetic_field=2.0, min_hits=5).found_in(event)


def judged(result: Evaluation) -> str:
    """The number of particles that count, and the definition."""
    return f"{result.finders[0].double.efficiency.total} {result.definition}"


def two_minima(folder: Path) -> object:
    event, tracks = short_event()
    finders = {"five": InThreeTesla(tracks.track_id, min_hits=5), "six": InThreeTesla(tracks.track_id, min_hits=6)}
    return evaluate(finders, [event])


FINDERS = (
    Fault(
        "pT of a finder that states no field",
        lambda folder: InThreeTesla().find(clean_events()[0].hits).found_in(clean_events()[0]).pt,
        r"got no magnetic field.*replace\(tracks, magnetic_field=",
        ConfigError,
    ),
    Fault(
        "drawing of tracks in an unknown detector without a field",
        lambda folder: InThreeTesla().find(clean_events()[0].hits).found_in(clean_events()[0]).plot(),
        "got no magnetic field",
        ConfigError,
    ),
    Fault(
        "labels alone without a field",
        lambda folder: estimate_pt(clean_events()[0].hits, np.zeros(len(clean_events()[0].hits), np.int64)),
        "got no magnetic field",
        ConfigError,
    ),
    Fault(
        "a field that is no number",
        lambda folder: InThreeTesla(magnetic_field=float("nan")).find(clean_events()[0].hits),
        "got magnetic_field = nan",
        InputError,
    ),
    Fault(
        "pT in a field of 0 T",
        lambda folder: InThreeTesla(magnetic_field=0.0).find(clean_events()[0].hits).found_in(clean_events()[0]).pt,
        "got a magnetic field of 0.0 T",
        ConfigError,
    ),
    Fault(
        "evaluate on a detector of few layers",
        lambda folder: judged(evaluate(InThreeTesla(short_event()[1].track_id, min_hits=5), [short_event()[0]])),
        r"^[1-9]\d+ particles: .* >= 5 layers.*; tracks: >= 5 hits",
        str,
    ),
    Fault(
        "compare on a detector of few layers",
        lambda folder: judged(compare(short_event()[1], short_event()[0])),
        r"^[1-9]\d+ particles: .* >= 5 layers.*; tracks: >= 5 hits",
        str,
    ),
    Fault(
        "finders that count from different numbers",
        two_minima,
        r"five 5, six 6.*Selection\(min_layers=5\)",
        ConfigError,
    ),
    Fault(
        "a selection that counts from more than the model",
        lambda folder: compare(short_event()[1], short_event()[0], selection=Selection(min_pt=0.5)),
        r"counts from 7 layers and hits on, where the model counts from 5 on",
        RuntimeWarning,
    ),
)


def copied(folder: Path, change: Callable[[Path], object], *, renew: bool = False) -> TrackerModel:
    """A copy of the shipped model after a change; `renew` its digests, as if it had been trained so."""
    path = Path(shutil.copytree(load_model("generic").path, folder / "model"))
    change(path)
    return renew_digests(path) if renew else load_model(path)


def with_card(**entries: object) -> Callable[[Path], object]:
    """Replace entries of the card; those within a table are named ``table__entry``."""

    def change(path: Path) -> None:
        card = json.loads((path / CARD).read_text(encoding="utf-8"))
        for name, value in entries.items():
            *tables, last = name.split("__")
            table = card
            for key in tables:
                table = table[key]
            table[last] = value
        (path / CARD).write_text(json.dumps(card), encoding="utf-8")

    return change


def with_tensors(stem: str, **tensors: ndarray | None) -> Callable[[Path], object]:
    """Replace tensors of a weight file, or leave them out; dots of their names are written as ``__``."""

    def change(path: Path) -> None:
        file, card = path / f"{stem}.safetensors", path / f"{stem}.json"
        named = load_file(file) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
        save_file({name: tensor for name, tensor in named.items() if tensor is not None}, file)
        text = json.loads(card.read_text(encoding="utf-8"))
        text["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        card.write_text(json.dumps(text), encoding="utf-8")

    return change


def shortened(name: str) -> Callable[[Path], object]:
    """Cut a file after 3000 bytes."""
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:3000])


def of_odd(*names: str) -> Callable[[Path], object]:
    """Replace files by those of the other shipped model."""
    return lambda path: [shutil.copy(load_model("odd").path / name, path / name) for name in names]


def finder_of(change: Callable[[Path], object], name: str = "module_map", *, renew: bool = False) -> Plant:
    """A pipeline of a changed model."""
    return lambda folder: load_pipeline(name, threads=1, model=copied(folder, change, renew=renew))


def fitter_of(change: Callable[[Path], object]) -> Plant:
    """The fit of a changed model."""
    return lambda folder: load_track_fitter(copied(folder, change, renew=True), threads=1)


NAN = np.full((32, 5), np.nan, np.float32)

MODELS = (
    Fault("a model without its card", finder_of(lambda path: (path / CARD).unlink()), "got no model.json", FileError),
    Fault("a card that ends early", finder_of(shortened(CARD)), r"model\.json: got no JSON", FileError),
    Fault(
        "a model without its windows",
        finder_of(lambda path: (path / "module_map.safetensors").unlink()),
        r"module_map\.safetensors: got no such file",
        FileError,
    ),
    Fault(
        "weights that end early", finder_of(shortened("module_map.safetensors")), r"\(3000 bytes\), expected", FileError
    ),
    Fault(
        "windows of another training",
        finder_of(of_odd("module_map.safetensors", "module_map.json")),
        "take the whole folder from one training",
        FileError,
    ),
    Fault(
        "networks of another shape",
        finder_of(with_tensors("exatrkx", embedding__0__weight=np.zeros((64, 2), np.float32)), "exatrkx", renew=True),
        "embedding: got 2 inputs",
        ConfigError,
    ),
    Fault(
        "windows of another shape",
        finder_of(with_tensors("module_map", pair_windows=np.zeros((3, 3), np.float32)), renew=True),
        "pair_windows: got F32 of shape",
        ConfigError,
    ),
    Fault(
        "NaN in networks",
        finder_of(with_tensors("exatrkx", embedding__0__weight=NAN), "exatrkx", renew=True),
        r"exatrkx\.safetensors: got NaN or infinity in embedding\.0\.weight",
        FileError,
    ),
    Fault(
        "NaN in windows",
        finder_of(with_tensors("module_map", layers=np.full((48, 4), np.inf, np.float32)), renew=True),
        "got NaN or infinity in layers",
        FileError,
    ),
    Fault(
        "a model of a newer version",
        finder_of(with_card(format="beampipe tracker model 2")),
        "got format 'beampipe tracker model 2'.*update beampipe",
        FileError,
    ),
    Fault("a model with a new key", finder_of(with_card(luminosity=3)), "unknown key 'luminosity'", ConfigError),
    Fault(
        "an unknown default pipeline",
        finder_of(with_card(default_pipeline="mpa")),
        "default_pipeline.*got mpa",
        ConfigError,
    ),
    Fault("a model in 0 T", finder_of(with_card(layout__field=0)), "field: got 0 T", ConfigError),
    Fault(
        "a model whose field is in kG",
        finder_of(with_card(layout__field=38)),
        "field: got 38 T.*up to 20 T",
        ConfigError,
    ),
    Fault(
        "a model that counts from two hits",
        finder_of(with_card(crossing__min_layers=2)),
        "min_layers: got 2",
        ConfigError,
    ),
    Fault(
        "a fit of older formulas",
        fitter_of(with_tensors("fit", version=None)),
        r"version none, expected 2.*learn the model again with `beampipe tracking train` \(this one was made by: ",
        FileError,
    ),
    Fault(
        "a fit of newer formulas",
        fitter_of(with_tensors("fit", version=np.array([9], np.int32))),
        "version 9",
        FileError,
    ),
    Fault(
        "a fit of another detector",
        fitter_of(of_odd("fit.safetensors", "fit.json")),
        "fit for 3 T in a model for 2 T",
        ConfigError,
    ),
    Fault(
        "an unknown device", lambda folder: load_pipeline(device="gpu"), "unknown device: got 'gpu'", UnknownNameError
    ),
)


def raw(labels: ndarray, candidates: list[ndarray] | None = None) -> Tracks:
    """Tracks as a plug-in makes them, without the types that are checked while tests run."""
    return unchecked(Tracks, track_id=labels, candidates=candidates, seconds={}, counts={}, cpu_seconds={})


def labels_of(change: Callable[[TrackIds], ndarray | Tracks | None]) -> Plant:
    """Evaluation of a finder with changed labels of the true tracks."""

    class Wrong(InOneThread):
        def find(self, hits: Hits, /) -> Tracks:
            labels = change(number_by_first_hit(true_labels()))
            return raw(labels) if isinstance(labels, ndarray) else labels  # type: ignore[return-value]

    return lambda folder: evaluate(Wrong(), [clean_events()[0]])


def true_labels() -> TrackIds:
    truth = clean_events()[0].truth
    assert truth is not None
    return truth.particle_id


class Bare(InOneThread):
    """A finder that returns an array, not tracks."""

    def find(self, hits: Hits, /) -> Tracks:
        return true_labels()  # type: ignore[return-value]


def reordered(folder: Path) -> object:
    event = clean_events()[0]
    tracks = Tracks(number_by_first_hit(true_labels())).found_in(event)
    return compare(tracks, event.take(np.arange(len(event.hits))[::-1]))


LABELS = (
    Fault(
        "labels of a part of the hits",
        labels_of(lambda labels: labels[:-1]),
        "labels, expected .* one per hit",
        RuntimeWarning,
    ),
    Fault(
        "labels of 32 bits",
        labels_of(lambda labels: labels.astype(np.int32)),
        "dtype int32, expected int64",
        RuntimeWarning,
    ),
    Fault(
        "labels with NaN",
        labels_of(lambda labels: np.where(labels % 2, np.nan, labels)),
        "dtype float64",
        RuntimeWarning,
    ),
    Fault(
        "labels below -1",
        labels_of(lambda labels: np.where(labels % 3, labels, -7)),
        "got -7, expected",
        RuntimeWarning,
    ),
    Fault(
        "labels with gaps",
        labels_of(lambda labels: labels + 50),
        "no hit on track 0 of .* without gaps",
        RuntimeWarning,
    ),
    Fault("particle ids as labels", labels_of(lambda labels: labels * 10**9), "number tracks densely", RuntimeWarning),
    Fault(
        "0 for no track",
        labels_of(lambda labels: number_by_first_hit(np.where(labels % 2, labels, 0))),
        "is that the label of hits on no track",
        RuntimeWarning,
    ),
    Fault(
        "lists of hits that are no rows",
        labels_of(lambda labels: raw(labels, [np.array([0.5, 1.0])])),
        "candidates: got float64",
        RuntimeWarning,
    ),
    Fault("a finder that returns nothing", labels_of(lambda labels: None), "got NoneType, expected Tracks", TypeError),
    Fault(
        "a finder that returns labels",
        lambda folder: evaluate(Bare(), clean_events()[:1]),
        "got ndarray, expected Tracks",
        TypeError,
    ),
    Fault("no finder", lambda folder: evaluate([], clean_events()[:1]), "got no finder", TypeError),
    Fault("a class as a finder", lambda folder: evaluate(Bare, clean_events()[:1]), "expected a finder", TypeError),  # type: ignore[arg-type]
    Fault(
        "tracks of an event of another length",
        lambda folder: compare(Tracks(np.zeros(9, np.int64)), clean_events()[0]),
        "got 9 labels, expected",
        ShapeError,
    ),
    Fault("tracks of the hits in another order", reordered, "found in other hits", InputError),
    Fault(
        "tracks that need no hits",
        lambda folder: evaluate(load_pipeline(threads=1), clean_events()[:1], min_track_hits=0),
        "min_track_hits: got 0",
        ConfigError,
    ),
    Fault(
        "a pT cut in MeV",
        lambda folder: compare(Tracks(true_labels() - 1), clean_events()[0], selection=Selection(min_pt=1000.0)),
        "no particle is charged, primary, pT > 1000 GeV.*pT is in GeV",
        RuntimeWarning,
    ),
)

LAYOUT = Path("examples/detectors/compact.toml").read_text(encoding="utf-8")


def detector(*changes: tuple[str, str], more: str = "") -> Plant:
    """The modules of a detector whose file was changed."""

    def plant(folder: Path) -> object:
        text = LAYOUT + more
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (folder / "detector.toml").write_text(text, encoding="utf-8")
        return modules_of_layout(read_layout(folder / "detector.toml"))

    return plant


BETWEEN = """
[discs.middle]
z_mm = [600]
inner_radius_mm = 150
outer_radius_mm = 260
module_mm = [40, 100]
pitch_mm = [0.12, 2]
thickness_x0 = 0.03
"""

RADII = "radii_mm = [30, 68, 109, 160]"

TENTHS = (
    ("radii_mm = [255, 340, 430, 520]", "radii_mm = [25.5, 34, 43, 52]"),
    ("radii_mm = [610, 695, 780, 870, 965, 1080]", "radii_mm = [61, 69.5, 78, 87, 96.5, 108]"),
    ("outer_radius_mm = 165", "outer_radius_mm = 16.5"),
    ("outer_radius_mm = 530", "outer_radius_mm = 53"),
    ("outer_radius_mm = 1100", "outer_radius_mm = 109"),
)
"""Changes of the radii to centimetres."""

DETECTORS = (
    Fault("no layers", detector((RADII, "radii_mm = []")), r"barrel\.pixel: got radii_mm = \[\]", ConfigError),
    Fault(
        "a negative radius", detector(("radii_mm = [30,", "radii_mm = [-30,")), "smallest_radius = -31.5", ConfigError
    ),
    Fault("an unknown key", detector(("module_mm", "modul_mm")), "unknown key 'modul_mm'.*mean", ConfigError),
    Fault("a field in gauss", detector(("field_T = 3.8", "field_T = 38000")), "field_T: got 38000", ConfigError),
    Fault(
        "lengths in cm",
        detector((RADII, "radii_mm = [3, 6.8, 10.9, 16]"), *TENTHS),
        "all radii are below 109 mm: are lengths in mm",
        ConfigError,
    ),
    Fault("pitches in um", detector(("[0.1, 0.15]", "[100, 150]")), "expected less; is it in um", ConfigError),
    Fault("thickness in per cent", detector(("x0 = 0.015", "x0 = 1.5")), "in per cent", ConfigError),
    Fault("no modules", detector((RADII, f"{RADII}\nn_phi = [0, 0, 0, 0]")), r"n_phi = \[0, 0, 0, 0\]", ConfigError),
    Fault(
        "discs that join two shells",
        detector(more=BETWEEN),
        r"barrel\.inner_strips, layer 5, and discs\.pixel .* in one shell because of discs\.middle \(r = 150",
        ConfigError,
    ),
    Fault(
        "discs inside a barrel",
        detector(("z_mm = [310,", "z_mm = [200,")),
        r"barrel\.pixel, layer 2, ends at z = .* and discs\.pixel at z = 200 mm begins at",
        ConfigError,
    ),
)


def noise(event: Event) -> Event:
    """The event without any particle."""
    assert event.truth is not None
    return replace(event, truth=replace(event.truth, particle_id=np.full(len(event.hits), NOISE, np.int64)))


def with_particles(**change: Callable[[Particles], ndarray]) -> Plant:
    """Training on events whose particles were changed."""

    def changed(event: Event) -> Event:
        assert event.truth is not None
        particles = event.truth.particles
        columns = {name: new(particles) for name, new in change.items()}
        return replace(
            event, truth=replace(event.truth, particles=unchecked(Particles, **particles.__getstate__() | columns))
        )

    return lambda folder: prepare([changed(event) for event in clean_events()])


TRAINING = (
    Fault(
        "training on files of two fields",
        two_files,
        r"tracks that show (2|1\.99|2\.0\d) T in event 0 of a\.parquet and (3|2\.99|3\.0\d) T in event 4 of b\.parquet",
        ConfigError,
    ),
    Fault(
        "training on events of two fields",
        two_fields_in_a_file,
        r"T in event 0 \(number 0\) and 3\.\d+ T in event 3 \(number 3\), expected one field",
        ConfigError,
    ),
    Fault("training on small events of two fields", two_fields_in_small_events, "expected one field", ConfigError),
    Fault("training on one event", lambda folder: prepare(clean_events()[:1]), "got 1 events, expected 6", ConfigError),
    Fault(
        "training on data",
        lambda folder: prepare([replace(event, truth=None) for event in clean_events()]),
        "got no truth",
        InputError,
    ),
    Fault(
        "training on noise",
        lambda folder: prepare([noise(event) for event in clean_events()]),
        "particle ids",
        BeampipeError,
    ),
    Fault(
        "training on few particles",
        lambda folder: require_enough(prepare([toy_event(12, seed) for seed in range(6)])),
        r"got \d+ particles to find in 6 events .* expected 1000 or more; add about",
        ConfigError,
    ),
    Fault(
        "training on the same event again",
        lambda folder: prepare({"a.parquet": clean_events(), "b.parquet": clean_events()[2:3]}),
        r"hits of event 2 of a\.parquet again in event 2 of b\.parquet",
        ConfigError,
    ),
    Fault("vertices in m", with_particles(vertex=lambda of: of.vertex / 1000), "vertices whose z is off by"),
    Fault(
        "vertices of other particles",
        with_particles(vertex=lambda of: of.vertex[::-1].copy()),
        "vertices whose z is off by",
    ),
    Fault(
        "momenta mirrored along z",
        with_particles(momentum=lambda of: of.momentum * np.array([1, 1, -1], np.float32)),
        "momenta whose pz / pT is off by .* z not mirrored",
        ConfigError,
    ),
    Fault("no charges", with_particles(charge=lambda of: 0 * of.charge), "expected hundreds", ConfigError),
    Fault("no primaries", with_particles(primary=lambda of: ~of.primary), "no primary particle", ConfigError),
    Fault(
        "another field",
        lambda folder: prepare(clean_events(), field=3.8),
        "2 T, expected 3.8 T as --field says",
        ConfigError,
    ),
    Fault(
        "a field in kG",
        lambda folder: prepare(clean_events(), field=20.0),
        "2 T, expected 20 T as --field",
        ConfigError,
    ),
)


def faults(tables: Sequence[Sequence[Fault]]) -> list[object]:
    """The cases of all tables."""
    return cases([fault for table in tables for fault in table])


@pytest.mark.parametrize("fault", faults([FINDERS, MODELS, LABELS, DETECTORS, TRAINING]))
def test_faults(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)


def measured(finders: Mapping[str, tuple[float, float]]) -> TrackerModel:
    """A model whose pipelines have these efficiencies and fakes."""
    model = load_model("generic")
    usual = model.performance["module_map"]
    performance = {name: replace(usual, efficiency=rates[0], fakes=rates[1]) for name, rates in finders.items()}
    return replace(model, performance=performance)


@pytest.mark.parametrize(
    ("finders", "expected"),
    [
        ({"module_map": (0.969, 0.01), "exatrkx": (0.982, 0.01)}, "exatrkx"),  # the default one is below the bar
        ({"module_map": (0.981, 0.01), "exatrkx": (0.982, 0.01)}, "module_map"),  # as good, and quicker
        ({"module_map": (0.972, 0.01), "exatrkx_walk": (0.99, 0.01)}, "exatrkx_walk"),
        ({"module_map": (0.5, 0.01), "exatrkx": (0.6, 0.01)}, "exatrkx"),
    ],
)
def test_the_pipeline_of_the_verdict_runs_by_default(
    finders: Mapping[str, tuple[float, float]], expected: str, tmp_path: Path
) -> None:
    model = measured(finders)
    judged = verdict(model)
    assert judged.pipeline == expected
    assert f"{expected} finds" in judged.text
    path = Path(shutil.copytree(load_model("generic").path, tmp_path / "model"))
    write_model(replace(model, path=path, default_pipeline=judged.pipeline))
    assert load_pipeline(model=path, threads=1).name == expected
    assert load_pipeline(model="generic", threads=1).name == "module_map"


def test_acts_needs_no_more_hits_than_the_model_counts() -> None:
    where = acts_detector(read_layout(Path("examples/detectors/longbar.toml")))
    model = replace(load_model("generic"), crossing=LayerRequirements(7.0, 5))
    finder = named_finder("acts", where, model=model)
    assert isinstance(finder, ActsTrackFinder)
    assert finder.settings.measurements_min == 5


def sound_events(folder: Path) -> object:
    return prepare({"a.parquet": clean_events()[:3], "b.parquet": clean_events()[3:]})


SOUND: Mapping[str, Plant] = {
    "training on two files": sound_events,
    "training on the shipped events": lambda folder: prepare(for_training(folder)),
    "training on positions without modules": lambda folder: prepare(
        [replace(event, hits=replace(event.hits, geometry_id=None)) for event in for_training(folder)]
    ),
    "small events": lambda folder: prepare([toy_event(10, seed) for seed in range(12)]),
    "labels that are not contiguous in memory": lambda folder: evaluate(
        InThreeTesla(np.repeat(number_by_first_hit(true_labels()), 2)[::2]), clean_events()[:1]
    ),
    "no tracks": lambda folder: (
        InThreeTesla(np.full(9, -1)).find(clean_events()[0].hits[:9]).found_in(clean_events()[0].hits[:9]).pt
    ),
    "a soft event": lambda folder: compare(load_pipeline(threads=1).find(soft()), soft()),
    "the shipped models": lambda folder: [
        load(model)
        for model in ("generic", "odd")
        for load in (load_track_fitter, lambda model: load_pipeline(model=model))
    ],
    "the detectors of the examples": lambda folder: [
        modules_of_layout(read_layout(path)) for path in (*Path("examples/detectors").glob("*.toml"), Path("odd"))
    ],
}


def soft() -> Event:
    return next(event for event in shipped_events(0) if len(event.hits) > 300)


def for_training(folder: Path) -> list[Event]:
    write_example(folder / "events.parquet", 0, for_training=True)
    return list(open_events(folder / "events.parquet")[:9])


@pytest.mark.parametrize("name", SOUND)
def test_sound_inputs_give_no_warning(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SOUND[name](tmp_path)
