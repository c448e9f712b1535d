"""Chains that start with files: generated events, hits and tracks, with and without truth."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from numpy import ndarray
from typer.testing import CliRunner

from beampipe import find_tracks, shipped_events
from beampipe.chain.cli import app
from beampipe.chain.inputs import stated_cross_section
from beampipe.chain.recipes import Chunk, Plan, make_chunk, stage_code
from beampipe.chain.run import ChainResult, InputResult, run_chain, run_inputs
from beampipe.chain.settings import ChainSettings, FileInput, load_settings
from beampipe.chain.tables import UNKNOWN, JetEvents
from beampipe.chain.verify import verify
from beampipe.errors import BeampipeError, ConfigError, FileError, MissingExtraError
from beampipe.events import Event
from beampipe.simulation.jets import particle_jets
from beampipe.simulation.pythia import PARTON_STATUS, CollisionPool, Collisions, PythiaRun, settings_of, start_pythia
from beampipe.tables import load_table
from beampipe.tracking.formats import write_events
from beampipe.workflow import Store, installed_version
from tests.chain.test_chain import INLINE, jets_of

N_EVENTS = 16


def settings(folder: Path, text: str) -> ChainSettings:
    """Settings of a file with this text, and jets of low pT."""
    path = folder / "chain.toml"
    path.write_text(f'output = "out"\n{text}\n[jets]\nmin_pt = 5.0\n')
    return load_settings(path)


def found(folder: Path, text: str) -> InputResult:
    return run_inputs(settings(folder, text), INLINE)


# Generated events


def write_hepmc(path: Path, pythia: Any, n_events: int) -> None:
    """Final particles and partons of Pythia as HepMC3, displaced ones from vertices of their own."""
    import pyhepmc

    def particle(entry: Any, status: int) -> Any:
        out = pyhepmc.GenParticle((entry.px(), entry.py(), entry.pz(), entry.e()), entry.id(), status)
        out.generated_mass = entry.m()
        return out

    with pyhepmc.open(path, "w") as file:
        for number in range(n_events):
            assert pythia.next()
            record, event = pythia.event, pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
            vertex, displaced = pyhepmc.GenVertex((0.3, -0.1, 20.0, 0.0)), []  # of a luminous region
            for beam in (1, 2):
                vertex.add_particle_in(particle(record[beam], 4))
            for row in range(3, record.size()):
                entry = record[row]
                if not entry.isFinal() and entry.statusAbs() not in PARTON_STATUS:
                    continue
                place = (entry.xProd(), entry.yProd(), entry.zProd(), entry.tProd())
                start = vertex
                if any(place) and entry.isFinal():
                    start = pyhepmc.GenVertex(tuple(np.add(place, (0.3, -0.1, 20.0, 0.0))))
                    mother = particle(record[entry.mother1()], 2)
                    vertex.add_particle_out(mother)
                    start.add_particle_in(mother)
                    displaced.append(start)
                start.add_particle_out(particle(entry, entry.statusHepMC()))
            for each in (vertex, *displaced):
                event.add_vertex(each)
            event.event_number, event.weights = number, [2.0]
            event.cross_section = cross_section = pyhepmc.GenCrossSection()
            cross_section.set_cross_section(1000.0 + number, 1.0, number, number)
            file.write(event)


@pytest.fixture(scope="module")
def generated(made: ChainResult, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Collisions, CollisionPool]:
    """A file of HepMC3, and the record of the same collisions that the chain would make."""
    pytest.importorskip("pyhepmc")
    chunk, path = made.plan.chunks["measured"][0], tmp_path_factory.mktemp("generated") / "events.hepmc3"
    part, seed = made.settings.collisions.slice, 4
    collisions, pool = PythiaRun(chunk.spec, part, seed).with_tracker_particles(N_EVENTS)
    write_hepmc(path, start_pythia(settings_of(chunk.spec, part, seed)), N_EVENTS)
    return path, collisions, pool


def record(chunk: Chunk, folder: Path) -> tuple[Collisions, CollisionPool]:
    store = Store(folder / "store")
    make_chunk(store, chunk, "generate")
    path = store.require(chunk.recipes["generate"])
    return load_table(path, "collisions", Collisions, first=0), load_table(path, "pool", CollisionPool)


def ordered(momentum: ndarray) -> ndarray:
    return momentum[np.lexsort(momentum.T)]


def test_hepmc_has_the_record_that_pythia_gives(
    generated: tuple[Path, Collisions, CollisionPool], tmp_path: Path
) -> None:
    path, collisions, pool = generated
    zipped = tmp_path / "events.hepmc3.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    given = settings(tmp_path, f'chunk_events = 6\n[input.events]\nfiles = "{zipped}"')
    chunks = Plan(given).chunks["input"]
    assert [chunk.n_events for chunk in chunks] == [6, 6, 4]
    assert stated_cross_section(given.input.events["input"]) == 1000.0 + N_EVENTS - 1
    first = 0
    for chunk in chunks:
        own, tracked = record(chunk, tmp_path)
        assert own.weights.tolist() == [[2.0]] * chunk.n_events
        for number in range(chunk.n_events):
            for theirs, ours in (("offset", "momentum"), ("parton_offset", "parton")):
                there, here = getattr(collisions, theirs), getattr(own, theirs)
                expected = getattr(collisions, ours)[there[first + number] : there[first + number + 1]]
                result = getattr(own, ours)[here[number] : here[number + 1]]
                np.testing.assert_allclose(ordered(result), ordered(expected), rtol=1e-9, atol=1e-9)
            one, other = tracked[number], pool[first + number]
            np.testing.assert_allclose(ordered(one.momentum), ordered(other.momentum), rtol=1e-6)
            np.testing.assert_allclose(ordered(one.vertex), ordered(other.vertex), rtol=1e-4, atol=1e-4)
            assert one.charge.sum() == other.charge.sum()
        first += chunk.n_events


def test_events_of_another_generator_are_measured(
    generated: tuple[Path, Collisions, CollisionPool], made: ChainResult, tmp_path: Path
) -> None:
    """From HepMC to the fit; the samples that are simulated are not made again."""
    shutil.copytree(made.settings.output / "store", tmp_path / "store")
    inputs = replace(made.settings.input, events=MappingProxyType({"measured": FileInput("measured", (generated[0],))}))
    other = replace(made.settings, output=tmp_path, input=inputs)
    result = run_chain(other, INLINE)
    assert len(jets_of(result, "measured").events) == N_EVENTS
    assert result.ntuples["nominal"].read_bytes() == made.ntuples["nominal"].read_bytes()
    assert result.ntuples["measured"].read_bytes() != made.ntuples["measured"].read_bytes()
    assert 0 < result.counts.data.sum() < made.counts.data.sum()
    store = Store(tmp_path / "store")
    assert json.loads(store.require(result.plan.cross_section("measured")).read_text()) == {
        "cross_section": 1000.0 + N_EVENTS - 1
    }
    assert not verify(tmp_path, 0.01).differing


LHE = """<LesHouchesEvents version="3.0">
<header>one two three 4</header>
<init>
2212 2212 6500 6500 -1 -1 -1 -1 3 1
2.5e+05 5.8e+03 5.8e+05 1
</init>
{events}</LesHouchesEvents>
"""

LHE_EVENT = """<event>
4 1 1.0 123.3 -1 -1
-2 -1 0 0 0 101 0. 0. 482.22042497 482.22042497 0. 0. 9.
21 -1 0 0 103 102 0. 0. -149.28879794 149.28879794 0. 0. 9.
-2 1 1 2 0 102 123.26424481 .93241471372 446.92447659 463.61248918 .33 0. 9.
21 1 1 2 103 101 -123.26424481 -.93241471372 -113.99284957 167.89673373 0. 0. 9.
</event>
"""


def test_pythia_showers_the_partons_of_lhe(tmp_path: Path) -> None:
    (tmp_path / "events.lhe").write_text(LHE.format(events=4 * LHE_EVENT))
    given = settings(tmp_path, 'chunk_events = 3\n[input.events]\nfiles = "events.lhe"')
    assert stated_cross_section(given.input.events["input"]) == 2.5e5
    chunks = Plan(given).chunks["input"]
    assert [chunk.n_events for chunk in chunks] == [3, 1]
    own, pool = record(chunks[0], tmp_path)
    assert (len(own), len(pool)) == (3, 3)
    jets = particle_jets(own, 60.0, 4.5)
    for event in range(3):
        leading = np.flatnonzero(jets.event == event)[:2]
        assert np.abs(np.sin(jets.phi[leading])).max() < 0.4  # back to back along x, as the partons
        assert set(jets.label[leading]) <= {1, 2, 3, 4, 5, 21}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "got no END_EVENT_LISTING after .* events.*cut short"),
        (lambda text: text.replace(b"HepMC::", b"Other::"), "got neither HepMC nor LHE"),
        (
            lambda text: re.sub(rb"(?m)^(P \d+ -?\d+) 211 ", rb"\1 9900211 ", text),
            "PDG codes 9900211, whose charge Pythia does not know",
        ),
        (lambda text: text.replace(b"GenCrossSection", b"Other"), r"states no cross section; give cross_section"),
    ],
)
def test_unusable_generated_events_are_refused(
    generated: tuple[Path, Collisions, CollisionPool],
    change: Callable[[bytes], bytes],
    message: str,
    made: ChainResult,
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.hepmc3"
    path.write_bytes(change(generated[0].read_bytes()))
    inputs = replace(made.settings.input, events=MappingProxyType({"measured": FileInput("measured", (path,))}))
    plan, store = Plan(replace(made.settings, output=tmp_path, input=inputs)), Store(tmp_path / "store")

    def read() -> None:
        make_chunk(store, plan.chunks["measured"][0], "generate")
        plan.make_cross_section(store, "measured")

    with pytest.raises(BeampipeError, match=message):
        read()


def test_a_missing_reader_is_reported_with_its_extra(
    generated: tuple[Path, Collisions, CollisionPool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(tmp_path, f'[input.events]\nfiles = "{generated[0]}"')
    monkeypatch.setattr(
        "beampipe.chain.recipes.installed_version",
        lambda name: "none" if name == "pyhepmc" else installed_version(name),
    )
    stage_code.cache_clear()
    with pytest.raises(MissingExtraError, match=r"needs pyhepmc, .*pip install 'beampipe\[chain\]'"):
        run_inputs(given, INLINE)
    stage_code.cache_clear()


# Hits and tracks


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of hits and tracks of six events in the formats that users have."""
    folder, events = tmp_path_factory.mktemp("own"), [event for event in shipped_events(0)[:10] if len(event.hits)][:6]
    bare = [Event(event.event_id, event.hits) for event in events]
    write_events(folder / "hits1.parquet", bare[:4])
    write_events(folder / "hits2.parquet", bare[4:])
    write_events(folder / "truth.parquet", events)
    tracks = find_tracks(events)
    tracks.save(folder / "labels.parquet")
    tracks.save(folder / "saved.parquet", form="beampipe")
    tracks.save(folder / "podio.root", form="edm4hep")
    parts = [each[each.fitted] for _, each in tracks]
    columns = {
        f"trk_{name}": ak.Array([getattr(each, name) for each in parts]) for name in ("pt", "eta", "phi", "d0", "theta")
    }
    columns["trk_qOverP"] = ak.Array([each.q_over_p for each in parts])
    names = ("trk_pt", "trk_eta", "trk_phi", "trk_d0")
    ak.to_parquet(ak.Array({name: columns[name] for name in names}), folder / "lists.parquet")
    number = ak.flatten(ak.broadcast_arrays(np.arange(6), columns["trk_phi"])[0])
    flat = {name: ak.flatten(columns[name]) for name in ("trk_phi", "trk_d0", "trk_theta", "trk_qOverP")}
    ak.to_parquet(ak.Array({"evt": number, **flat}), folder / "rows.parquet")
    with uproot.recreate(folder / "ntuple.root") as file:
        hits = {f"h_{axis}": ak.Array([getattr(each.hits, axis) / 10 for each in bare]) for axis in "xyz"}
        trees = {"hits": hits, "trk": {**{name: columns[name] for name in names}, "trk_pt": 1000 * columns["trk_pt"]}}
        for name, table in trees.items():
            file.mktree(name, {key: values.type.content for key, values in table.items()})
            file[name].extend(table)
    return folder


def test_hits_without_truth_give_tracks_and_jets_of_them(own: Path, tmp_path: Path) -> None:
    result = found(tmp_path, f'chunk_events = 3\n[input.hits]\nfiles = "{own}/hits?.parquet"')
    data = result.events
    assert [chunk.n_events for chunk in result.plan.chunks["input"]] == [3, 1, 2]
    assert (len(data.events), len(data.particles.pt)) == (6, 0)
    assert set(data.tracks.kind.tolist()) == {UNKNOWN}
    assert len(data.jets) > 0
    assert np.isnan(data.jets.true_pt).all()
    # The momentum of a jet is that of its tracks.
    px, py = (np.bincount(data.owners.track + 1, data.tracks.pt * way(data.tracks.phi))[1:] for way in (np.cos, np.sin))
    np.testing.assert_allclose(np.hypot(px, py), data.jets.pt, rtol=1e-9)
    left_out = dict(result.left_out)
    assert set(left_out) == {"towers", "labels and true pT of jets", "performance", "calibration, fit"}
    # The same hits in cm in a ROOT ntuple, and with truth.
    columns = 'columns = "x=h_x,y=h_y,z=h_z"\nunits = "x=cm,y=cm,z=cm"\ntree = "hits"'
    ntuple = found(tmp_path, f'[input.hits]\nfiles = "{own}/ntuple.root"\n{columns}').events
    np.testing.assert_allclose(ntuple.tracks.pt, data.tracks.pt, rtol=0.01)
    known = found(tmp_path, f'[input.hits]\nfiles = "{own}/truth.parquet"')
    assert known.events.tracks.pt.tolist() == data.tracks.pt.tolist()
    assert "performance" not in dict(known.left_out)
    assert known.events.particles.found[known.events.particles.reconstructable].mean() > 0.9


def test_tracks_of_any_format_are_the_same(own: Path, tmp_path: Path) -> None:
    texts = {
        "labels": f'files = "{own}/labels.parquet"',
        "saved": f'files = "{own}/saved.parquet"',
        "podio": f'files = "{own}/podio.root"',
        "lists": f'files = "{own}/lists.parquet"',
        "rows": f'files = "{own}/rows.parquet"',
        "ntuple": f'files = "{own}/ntuple.root"\ntree = "trk"\nunits = "pt=MeV"',
    }
    results = {name: found(tmp_path, f"[input.tracks]\n{text}").events for name, text in texts.items()}
    first = results["lists"]
    assert len(first.tracks.pt) > 30
    for name, each in results.items():
        assert len(each.events) == 6, name
        for column in ("pt", "eta", "phi"):
            there, here = getattr(first.tracks, column), getattr(each.tracks, column)
            np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-5, err_msg=name)
        assert len(each.jets) == len(first.jets)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[input.tracks]\nfiles = "{own}/ntuple.root"\ntree = "trk"', r'a median of .* units = \["pt=MeV"\]'),
        ('[input.tracks]\nfiles = "{own}/ntuple.root"', "got the trees hits, trk; say which by tree"),
        ('[input.tracks]\nfiles = "{own}/hits1.parquet"', r'expected pt, eta, phi .* columns = \["pt=NAME"\]'),
        ('[input.tracks]\nfiles = "{own}/lists.parquet"\ncolumns = "pt=trk_p"', "no column 'trk_p'.*trk_pt"),
        ('[input.tracks]\nfiles = "{own}/lists.parquet"\nunits = "pt=MEV"', "'MEV'.*MeV"),
        ('[input.hits]\nfiles = "{own}/lists.parquet"', "expected one of beampipe, table"),
        ('[input.hits]\nfiles = "{own}/none*.parquet"', "no such file: .*none"),
        ('[input.hits]\nfile = "{own}/hits1.parquet"', "unknown key|tables"),
        ('[input.hit]\nfiles = "{own}/hits1.parquet"', "unknown key 'hit'.*hits"),
        ("", "got none with the role 'nominal'"),
    ],
)
def test_wrong_inputs_are_refused(text: str, message: str, own: Path, tmp_path: Path) -> None:
    with pytest.raises(BeampipeError, match=message):
        found(tmp_path, text.format(own=own))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[input.events]\nfiles = "{own}/truth.parquet"', "got no sample, expected one of nominal, data, measured"),
        ('[input.events]\nfiles = "{own}/truth.parquet"\nsample = "nominl"', "'nominl'.*nominal"),
        ('[input.hits]\nfiles = "{own}/truth.parquet"\nsample = "data"', "got hits or tracks for a measurement"),
    ],
)
def test_inputs_of_samples_that_do_not_fit_are_refused(text: str, message: str, own: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["init", str(tmp_path / "chain.toml")]).exit_code == 0
    path = tmp_path / "chain.toml"
    path.write_text(f"{path.read_text()}\n{text.format(own=own)}\n")
    with pytest.raises((ConfigError, BeampipeError), match=message):
        load_settings(path)


def test_a_file_that_is_added_or_moved_makes_nothing_again(own: Path, tmp_path: Path) -> None:
    def keys(text: str) -> list[str]:
        return [chunk.recipes["jets"].key for chunk in Plan(settings(tmp_path, text)).chunks["input"]]

    (tmp_path / "moved").mkdir()
    shutil.copy(own / "hits1.parquet", tmp_path / "moved/other.parquet")
    one, both = (keys(f'[input.hits]\nfiles = "{own}/{name}.parquet"') for name in ("hits1", "hits?"))
    assert both[0] == one[0] == keys('[input.hits]\nfiles = "moved"')[0]
    assert both[1] != one[0]


def test_the_command_says_what_was_left_out(own: Path, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text(
        f'output = "out"\n[input.tracks]\nfiles = "{own}/lists.parquet"\n[jets]\nmin_pt = 5.0\n'
    )
    call = CliRunner().invoke(
        app, ["run", str(tmp_path / "chain.toml"), "--executor", "inline"], catch_exceptions=False
    )
    assert call.exit_code == 0
    assert "left out: performance: no truth" in call.output
    page = (tmp_path / "out/report.html").read_text()
    assert "no truth: tracks are compared with no particles" in page
    assert page.count("data:image/png;base64,") == 1
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes((own / "lists.parquet").read_bytes()[:-20])
    with pytest.raises(FileError, match=r"damaged\.parquet"):
        found(tmp_path, f'[input.tracks]\nfiles = "{damaged}"')


def test_jets_of_an_input_can_be_loaded(own: Path, tmp_path: Path) -> None:
    given = settings(tmp_path, f'[input.hits]\nfiles = "{own}/hits2.parquet"')
    store, (chunk,) = Store(tmp_path / "store"), Plan(given).chunks["input"]
    make_chunk(store, chunk)
    assert len(JetEvents.load(store.require(chunk.recipes["jets"])).events) == 2
