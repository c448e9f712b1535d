"""What enters a chain wrong: settings in other units, plug-ins, and stores that were copied, edited or killed."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration import RunSettings
from beampipe.chain import recipes
from beampipe.chain.recipes import Plan, made, make_chunk
from beampipe.chain.run import make_ntuples, store_of
from beampipe.chain.settings import ChainSettings, TrackSettings, load_settings
from beampipe.chain.tracks import finder_digest, local_finder, opened_finder
from beampipe.chain.verify import keep_settings, verify
from beampipe.errors import BusyError, ConfigError, FileError, MismatchError
from beampipe.events import Hits, Tracks
from beampipe.plugins import plugin_digest
from beampipe.workflow import Recipe, Store
from tests.chain.test_chain import small
from tests.faults.fault import Fault, cases, check

GOOD = """
output = "run"
chunk_events = 2
[samples.nominal]
role = "nominal"
events = 2
[samples.data]
role = "data"
events = 2
[samples.measured]
role = "measured"
events = 2
"""


def read(folder: Path, text: str) -> ChainSettings:
    (folder / "chain.toml").write_text(text)
    return load_settings(folder / "chain.toml")


def setting(text: str) -> Callable[[Path], object]:
    """Read settings with a further table or line, and plan the chain, as `beampipe chain run` does first."""

    def plant(folder: Path) -> None:
        top = text if "[" not in text.partition("\n")[0] else ""
        settings = read(folder, f"{top}\n{GOOD}\n{'' if top else text}")
        Plan(settings).recipes()

    return plant


def sample(text: str) -> Callable[[Path], object]:
    """Read settings in which the nominal sample has a further line."""

    def plant(folder: Path) -> None:
        Plan(read(folder, GOOD.replace("[samples.data]", f"{text}\n[samples.data]"))).recipes()

    return plant


SETTINGS = (
    Fault("a key that is misspelt", setting("[tracks]\nfiner = 'module_map'"), "unknown key 'finer'.*finder"),
    Fault("a finder that nobody provides", setting("[tracks]\nfinder = 'module_mpa'"), "module_mpa.*module_map"),
    Fault("a stage in place of a table", setting("[stages]\ntracks = true"), "unknown key 'stages'"),
    Fault("no events", setting("[samples.more]\nrole = 'alternative'\nevents = 0"), "0 events"),
    Fault("a negative number of events", setting("[samples.more]\nrole = 'alternative'\nevents = -5"), "-5 events"),
    Fault("a negative seed", setting("seed = -1"), "seed: got -1, expected 0"),
    Fault("a seed in words", setting("seed = 'random'"), "seed: got 'random'"),
    Fault(
        "chunks of no events",
        lambda folder: Plan(read(folder, GOOD.replace("chunk_events = 2", "chunk_events = 0"))).recipes(),
        "chunk_events",
    ),
    Fault("the energy in GeV", setting("[collisions]\nenergy = 13000.0"), "energy 13000 TeV"),
    Fault("the energy in a line for Pythia", sample("pythia = ['Beams:eCM = 14000']"), "one energy.*`energy`"),
    Fault("beams in lower case", sample("pythia = ['  beams:ecm = 14000']"), "one energy"),
    Fault("pT of the collisions in MeV", setting("[collisions]\npt_min = 250e3\npt_max = 800e3"), "energy 13 TeV and"),
    Fault("pT of tracks in MeV", setting("[tracks]\nmin_pt = 500.0"), r"min_pt 500.*GeV"),
    Fault("pT of jets in MeV", setting("[jets]\nmin_pt = 40e3"), r"jets: got min_pt 40000.*GeV"),
    Fault("bins of pT in MeV", setting("[measurement]\npt_edges = [300e3, 420e3]"), "pt_edges.*GeV"),
    Fault("noise in percent", sample("noise = 5.0"), "noise"),
    Fault("lost hits in percent", sample("hit_loss = 2.0"), "hit_loss|loss"),
    Fault("dead modules below zero", sample("dead_modules = -0.1"), "dead"),
    Fault("a role twice", setting("[samples.more]\nrole = 'data'\nevents = 2"), "got data, more with the role 'data'"),
    Fault("a generator that is unknown", sample("generator = 'herwig'"), "herwig"),
    Fault("a card that is not there", sample("card = 'my.cmnd'"), r"my.cmnd: cannot be read"),
    Fault("a further ntuple that is not there", sample("further = ['no.root']"), r"no.root.*cannot be read"),
    Fault("a detector that is not there", setting("[detector]\nlayout = 'mine.toml'"), "mine.toml"),
    Fault("a tracker model that is not there", setting("[tracks]\nmodel = 'mine'"), "mine"),
    Fault("a tagger that is no file of trees", setting("[measurement]\ntagger = 'chain.toml'"), "chain.toml"),
    Fault("an address of no server", setting("[tracks]\nservers = ['ftp://host']"), "ftp.*grpc"),
    Fault("an identity without servers", setting("[tracks]\nidentity = 'mine'"), "identity without servers"),
    Fault("an extraction that is unknown", setting("[measurement]\nextraction = 'matrx'"), "matrx.*matrix"),
    Fault("a collector at no address", setting("[telemetry]\ntraces = 'localhost'"), "localhost"),
)


@pytest.mark.parametrize("fault", cases(SETTINGS))
def test_settings_are_refused_before_any_work(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)
    assert not (tmp_path / "run").exists()


SOUND = (
    "",
    "[collisions]\nenergy = 13.6",
    "[tracks]\nmin_pt = 1.0",
    "[jets]\nmin_pt = 20.0",
    "[tracks]\nfinder = 'acts'",
    "[tracks]\nservers = ['grpc://node1:8001', 'http://node2:8000']",
)


@pytest.mark.parametrize("text", SOUND)
@pytest.mark.filterwarnings("error")
def test_sound_settings_are_taken(text: str, tmp_path: Path) -> None:
    assert len(Plan(read(tmp_path, f"{GOOD}\n{text}")).recipes()) > 10


# Plug-ins


class Finder:
    """A finder whose answer is chosen by the test."""

    answer: object = None

    def __init__(self, **options: object) -> None:
        self.options = options

    def find(self, hits: Hits) -> object:
        return self.answer(len(hits)) if callable(self.answer) else self.answer

    def submit(self, hits: Hits) -> None: ...
    async def find_async(self, hits: Hits) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Finder:
        return self

    def __exit__(self, *exception: object) -> None: ...


@contextmanager
def installed(*entries: EntryPoint) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "entry_points", lambda group: EntryPoints(entries).select(group=group))
        yield


def plugin(module: str, folder: Path, code: str) -> EntryPoint:
    (folder / f"{module}.py").write_text(code)
    return EntryPoint("mine", f"{module}:open", "beampipe.finders")


def opened(code: str) -> Callable[[Path], object]:
    """Plan tracks with a plug-in of this code."""

    def plant(folder: Path) -> object:
        name = f"mine_{abs(hash(code))}"
        with installed(plugin(name, folder, code)), pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(folder)
            return finder_digest(TrackSettings(finder="mine", min_pt=0.5 + len(code) / 1e4), None)

    return plant


def answers(answer: object) -> Callable[[Path], object]:
    """Find tracks with a plug-in that gives this answer."""

    def plant(folder: Path) -> object:
        entry = EntryPoint("mine", f"{__name__}:Finder", "beampipe.finders")
        with installed(entry), pytest.MonkeyPatch.context() as patch:
            patch.setattr(Finder, "answer", staticmethod(answer) if callable(answer) else answer)
            opened_finder.cache_clear()
            finder = opened_finder(TrackSettings(finder="mine"), None, "x")
            return finder.find(Hits(np.array([[30, 0, 0], [70, 0, 0], [110, 0, 0]], np.float32)))

    return plant


def twice(folder: Path) -> None:
    with installed(plugin("one", folder, ""), plugin("two", folder, "")):
        local_finder(TrackSettings(finder="mine"), None)


PLUGINS = (
    Fault("a plug-in that returns no finder", opened("def open(**options): return 3"), "got int from the plug-in"),
    Fault("a plug-in that returns nothing", opened("def open(**options): pass"), "got NoneType from the plug-in"),
    Fault("a plug-in that raises when imported", opened("raise RuntimeError('no GPU')"), "RuntimeError: no GPU"),
    Fault("a plug-in that is no Python", opened("def open("), "cannot be imported: SyntaxError"),
    Fault("a plug-in whose package lacks another", opened("import no_such_package"), "no_such_package"),
    Fault("a plug-in without the function", opened("x = 1"), "cannot be imported: AttributeError"),
    Fault("two plug-ins of one name", twice, "got 2 plug-ins of this name"),
    Fault(
        "a finder that returns an array", answers(np.zeros(3, np.int64)), "finder mine: got ndarray, expected Tracks"
    ),
    Fault("a finder that returns None", answers(None), "finder mine: got NoneType"),
    Fault("a finder with a label too few", answers(lambda n: Tracks(np.zeros(n - 1, np.int64))), "got 2 labels"),
)


@pytest.mark.parametrize("fault", cases(PLUGINS))
def test_plugins(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("__init__.py", "from toy_finder.cuts import LOW\nopen = 2\n"),
        ("cuts.py", "LOW = 2\n"),
        ("weights.bin", "other"),
        ("kernel.so", "other"),
        ("lazy/by_name.py", "CUT = 3\n"),
    ],
)
def test_a_change_of_a_plugin_is_in_the_key(file: str, text: str, tmp_path: Path) -> None:
    package = tmp_path / "toy_finder"
    (package / "lazy").mkdir(parents=True)
    start = {"__init__.py": "from toy_finder.cuts import LOW\nopen = 1\n", "cuts.py": "LOW = 1\n"}
    for name, content in {**start, "weights.bin": "1", "kernel.so": "1", "lazy/by_name.py": "CUT = 1\n"}.items():
        (package / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch, installed(EntryPoint("mine", "toy_finder:open", "beampipe.finders")):
        patch.syspath_prepend(tmp_path)
        before = plugin_digest("finders", "mine")
        assert plugin_digest("finders", "mine") == before
        (package / file).write_text(text)
        assert plugin_digest("finders", "mine") != before
        assert plugin_digest("finders", "mine") == plugin_digest("finders", "mine")
    sys.modules.pop("toy_finder", None)


def test_a_plugin_may_state_what_its_package_does_not_show(tmp_path: Path) -> None:
    entry = EntryPoint("mine", f"{__name__}:Finder", "beampipe.finders")
    with installed(entry), pytest.MonkeyPatch.context() as patch:
        finder_digest.cache_clear()
        before = finder_digest(TrackSettings(finder="mine"), None)
        patch.setattr(Finder, "digest", "of weights elsewhere", raising=False)
        finder_digest.cache_clear()
        assert finder_digest(TrackSettings(finder="mine"), None) != before
    finder_digest.cache_clear()


def test_the_name_of_a_finder_is_in_no_key(tmp_path: Path) -> None:
    """Two names of one plug-in give the same key."""
    entries = [EntryPoint(name, f"{__name__}:Finder", "beampipe.finders") for name in ("mine", "yours")]
    with installed(*entries):
        settings = small(tmp_path)
        chunks = [
            Plan(replace(settings, tracks=TrackSettings(finder=name))).chunks["data"][0] for name in ("mine", "yours")
        ]
        assert chunks[0].recipes["tracks"].key == chunks[1].recipes["tracks"].key


# Stores


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ChainSettings:
    """A run of which the towers of each sample are made, which takes the least time."""
    settings = replace(small(tmp_path_factory.mktemp("faults")), chunk_events=2)
    samples = {name: replace(each, events=4) for name, each in settings.samples.items()}
    settings = replace(settings, samples=samples)
    store = store_of(settings)
    for chunks in Plan(settings).chunks.values():
        for chunk in chunks:
            make_chunk(store, chunk, "towers")
    keep_settings(settings, store)
    return settings


@pytest.fixture
def copied(run: ChainSettings, tmp_path: Path) -> ChainSettings:
    shutil.copytree(run.output, tmp_path / "run")
    return replace(run, output=tmp_path / "run")


def sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name.partition('.')[0]}.about.json")


def flip(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path, other: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def remove(path: Path, other: Path) -> None:
    path.unlink()


def empty(path: Path, other: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def swap_with_sidecars(path: Path, other: Path) -> None:
    swap(path, other)
    swap(sidecar(path), sidecar(other))


def of_another_seed(path: Path, other: Path) -> None:
    shutil.copy(other, path)
    shutil.copy(sidecar(other), sidecar(path))


def edited_sidecar(path: Path, other: Path) -> None:
    about = json.loads(sidecar(other).read_text())
    shutil.copy(other, path)
    sidecar(path).write_text(json.dumps({**about, "file": path.name}))


def of_another_version(path: Path, other: Path) -> None:
    about = json.loads(sidecar(path).read_text())
    sidecar(path).write_text(json.dumps({key: value for key, value in about.items() if key != "digest"}))


def no_json(path: Path, other: Path) -> None:
    sidecar(path).write_bytes(b"\x00\xff")


DAMAGES = (flip, truncate, remove, empty, swap, swap_with_sidecars, of_another_seed, edited_sidecar)


@pytest.mark.parametrize("damage", [*DAMAGES, of_another_version, no_json])
def test_what_is_not_what_its_name_says_is_made_again(
    damage: Callable[[Path, Path], None], copied: ChainSettings, caplog: pytest.LogCaptureFixture
) -> None:
    store, (chunk, neighbour) = store_of(copied), Plan(copied).chunks["data"]
    path, other = (store.require(each.recipes["towers"]) for each in (chunk, neighbour))
    good = path.read_bytes()
    damage(path, other)
    with caplog.at_level(logging.WARNING):
        assert made(store, chunk, "towers").read_bytes() == good
    if damage not in (truncate, remove, empty, of_another_version, no_json):
        assert "to be made again" in caplog.text
    assert made(store, neighbour, "towers").read_bytes() != good


def test_a_killed_writer_leaves_nothing(copied: ChainSettings) -> None:
    store = store_of(copied)
    parts = store.root / ".parts"
    (parts / "00000000.1-999999999-1-1.npz").write_bytes(b"half")
    os.utime(parts / "00000000.1-999999999-1-1.npz", (0, 0))
    assert store.sweep() == 1


def held(folder: Path) -> None:
    """Another process makes the same chunk now."""
    store = Store(folder / "store")
    chunk = Plan(small(folder)).chunks["data"][0]
    with store.leased(chunk.recipes["jets"]):
        make_chunk(store, chunk)


def another_environment(folder: Path) -> None:
    """A worker in which another version of a package, a plug-in or a weight is installed."""
    chunk = Plan(small(folder)).chunks["data"][0]
    assert chunk.recipes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "stage_code", lambda *stage: "other")
        make_chunk(Store(folder), chunk)


def into(place: str) -> Callable[[Path], object]:
    def plant(folder: Path) -> None:
        (folder / "file").write_text("")
        make_ntuples(small(folder / place if place[0] != "/" else Path(place)), RunSettings("inline"))

    return plant


def no_space(self: Path, target: Path) -> None:
    raise OSError(28, "No space left on device")


def full(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        store = Store(folder / "store")
        patch.setattr(Path, "replace", no_space)
        store.write(Recipe("towers", "code"), ".npz", lambda part: part.write_bytes(bytes(1000)))


def of_other_code(folder: Path) -> None:
    settings = small(folder)
    keep_settings(settings, Store(folder / "store"))
    verify(folder, 1.0)


def of_another_settings_file(folder: Path) -> None:
    (folder / "settings.json").write_text('{"samples": {}, "speed": 1, "output": "x"}')
    verify(folder, 1.0)


STORES = (
    Fault("two runs at once on one chunk", held, "", BusyError),
    Fault("a worker in another environment", another_environment, "another key of the stage generate", MismatchError),
    Fault("a store below a file", into("file/run"), "file", FileError),
    Fault("a store in a folder that cannot be written", into("/proc/run"), "/proc", FileError),
    Fault(
        "a full disk",
        full,
        r"towers of .*0 artifacts finished are kept.*MB are free in .*needs at least.*choose another folder",
    ),
    Fault("verify of a folder without a run", lambda folder: verify(folder, 0.1), "settings.json.*chain run"),
    Fault("verify of no share", lambda folder: verify(folder, 0.0), "--share: got 0", ConfigError),
    Fault("verify of a share in percent", lambda folder: verify(folder, 5.0), "--share: got 5", ConfigError),
    Fault("verify of a store of other code", of_other_code, "no artifact under the keys of this machine", ConfigError),
    Fault("verify of settings of another version", of_another_settings_file, "unknown key 'speed'", ConfigError),
)


@pytest.mark.parametrize("fault", cases(STORES))
def test_stores(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)


def test_a_store_whose_artifact_was_forged_is_found_out(copied: ChainSettings) -> None:
    """With a sidecar that fits: only making it again shows it."""
    store = store_of(copied)
    for recipe in (chunk.recipes["towers"] for chunks in Plan(copied).chunks.values() for chunk in chunks):
        content = store.require(recipe).read_bytes() + b"x"
        store.write(recipe, ".npz", lambda part, content=content: part.write_bytes(content))  # type: ignore[misc]
    (differing,) = verify(copied.output, 0.01).differing
    assert differing.startswith("towers of ")
