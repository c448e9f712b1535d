"""A small chain from collisions to the fit: physics, resuming, and independence of workers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from beampipe.calibration import RunSettings
from beampipe.calibration.taggers import SHIPPED_MODELS
from beampipe.chain.figures import track_ratio
from beampipe.chain.fit import class_cuts, in_classes
from beampipe.chain.ntuples import EnergyScale, Performance
from beampipe.chain.recipes import INPUTS, Plan, make_chunk, stage_code
from beampipe.chain.report import write_report
from beampipe.chain.run import RESULT, ChainResult, make_ntuples, measure_ntuples, run_chain, store_of
from beampipe.chain.settings import (
    SHIPPED,
    ChainSettings,
    CollisionSettings,
    DetectorSettings,
    JetSettings,
    MeasurementSettings,
    Sample,
    TrackSettings,
    shipped_settings,
)
from beampipe.chain.tables import (
    DUPLICATE,
    FAKE,
    PRIMARY,
    EventTable,
    JetEvents,
    JetTable,
    Owners,
    ParticleTable,
    TrackTable,
)
from beampipe.chain.verify import Verified, verify
from beampipe.errors import FileError, MissingExtraError, UnknownNameError
from beampipe.simulation.ntuples.ntuple_files import read_bookkeeping, read_ntuple, write_ntuple
from beampipe.tables import load_table
from beampipe.workflow import Store, installed_version

INLINE = RunSettings("inline")


def small(output: Path) -> ChainSettings:
    """A few collisions of each sample, at low pT."""
    samples = (Sample("nominal", "nominal", 30), Sample("data", "data", 15), Sample("measured", "measured", 20))
    return ChainSettings(
        output,
        MappingProxyType({sample.name: sample for sample in samples}),
        chunk_events=10,
        collisions=CollisionSettings(120.0, 300.0, power=0.0),
        jets=JetSettings(40.0),
        measurement=MeasurementSettings((60.0, 400.0), (0.5,), min_eta_gap=0.0, replicas=20),
    )


def digest(settings: ChainSettings) -> str:
    return sha256((settings.output / RESULT).read_bytes()).hexdigest()


def jets_of(result: ChainResult, sample: str) -> JetEvents:
    store = store_of(result.settings)
    return JetEvents.join([JetEvents.load(store.require(recipe)) for recipe in result.plan.jets(sample)])


def test_tracks_are_those_of_the_particles_of_the_jets(made: ChainResult) -> None:
    data = jets_of(made, "nominal")
    assert len(data.events) == 30
    assert len(np.unique(data.jets.event)) == 30
    in_jets, of_jets = data.owners.track >= 0, data.owners.particle >= 0
    n_tracks = np.bincount(data.owners.track[in_jets], minlength=len(data.jets))
    n_particles = np.bincount(data.owners.particle[of_jets], minlength=len(data.jets))
    assert n_tracks.sum() > 100
    assert 0.9 < n_tracks.sum() / n_particles.sum() < 1.15
    assert np.mean(data.tracks.kind == PRIMARY) > 0.85
    assert np.mean(np.isin(data.tracks.kind, (FAKE, DUPLICATE))) < 0.02
    reconstructable = data.particles.reconstructable & of_jets
    assert np.mean(data.particles.found[reconstructable]) > 0.95
    store = store_of(made.settings)
    performance = load_table(store.require(made.plan.performance("nominal")), "performance", Performance)
    assert int(performance.reconstructable.sum()) == int(reconstructable.sum())
    # Tracks point where their particles do, which is also where the towers are.
    for row in range(len(data.jets)):
        inside = data.owners.track == row
        assert np.abs(data.tracks.eta[inside] - data.jets.eta[row]).max(initial=0) < 0.6


def test_energy_scale_closes(made: ChainResult) -> None:
    data = jets_of(made, "nominal")
    scale = load_table(store_of(made.settings).require(made.plan.scale), "scale", EnergyScale)
    known = data.jets.true_pt > 1.5 * data.jets.pt.min()
    before = np.mean(data.jets.pt[known] / data.jets.true_pt[known])
    after = np.mean(scale.corrected(data.jets.pt, data.jets.eta)[known] / data.jets.true_pt[known])
    assert before < 0.93
    assert abs(after - 1) < 0.05


def test_calibration_and_fit_read_the_ntuple(made: ChainResult) -> None:
    events = read_ntuple(made.ntuples["nominal"])
    assert events.weight is not None
    assert events.jet_n_trk_eff is not None
    assert (np.diff(events.offset) >= 2).all()
    assert (events.jet_n_trk_eff <= events.jet_n_trk).all()
    assert events.jet_n_trk.max() > 5
    assert made.counts.simulation.sum() > 0
    assert made.measurements[0].shares == "simulation"
    assert made.measurements[0].bins[0].jets >= 5


def test_the_score_of_an_own_tagger_divides_the_jets(made: ChainResult, tmp_path: Path) -> None:
    measurement = replace(made.settings.measurement, tagger=SHIPPED_MODELS["shipped"])
    settings = replace(made.settings, output=tmp_path, measurement=measurement)
    result = measure_ntuples(settings, made.ntuples, INLINE)
    ((name, cuts),) = result.factors.cuts.items()
    assert name == "score"
    assert ((cuts > 0) & (cuts < 1)).all()
    np.testing.assert_allclose(result.counts.data.sum(), made.counts.data.sum())
    assert class_cuts(result.factors).tolist() == np.rint(100 * cuts).tolist()
    below = in_classes(result.counts.simulation.swapaxes(0, 1), class_cuts(result.factors))[:, 0, 0]
    assert below[0] / result.counts.simulation[0, 0].sum() > below[1] / result.counts.simulation[0, 1].sum()


def test_shapes_of_an_alternative_sample_are_an_uncertainty(tmp_path: Path) -> None:
    """Of the shipped ntuples: the fraction stays, and its error grows."""
    demo = shipped_settings(tmp_path)
    ntuples = {name: SHIPPED / f"{name}.root" for name in demo.samples}
    (tmp_path / "without").mkdir()
    without = measure_ntuples(replace(demo, output=tmp_path / "without"), ntuples, INLINE).measurements[-1]
    events, book = read_ntuple(ntuples["nominal"]), read_bookkeeping(ntuples["nominal"])
    more = events.jet_n_trk + (events.jet_n_trk > 10)
    ntuples["other"] = tmp_path / "other.root"
    write_ntuple(ntuples["other"], replace(events, jet_n_trk=more.astype(np.uint16)), {**book, "dataset": "other"})
    samples = {**demo.samples, "other": Sample("other", "alternative", 1)}
    result = measure_ntuples(replace(demo, samples=MappingProxyType(samples)), ntuples, INLINE)
    covered = result.measurements[-1]
    assert {each.sources["other"].max() > 0.01 for each in result.factors.by_name.values()} == {True}
    assert without.shares == covered.shares == "calibrated"
    assert covered.error > 1.1 * without.error


def test_finders_are_compared_on_the_same_hits(made: ChainResult) -> None:
    before, store = digest(made.settings), store_of(made.settings)
    assert store.log is not None
    n_lines = len(list(store.log.read()))
    tracks = TrackSettings(compare=("acts-soft",), compare_events=5)
    result = run_chain(replace(made.settings, tracks=tracks), INLINE)
    done = [line["label"] for line in list(store.log.read())[n_lines:] if line["event"] == "done"]
    assert done == ["tracks nominal 0", "jets nominal 0"]
    assert digest(made.settings) == before
    text = write_report(result).read_text(encoding="utf-8")
    assert "the first 10 collisions of nominal" in text
    assert text.count('<th scope="row">acts-soft</th>') == 1


def test_acts_finds_tracks_in_the_detector_of_the_chain(tmp_path: Path) -> None:
    tracks = TrackSettings(model="odd", compare=("acts-soft",))
    settings = replace(small(tmp_path), chunk_events=3, detector=DetectorSettings(Path("odd")), tracks=tracks)
    store, found = store_of(settings), {}
    for finder, chunks in Plan(settings).compared.items():
        make_chunk(store, chunks[0])
        particles = JetEvents.load(store.require(chunks[0].recipes["jets"])).particles
        found[finder] = particles.found[particles.reconstructable].mean()
    assert set(found) == {tracks.finder, "acts-soft"}
    assert min(found.values()) > 0.85


def test_an_unknown_finder_is_reported_before_any_work(tmp_path: Path) -> None:
    for tracks in (TrackSettings(compare=("acts-sof",)), TrackSettings(compare=("module_mp",))):
        with pytest.raises(UnknownNameError, match=tracks.compare[0]):
            run_chain(replace(small(tmp_path), tracks=tracks), INLINE)
    assert not (tmp_path / "store" / "artifact" / "generate").exists()


def test_tracks_over_particles() -> None:
    """Two jets with 3 and 5 tracks and 4 particles each, of which 3 and 4 are found."""
    none, two, eight, event = np.zeros(1, np.int64), np.ones(2), np.zeros(8), np.zeros(8, np.int64)
    data = JetEvents(
        EventTable(np.ones(1), none, none, none, np.zeros(1)),
        JetTable(event[:2], two, two, two, event[:2], two),
        TrackTable(event, eight, eight, eight, event.astype(np.int8)),
        ParticleTable(event, eight, eight, eight, np.arange(8) != 3, event == 0),
        Owners(np.repeat([0, 1], [3, 5]), np.repeat([0, 1], [4, 4])),
    )
    whole = track_ratio(data)
    assert (whole.jets, whole.ratio, whole.found, whole.mean, whole.spread) == (2, 1.0, 7 / 8, 0.0, 1.0)
    assert whole.ratio_error == pytest.approx(2**0.5 / 8)
    assert track_ratio(data, np.array([False, True])).ratio == 1.25


def test_nothing_is_made_twice_and_lost_artifacts_are_made_again(made: ChainResult) -> None:
    store, before = store_of(made.settings), digest(made.settings)
    tracks = store.require(made.plan.chunks["data"][1].recipes["tracks"])
    content = tracks.read_bytes()
    for stage in ("jets", "tracks"):
        recipe = made.plan.chunks["data"][1].recipes[stage]
        store.require(recipe).with_name(f"{recipe.key}.about.json").unlink()
    assert store.log is not None
    n_lines = len(list(store.log.read()))
    run_chain(made.settings, INLINE)
    done = [line["label"] for line in list(store.log.read())[n_lines:] if line["event"] == "done"]
    assert done == ["tracks data 1", "jets data 1"]
    assert tracks.read_bytes() == content
    assert digest(made.settings) == before


def test_setting_of_a_stage_changes_only_what_follows(made: ChainResult) -> None:
    settings = made.settings
    others = {
        "tracks": replace(settings, tracks=TrackSettings(min_pt=1.0)),
        "jets": replace(settings, jets=JetSettings(50.0)),
        "towers": replace(settings, calorimeter=replace(settings.calorimeter, cell=0.2)),
        "": replace(settings, tracks=TrackSettings(servers=("grpc://127.0.0.1:1",))),
    }
    before = Plan(settings).chunks["nominal"][0].recipes
    for stage, other in others.items():
        after = Plan(other).chunks["nominal"][0].recipes
        changed = {name for name in INPUTS if before[name].key != after[name].key}
        assert changed == ({stage, "jets"} if stage else set())


def test_a_store_is_verified_by_making_artifacts_again(made: ChainResult, tmp_path: Path) -> None:
    shutil.copytree(made.settings.output / "store", tmp_path / "moved" / "store")
    assert verify(tmp_path / "moved", 0.01) == Verified(len(INPUTS), (), 0)
    store = Store(tmp_path / "moved" / "store")
    for recipe in (chunk.recipes["towers"] for chunks in made.plan.chunks.values() for chunk in chunks):
        content = store.require(recipe).read_bytes() + b"other"
        store.write(recipe, ".npz", lambda part, content=content: part.write_bytes(content))  # type: ignore[misc]
    (differing,) = verify(tmp_path / "moved" / "store", 0.01).differing
    assert differing.startswith("towers of ")


def test_a_damaged_artifact_of_any_stage_is_made_again(made: ChainResult, tmp_path: Path) -> None:
    shutil.copytree(made.settings.output, tmp_path, dirs_exist_ok=True)
    settings = replace(made.settings, output=tmp_path)
    store, chunk = store_of(settings), made.plan.chunks["measured"][0]
    for recipe in (chunk.recipes["jets"], chunk.recipes["simulate"], made.plan.scale, made.plan.ntuple("measured")):
        path = store.require(recipe)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    write_report(run_chain(settings, INLINE))
    assert digest(settings) == digest(made.settings)


def test_ntuples_of_earlier_chains_are_added(made: ChainResult, tmp_path: Path) -> None:
    earlier = made.ntuples["nominal"]
    samples = {name: replace(sample, events=2) for name, sample in made.settings.samples.items()}
    samples["nominal"] = replace(samples["nominal"], events=5, further=(earlier,))
    with pytest.raises(FileError, match="got events of the seed 1"):
        make_ntuples(replace(made.settings, samples=MappingProxyType(samples)), INLINE)
    other = replace(made.settings, seed=2, output=tmp_path, samples=MappingProxyType(samples))
    path = make_ntuples(other, INLINE)["nominal"]
    both, alone = read_ntuple(path), read_ntuple(earlier)
    assert len(both) > len(alone)
    assert len(np.unique(both.run)) == 2
    assert both.jet_pt[-len(alone.jet_pt) :].tolist() == alone.jet_pt.tolist()
    assert read_bookkeeping(path)["n_generated"] == 35
    # Without bias each event has the weight 1.
    assert read_bookkeeping(path)["sum_weights"] == pytest.approx(35)
    samples["nominal"] = replace(samples["nominal"], further=(made.ntuples["data"],))
    with pytest.raises(FileError, match="got events of data"):
        make_ntuples(replace(other, samples=MappingProxyType(samples)), INLINE)


def test_with_pileup_tracks_are_those_of_the_hard_vertex(made: ChainResult, tmp_path: Path) -> None:
    settings = replace(
        made.settings, output=tmp_path, chunk_events=4, collisions=replace(made.settings.collisions, pileup=6.0)
    )
    store, chunk = store_of(settings), Plan(settings).chunks["nominal"][0]
    make_chunk(store, chunk)
    data = JetEvents.load(store.require(chunk.recipes["jets"]))
    assert (data.events.vertices > 1).any()
    assert data.events.vertex_efficiency == 1
    assert np.abs(data.events.vertex_dz).max() < 0.1
    # Most of the tracks that were found are of other collisions; hardly any is left near the vertex.
    assert data.events.tracks.sum() > 1.4 * len(data.tracks.pt)
    assert np.mean(data.tracks.kind == PRIMARY) > 0.8
    assert data.particles.found[data.particles.reconstructable].mean() > 0.95
    in_jets, of_jets = data.owners.track >= 0, data.owners.particle >= 0
    assert 0.9 < np.count_nonzero(in_jets) / np.count_nonzero(of_jets) < 1.15
    # Towers, and so jets, are those of the chain without pile-up.
    alone = jets_of(made, "nominal")
    assert data.jets.pt.tolist() == alone.jets.pt[alone.jets.event < 4].tolist()
    assert np.isnan(alone.events.vertex_dz).all()


def test_jets_beside_photons_are_a_region(made: ChainResult, tmp_path: Path) -> None:
    shutil.copytree(made.settings.output / "store", tmp_path / "store")
    collisions = replace(made.settings.collisions, process=("dijets", "gammajet"))
    result = run_chain(replace(made.settings, output=tmp_path, collisions=collisions), INLINE)
    events, alone = read_ntuple(result.ntuples["nominal"]), read_ntuple(made.ntuples["nominal"])
    region, label = events.jet_region, events.jet_label
    assert region is not None
    assert label is not None
    assert alone.jet_region is None
    # Dijets are those of the chain without photons.
    assert [chunk.process for chunk in result.plan.chunks["nominal"]] == ["dijets"] * 3 + ["gammajet"] * 3
    assert np.isclose(events.jet_eta[region == 1], alone.jet_eta, atol=1e-6).all()
    photon, beside = region == -1, region == 0
    assert min(photon.sum(), beside.sum()) > 10
    assert events.jet_n_trk[photon].mean() < 2 < 5 < events.jet_n_trk[beside].mean()
    assert (label[photon] == 21).all()
    quark = (label >= 1) & (label <= 5)
    assert quark[beside].mean() > 0.7 > 0.5 > quark[region == 1].mean()
    # An event has one photon, and its other jets are beside it.
    event = np.repeat(events.event, np.diff(events.offset))
    assert len(np.unique(event[photon])) == photon.sum()
    assert set(event[beside]) <= set(event[photon])
    # Jets beside photons are the region with more quarks.
    beside_photons, in_dijets = result.factors.fractions["n_trk"][0]
    assert beside_photons > 0.7 > 0.5 > in_dijets
    # The measurement is in dijets alone.
    assert result.counts.simulation.sum() == pytest.approx(made.counts.simulation.sum(), rel=0.02)
    assert "dijets and gammajet" in write_report(result).read_text()


def test_report_has_a_picture_of_each_stage_and_the_costs(made: ChainResult) -> None:
    page = write_report(made).read_text()
    assert page.count("data:image/png;base64,") == 7
    assert "Projected to 1,000,000,000 events" in page
    for name in ("generate", "simulate", "tracks", "jets", "ntuple", "calibration", "fit", "cost"):
        assert f'id="{name}"' in page
    template = replace(made.settings, measurement=replace(made.settings.measurement, extraction="template"))
    note = "No alternative sample: "
    assert note not in page
    assert note in write_report(replace(made, settings=template)).read_text()
    about = store_of(made.settings).about(made.plan.chunks["nominal"][0].recipes["simulate"].key)
    assert about["notes"]["events"] == 10
    assert about["notes"]["cpu"] > 0
    assert about["notes"]["peak"] > 10**7
    assert json.loads((made.settings.output / RESULT).read_text())["gluon_fraction"][0]["shares"] == "simulation"


def test_a_missing_package_is_reported_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "beampipe.chain.recipes.installed_version", lambda name: "none" if name == "pyhf" else installed_version(name)
    )
    stage_code.cache_clear()
    with pytest.raises(MissingExtraError, match=r"result of a chain needs pyhf, .*pip install 'beampipe\[chain\]'"):
        run_chain(small(tmp_path / "run"), INLINE)
    stage_code.cache_clear()
    assert not (tmp_path / "run").exists()
