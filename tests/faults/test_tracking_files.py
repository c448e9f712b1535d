"""Files of events as users bring them: each fault is named, each sound convention is read without a word."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy import ndarray
from typer.main import get_command

from beampipe.errors import LayoutWarning
from beampipe.events import Event, Particles
from beampipe.provenance import DEGRADATION, SIMULATION, Provenance
from beampipe.simulation.degradation import DEGRADATIONS, degrade, run_degraded
from beampipe.tracking import compare, evaluate, load_pipeline, open_events, shipped_events, write_events
from beampipe.tracking.cli import app
from tests.faults.fault import Fault, cases, check

Columns = Mapping[str, ndarray]

SEVERAL: Final = 5
"""Number of events in the tables."""


@cache
def columns() -> Columns:
    """Some shipped events as a table with one row per hit, as a physicist would write it."""
    tables = []
    for event in shipped_events(0)[:SEVERAL]:
        assert event.truth is not None
        particles = event.truth.particles
        row = particles.rows(event.truth.particle_id)
        table = {
            "event_id": np.full(len(event.hits), event.event_id),
            "hit_id": np.arange(1, len(event.hits) + 1),
            "x": event.hits.x.astype(np.float64),
            "y": event.hits.y.astype(np.float64),
            "z": event.hits.z.astype(np.float64),
            "particle_id": np.where(row < 0, 0, row + 1),
        }
        of_particle = {**dict(zip(("px", "py", "pz"), particles.momentum.T, strict=True)), "q": particles.charge}
        of_particle |= dict(zip(("vx", "vy", "vz"), particles.vertex.T, strict=True))
        table |= {name: np.where(row < 0, 0.0, values[row]) for name, values in of_particle.items()}
        tables.append(table)
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


Change = Callable[[dict[str, Any]], dict[str, Any]]


def written(folder: Path, change: Change) -> Path:
    """The table with a change, as a Parquet file."""
    path = folder / "hits.parquet"
    pq.write_table(pa.table(change(dict(columns()))), path)
    return path


def reading(change: Change, **options: Any) -> Callable[[Path], object]:
    """Write the table with a change, and read all its events."""
    return lambda folder: list(open_events(written(folder, change), **options))


def renamed(**names: str) -> Change:
    """Columns by other names."""
    return lambda table: {names.get(name, name): values for name, values in table.items()}


def changed(**changes: Callable[[dict[str, Any]], Any]) -> Change:
    """Columns with other values, which are functions of the table."""
    return lambda table: table | {name: make(table) for name, make in changes.items()}


def without(*names: str) -> Change:
    """The table without these columns."""
    return lambda table: {name: values for name, values in table.items() if name not in names}


def both(*changes: Change) -> Change:
    """Changes one after the other."""

    def change(table: dict[str, Any]) -> dict[str, Any]:
        for each in changes:
            table = each(table)
        return table

    return change


def cylindrical(scale_phi: float = 1.0) -> Change:
    """r, phi, z in place of x, y, z."""

    def change(table: dict[str, Any]) -> dict[str, Any]:
        x, y = table.pop("x"), table.pop("y")
        return table | {"r": np.hypot(x, y), "phi": np.arctan2(y, x) * scale_phi}

    return change


def gaps(name: str, count: int = 3) -> Change:
    """A column whose first values are missing."""
    return changed(**{name: lambda table: pa.array(table[name], mask=np.arange(len(table[name])) < count)})


def csv_file(separator: str, decimal: str = ".") -> Callable[[Path], object]:
    """The positions in a text file."""

    def plant(folder: Path) -> object:
        table = columns()
        rows = (f"{x:.3f}{separator}{y:.3f}{separator}{z:.3f}" for x, y, z in zip(*map(table.get, "xyz"), strict=True))
        text = "\n".join([separator.join("xyz"), *(row.replace(".", decimal) for row in rows)])
        (folder / "hits.csv").write_text(text + "\n")
        return list(open_events(folder / "hits.csv"))

    return plant


def ragged(table: dict[str, Any]) -> dict[str, Any]:
    """One row per event, in which one list is shorter."""
    begin = np.flatnonzero(np.diff(table["event_id"], prepend=-1))
    lists = {name: [list(part) for part in np.split(table[name], begin[1:])] for name in ("x", "y", "z")}
    lists["y"][3].pop()
    return lists


def is_first(table: Mapping[str, Any]) -> ndarray:
    """The rows of the first event."""
    return np.asarray(table["event_id"] == table["event_id"][0])


def in_other_order(mu: int) -> Event:
    """An event whose hits are not in the order of its truth."""
    event = next(iter(shipped_events(mu)))
    hits = event.hits.take(np.random.default_rng(1).permutation(len(event.hits)))
    truth = replace(event.truth, particles=replace(event.truth.particles)) if event.truth else None
    return replace(event, hits=hits, truth=truth)


def labelled(name: str, label: Callable[[ndarray], Any]) -> Change:
    """A change of one column."""
    return lambda table: {**table, name: label(table[name])}


LABELS_OF_EVENTS: Final[dict[str, Callable[[ndarray], Any]]] = {
    "decimals": lambda number: number.astype(float),
    "halves": lambda number: number + 0.5,
    "words": lambda number: np.char.add("event", number.astype(str)),
    "dates": lambda number: number.astype("datetime64[s]"),
}
"""What a column may hold that tells events apart."""

FAULTS: Final = [
    Fault("events in a column of an unknown name", reading(renamed(event_id="my_evt")), "is 'my_evt' the event"),
    Fault("events in an unknown column without a hint", reading(renamed(event_id="bunch")), "is 'bunch' the event"),
    *(
        Fault(
            f"events in an unknown column of {kind}",
            reading(both(renamed(event_id="n"), labelled("n", label))),
            "is 'n' the event.*--columns event=n",
        )
        for kind, label in LABELS_OF_EVENTS.items()
    ),
    Fault(
        "two numbers of the event, of which the first is the same for all",
        reading(both(renamed(event_id="evt"), changed(event=lambda table: np.zeros(len(table["x"]), np.int64)))),
        "one number of the event in 'event', but 'evt'.*--columns event=evt .*--columns event=event",
    ),
    Fault(
        "hits without an event, in memory",
        lambda folder: list(open_events({**columns(), "event_id": np.where(is_first(columns()), np.nan, 1.0)})),
        "rows without a number in 'event_id'",
    ),
    Fault(
        "gaps among the hits of awkward",
        lambda folder: list(open_events(ak.Array({"x": [1.0, None], "y": [1.0, 2.0], "z": [1.0, 2.0]}))),
        "gaps as x \\(1 of 2 missing\\)",
    ),
    Fault(
        "columns in memory that differ in length",
        lambda folder: list(open_events({"x": np.ones((3, 2)), "y": np.ones((3, 2)), "z": np.ones((2, 2))})),
        "3 of x, 3 of y, 2 of z",
    ),
    Fault(
        "events shuffled, in an unknown column",
        reading(
            lambda table: renamed(event_id="my_event")({k: v[::-1][np.argsort(table["z"])] for k, v in table.items()})
        ),
        "is 'my_event' the event",
    ),
    Fault(
        "event numbers that repeat in another run",
        reading(changed(event_id=lambda table: table["event_id"] // 2, runNumber=lambda table: table["event_id"] % 2)),
        "2 numbers in 'runNumber'.*for each run",
    ),
    Fault(
        "an event column that is not there",
        reading(renamed(event_id="n"), columns={"event": "nn"}),
        "no column 'nn'.*'n'",
    ),
    Fault("a quantity that is none", reading(renamed(), columns={"radius": "r"}), "unknown quantity: got 'radius'"),
    Fault("a unit of another quantity", reading(renamed(), units={"x": "GeV"}), "unknown unit: got 'GeV'"),
    Fault("a unit of a number", reading(renamed(), units={"hit_id": "mm"}), "hit_id, which has no unit"),
    Fault("a column without a name", reading(renamed(), columns=["x"]), "got 'x', expected pairs such as"),
    Fault("a column for two quantities", reading(renamed(), columns=["x=x", "x=y"]), "got x twice"),
    Fault("events of equal numbers apart", reading(changed(event_id=lambda table: table["event_id"] % 3)), "again"),
    Fault(
        "event numbers that are words", reading(changed(event_id=lambda table: table["event_id"].astype(str))), "'0'"
    ),
    Fault(
        "event numbers that are no whole numbers",
        reading(changed(event_id=lambda table: table["event_id"] + 0.5)),
        "the event 0.5 as its number",
    ),
    Fault("event numbers with gaps", reading(gaps("event_id")), "the event None as its number"),
    Fault(
        "event numbers above 2**63",
        reading(changed(event_id=lambda table: table["event_id"].astype(np.uint64) + np.uint64(2**63))),
        "the event 9223372036854775808",
    ),
    Fault("phi in degrees", reading(cylindrical(180 / np.pi)), "phi: .*look like degrees"),
    Fault(
        "phi in degrees from 0 to 360",
        reading(both(cylindrical(180 / np.pi), changed(phi=lambda table: table["phi"] % 360))),
        "phi: .*look like degrees",
    ),
    Fault("phi in mrad", reading(cylindrical(1000)), "phi: .*outside -6.28"),
    Fault(
        "r with the sign of y",
        reading(both(cylindrical(), changed(r=lambda table: table["r"] * np.sign(table["phi"])))),
        "r: .*outside 0 to inf",
    ),
    Fault("positions with gaps", reading(gaps("x")), r"gaps as x \(3 of \d+ missing\)"),
    Fault("positions as words", reading(changed(x=lambda table: table["x"].astype(str))), r"words or gaps as x \('"),
    Fault(
        "NaN in one event of many",
        reading(
            changed(z=lambda table: np.where(np.arange(len(table["z"])) == len(table["z"]) - 1, np.nan, table["z"]))
        ),
        "event 4: .*at row",
    ),
    Fault(
        "x in mm beside r in cm",
        reading(changed(r=lambda table: np.hypot(table["x"], table["y"]) / 10, phi=lambda table: 0 * table["x"])),
        "one unit for both",
    ),
    Fault(
        "hit ids repeated",
        reading(changed(hit_id=lambda table: np.where(table["hit_id"] == 7, 8, table["hit_id"]))),
        "hit id 8 2 times",
    ),
    Fault(
        "hits written twice",
        reading(lambda table: {name: np.repeat(values, 2) for name, values in table.items()}),
        "hit id .* 2 times, and .* hits written twice",
    ),
    Fault(
        "several events as one, told by hit ids",
        reading(without("event_id")),
        "hit id .* several events as one",
    ),
    Fault(
        "particle ids from 0, noise -1",
        reading(changed(particle_id=lambda table: table["particle_id"] - 1)),
        "particle_id -1.*0 for noise",
    ),
    Fault(
        "particle ids from 0, without noise",
        reading(
            both(
                lambda table: {name: values[table["particle_id"] > 0] for name, values in table.items()},
                changed(particle_id=lambda table: table["particle_id"] - 1),
            )
        ),
        "particle_id 0, which stands for noise; number the particles from 1",
    ),
    Fault(
        "particle ids as words",
        reading(changed(particle_id=lambda table: np.char.add("p", table["particle_id"].astype(str)))),
        "words or gaps as particle_id",
    ),
    Fault(
        "particle ids above 2**63",
        reading(changed(particle_id=lambda table: table["particle_id"].astype(np.uint64) + np.uint64(2**63))),
        "particle_id 9223372036854775.*less than",
    ),
    Fault("semicolons between columns", csv_file(";"), "columns between ';'"),
    Fault("semicolons and decimal commas", csv_file(";", ","), r"columns between ';'.*decimal"),
    Fault("tabs between columns", csv_file("\t"), r"columns between '\\t'"),
    Fault("decimal commas", csv_file(",", ","), "6 columns|expected 3"),
    Fault("a list of one event that is shorter", reading(ragged), "lists of other lengths: y"),
]


def with_particles(**changes: Callable[[Particles], ndarray]) -> list[Event]:
    """Some shipped events whose particles are changed."""
    events = []
    for event in shipped_events(0)[:3]:
        assert event.truth is not None
        particles = event.truth.particles
        new = replace(particles, **{name: change(particles) for name, change in changes.items()})
        events.append(replace(event, truth=replace(event.truth, particles=new)))
    return events


def scoring(make: Callable[[], list[Event]]) -> Callable[[Path], object]:
    """Write events to a file of beampipe, read and score them."""

    def plant(folder: Path) -> object:
        write_events(folder / "events.parquet", make())
        finder = load_pipeline()
        evaluate(finder, open_events(folder / "events.parquet"))
        event = open_events(folder / "events.parquet")[0]
        return compare(finder.find(event.hits), event)

    return plant


def twice(event: Event) -> Event:
    """The event with a particle listed twice."""
    assert event.truth is not None
    rows = [*range(len(event.truth.particles)), 3]
    return replace(event, truth=replace(event.truth, particles=event.truth.particles.take(rows)))


def of_another(event: Event) -> Event:
    """The event with the momenta of other particles."""
    assert event.truth is not None
    particles = event.truth.particles
    shuffled = np.random.default_rng(1).permutation(particles.momentum)
    return replace(event, truth=replace(event.truth, particles=replace(particles, momentum=shuffled)))


TRUTH_FAULTS: Final = [
    Fault("momenta in MeV", scoring(lambda: with_particles(momentum=lambda p: p.momentum * 1000)), "momenta in MeV"),
    Fault("momenta in TeV", scoring(lambda: with_particles(momentum=lambda p: p.momentum / 1000)), "momenta in TeV"),
    Fault(
        "momenta 20 times too large",
        scoring(lambda: with_particles(momentum=lambda p: p.momentum * 20)),
        r"a field of 39\.9 T.*another unit",
    ),
    Fault(
        "another field",
        scoring(lambda: with_particles(momentum=lambda p: p.momentum * np.float32(1.5))),
        r"field of 2.99 T, where 2 T is expected \(ratio 1.5",
        LayoutWarning,
    ),
    Fault(
        "charges of the wrong sign",
        scoring(lambda: with_particles(charge=lambda p: -p.charge)),
        "bend the other way",
        LayoutWarning,
    ),
    Fault(
        "vertices in cm",
        scoring(lambda: with_particles(vertex=lambda p: p.vertex / 10)),
        r"vertices whose z is off by .* in mm",
    ),
    Fault(
        "vertices of a mirrored detector",
        scoring(lambda: with_particles(vertex=lambda p: p.vertex * np.array([1, 1, -1], np.float32))),
        r"vertices whose z is off by .* not mirrored",
    ),
    Fault("hits of a large event in another order", scoring(lambda: [in_other_order(60)]), "those of these hits"),
    Fault(
        "momenta that are not those of the particles",
        scoring(lambda: [of_another(event) for event in shipped_events(0)[:1]]),
        "ids and momenta those of these hits",
    ),
    Fault(
        "NaN in a momentum",
        scoring(
            lambda: with_particles(momentum=lambda p: np.where(np.arange(len(p))[:, None] == 7, np.nan, p.momentum))
        ),
        "1 of .* particles whose momenta are NaN",
    ),
    Fault(
        "NaN in vertices",
        scoring(lambda: with_particles(vertex=lambda p: p.vertex * np.float32(np.nan))),
        "particles whose vertices are NaN",
    ),
    Fault("a particle listed twice", scoring(lambda: list(map(twice, shipped_events(0)[:1]))), "more than once"),
    Fault(
        "all momenta 0",
        scoring(lambda: with_particles(momentum=lambda p: p.momentum * 0)),
        "no momentum",
    ),
]


def degraded_file(folder: Path) -> Path:
    """A file of events that say that they were degraded."""
    path = folder / "events.parquet"
    clean = (replace(event, provenance=Provenance().after(SIMULATION, seed=1)) for event in shipped_events(0)[:2])
    write_events(path, run_degraded(clean, "default", seed=3))
    return path


def command(*words: str) -> Callable[[Path], object]:
    """A command of `beampipe tracking` on a file of degraded events."""

    def plant(folder: Path) -> object:
        name, *options = words
        return get_command(app).main([name, str(degraded_file(folder)), *options], standalone_mode=False)

    return plant


def damaged_provenance(folder: Path) -> object:
    """A file whose provenance is no JSON."""
    path = degraded_file(folder)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"provenance": "[[0, 'x']]"}), path)
    return list(open_events(path))


TWICE: Final = "after degradation .*hit_loss 0.02.*--degrade-again"

PROVENANCE_FAULTS: Final = [
    Fault("evaluate degrades a second time", command("evaluate", "--degradation", "default"), TWICE),
    Fault("validate degrades a second time", command("validate"), TWICE),
    Fault(
        "a function degrades a second time",
        lambda folder: degrade(open_events(degraded_file(folder))[0], DEGRADATIONS["stress"]),
        TWICE,
    ),
    Fault("a provenance that is damaged", damaged_provenance, "provenance that cannot be read"),
]


def test_events_keep_how_they_were_made(tmp_path: Path) -> None:
    (first, second), bare = open_events(degraded_file(tmp_path)), shipped_events(0)[0]
    assert first.provenance is not None
    assert [step["step"] for step in first.provenance.steps] == [SIMULATION, DEGRADATION]
    assert first.provenance == second.provenance
    assert first.take([0]).provenance is first.provenance
    again = degrade(first, DEGRADATIONS["default"], again=True)
    assert again.provenance is not None
    assert len(again.provenance.steps) == 3
    write_events(tmp_path / "mixed.parquet", [first, second, bare, again])
    mixed = open_events(tmp_path / "mixed.parquet")
    assert [event.provenance for event in mixed] == [first.provenance, first.provenance, None, again.provenance]
    assert mixed[3].provenance == again.provenance
    assert bare.provenance is None  # older files have none, and are degraded without a word
    degrade(bare, DEGRADATIONS["default"])


def finding(change: Change) -> Callable[[Path], object]:
    """Write the table with a change, and find the tracks of all its events."""

    def plant(folder: Path) -> object:
        finder = load_pipeline()
        return [finder.find(event.hits) for event in open_events(written(folder, change))]

    return plant


def scaled(factor: float, first: int = 0) -> Change:
    """Lengths in another unit, from the event of that place on."""

    def of(axis: str) -> Callable[[dict[str, Any]], Any]:
        return lambda table: table[axis] * np.where(table["event_id"] >= first, factor, 1.0)

    return changed(**{axis: of(axis) for axis in "xyz"})


def trackml(truth: bool, repeat: bool) -> Callable[[Path], object]:
    """A folder of TrackML with hits and particles, perhaps without truth, or with a hit id that repeats."""

    def plant(folder: Path) -> object:
        hits = ["hit_id,x,y,z,volume_id,layer_id,module_id", "1,30,0,1,8,2,1", f"{1 if repeat else 2},70,0,2,8,4,1"]
        (folder / "event000000001-hits.csv").write_text("\n".join(hits) + "\n")
        if truth:
            return list(open_events(folder))
        (folder / "event000000001-particles.csv").write_text("particle_id,vx,vy,vz,px,py,pz,q\n")
        return list(open_events(folder))

    return plant


HIT_FAULTS: Final = [
    Fault("positions in cm", finding(scaled(0.1)), "lie on .*cm|in cm"),
    Fault("positions in m", finding(scaled(0.001)), "in m they fit"),
    Fault("x and z swapped", finding(renamed(x="z", z="x")), "on no layer of module_map"),
    Fault("another detector from the second event on", finding(scaled(1.3, first=1)), "layer"),
    Fault("TrackML without its truth", trackml(truth=False, repeat=False), "truth.csv: no such file"),
    Fault("TrackML with a hit id twice", trackml(truth=True, repeat=True), "hit id 1 2 times"),
]


@pytest.mark.parametrize("fault", cases([*FAULTS, *TRUTH_FAULTS, *PROVENANCE_FAULTS, *HIT_FAULTS]))
def test_a_fault_is_named(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)


SPELLINGS: Final = (
    *("event_id", "eventNumber", "evt", "event_number", "EventID", "entry", "EVENT", "EvtNum", "evtId", "eventId"),
    *("Event.Number", "iEvent", "ievt", "evtIdx", "event_index", "evID"),
)


@cache
def as_read() -> list[Event]:
    """The events of the table as they are."""
    return [Event(event.event_id, event.hits, event.truth) for event in shipped_events(0)[:SEVERAL]]


def tenth(name: str) -> Callable[[dict[str, Any]], Any]:
    """A tenth of a column, as lengths in cm are of those in mm."""
    return lambda table: table[name] / 10


SOUND: Final[dict[str, tuple[Change, dict[str, Any]]]] = {
    **{f"events as {name}": (renamed(event_id=name), {}) for name in SPELLINGS},
    "events in a column that is given": (renamed(event_id="bunch"), {"columns": {"event": "bunch"}}),
    "every name is given": (
        renamed(x="a", y="b", z="c", event_id="n", particle_id="p"),
        {"columns": {"x": "a", "y": "b", "z": "c", "event": "n", "particle": "p"}},
    ),
    "pairs as on the command line": (renamed(x="a", y="b"), {"columns": ["x=a,y=b"]}),
    "another column in the way": (
        both(renamed(x="a"), changed(x=lambda table: table["y"], hit_x=lambda table: table["z"])),
        {"columns": {"x": "a"}},
    ),
    "centimetres and MeV": (
        changed(x=tenth("x"), y=tenth("y"), z=tenth("z"), px=lambda table: table["px"] * 1000),
        {"units": {"x": "cm", "y": "cm", "z": "cm", "px": "MeV"}},
    ),
    "degrees": (cylindrical(180 / np.pi), {"units": {"phi": "deg"}}),
    "events as decimals": (changed(event_id=lambda table: table["event_id"].astype(float)), {}),
    "a run number beside the event": (changed(run=lambda table: np.full(len(table["x"]), 358031)), {}),
    "capitals": (lambda table: {name.upper(): values for name, values in table.items()}, {}),
    "names of hits": (renamed(x="hit_x", y="hit_y", z="hit_z", particle_id="hit_particle_id"), {}),
    "camel case": (
        renamed(particle_id="particleId", hit_id="hitId", q="charge", x="globalX", y="globalY", z="globalZ"),
        {},
    ),
    "categories": (changed(particle_id=lambda table: pa.array(table["particle_id"]).dictionary_encode()), {}),
    "cylindrical": (cylindrical(), {}),
    "phi from 0 to 2 pi": (both(cylindrical(), changed(phi=lambda table: table["phi"] % (2 * np.pi))), {}),
    "weights that are whole numbers": (changed(weight=lambda table: table["hit_id"] % 2), {}),
    "float32": (lambda table: {name: pa.array(values, pa.float32()) for name, values in table.items()}, {}),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_conventions_are_read(name: str, tmp_path: Path) -> None:
    change, options = SOUND[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = open_events(written(tmp_path, change), **options)
        read = list(opened)
    assert opened.note == ""
    in_memory = open_events(pq.read_table(tmp_path / "hits.parquet").to_pandas(), **options)
    assert [event.hits.columns()["r"].tolist() for event in in_memory] == [event.hits.r.tolist() for event in read]
    assert [event.event_id for event in read] == [event.event_id for event in as_read()]
    for event, expected in zip(read, as_read(), strict=True):
        np.testing.assert_allclose(event.hits.x, expected.hits.x, atol=1e-3)
        np.testing.assert_allclose(event.hits.z, expected.hits.z, atol=1e-3)
        assert event.truth is not None
        assert expected.truth is not None
        row = expected.truth.particles.rows(expected.truth.particle_id)
        assert np.array_equal(event.truth.particle_id, row + 1)


def test_hits_may_come_in_any_order(tmp_path: Path) -> None:
    finder = load_pipeline()
    number = np.random.default_rng(2).permutation(len(columns()["x"]))
    order = number[np.argsort(columns()["event_id"][number], kind="stable")]
    shuffled = open_events(written(tmp_path, lambda table: {name: values[order] for name, values in table.items()}))
    for event, expected in zip(shuffled, as_read(), strict=True):
        assert finder.find(event.hits).n_tracks == finder.find(expected.hits).n_tracks


def test_an_event_without_hits_is_an_event(tmp_path: Path) -> None:
    lists = {"evt": [3, 4, 5], **{f"hit_{axis}": [[0.1, 0.2], [], [0.3]] for axis in "xyz"}}
    pq.write_table(pa.table(lists), tmp_path / "events.parquet")
    centimetres = dict.fromkeys("xyz", "cm")
    for source in (tmp_path / "events.parquet", ak.Array(lists)):
        events = open_events(source, units=centimetres)
        assert [(event.event_id, event.hits.z.tolist()) for event in events] == [(3, [1.0, 2.0]), (4, []), (5, [3.0])]


def in_frame() -> Any:
    """The table as a DataFrame."""
    return pa.table(dict(columns())).to_pandas()


def by_event() -> dict[str, list[ndarray]]:
    """A list of one array per event for each coordinate."""
    ends = np.flatnonzero(np.diff(columns()["event_id"])) + 1
    return {name: np.split(columns()[name], ends) for name in ("x", "y", "z")}


@pytest.mark.parametrize(
    "table",
    [
        lambda: in_frame().set_index("event_id"),
        lambda: in_frame().set_index(["event_id", "hit_id"]),
        lambda: in_frame().set_index("event_id", drop=False),
        lambda: in_frame().rename(columns={"event_id": "entry"}).set_index(["entry", "hit_id"]),
        by_event,
        lambda: pa.table(by_event()).to_pandas()[::-1][::-1],
        lambda: ak.Array(by_event()),
        lambda: {name: np.stack([values[:50] for values in lists]) for name, lists in by_event().items()},
    ],
)
def test_every_event_in_memory_is_read(table: Callable[[], Any]) -> None:
    read = list(open_events(table()))
    assert [event.event_id for event in read] == list(range(SEVERAL))
    for event, x in zip(read, by_event()["x"], strict=True):
        np.testing.assert_allclose(event.hits.x, x[: len(event.hits)], atol=1e-3)


def one_event(table: dict[str, Any]) -> dict[str, Any]:
    return {name: values[is_first(table)] for name, values in table.items() if name != "event_id"}


@pytest.mark.parametrize(
    "change",
    [
        one_event,
        both(one_event, changed(run=lambda table: np.full(len(table["x"]), 7))),
        # Hits sorted by parts of the detector, or by particle, are no events.
        both(one_event, lambda table: {k: v[np.argsort(np.abs(table["z"]) // 300)] for k, v in table.items()},
             changed(part=lambda table: np.abs(table["z"]) // 300)),
        both(one_event, lambda table: {k: v[np.argsort(table["particle_id"])] for k, v in table.items()},
             changed(track=lambda table: table["particle_id"])),
    ],
)  # fmt: skip
def test_a_table_of_one_event_is_said_to_be_one(change: Change, tmp_path: Path) -> None:
    opened = open_events(written(tmp_path, change))
    assert "read as one event, as no column has the number of the event" in opened.note
    assert len(list(opened)) == 1


def test_one_event_may_be_said_to_be_one(tmp_path: Path) -> None:
    path = written(tmp_path, both(renamed(event_id="slice"), without("hit_id")))
    assert len(list(open_events(path, columns={"event": "none"}))) == 1
    assert open_events(path, columns={"event": "none"}).note == ""
