"""The weak bins of a card are those that a scorer of its own, in plain loops, finds on the same events."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from math import hypot
from pathlib import Path

import numpy as np
import pytest

from beampipe.events import BeamSpot, Event
from beampipe.tracking import load_model, load_pipeline
from beampipe.tracking.data import shipped_events, shipped_path
from beampipe.tracking.models import TrackerModel
from beampipe.tracking.models.card import model_overview
from beampipe.tracking.training.samples import degraded_event
from beampipe.tracking.training.validation import DAMAGE, validate
from beampipe.tracking.truth import layer_code

FEWEST = 10


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(shipped_events(60))[:2]


@pytest.fixture(scope="module")
def validated(events: list[Event]) -> TrackerModel:
    """The shipped model with its windows alone, as if it had ACTS beside: the same numbers under another name."""
    model = load_model()
    model = replace(model, weights={stem: model.weights[stem] for stem in ("module_map", "fit")}, performance={})
    model = validate(model, events, "shipped").written_to(model)
    return replace(model, acts={"acts": model.performance["module_map"]})


def particles_of(event: Event, least_pt: float, most_origin: float, only_primary: bool) -> dict[int, dict[str, float]]:
    """The selected particles with the values that efficiencies are binned by."""
    truth = event.truth
    assert truth is not None
    code = layer_code(event.hits)
    assert code is not None
    layers = defaultdict(set)
    for hit, particle in [*enumerate(truth.particle_id.tolist()), *zip(truth.shared_hit.tolist(),
                          truth.shared_particle.tolist(), strict=True)]:  # fmt: skip
        layers[particle].add(int(code[hit]))
    selected = {}
    particles = truth.particles
    for row, number in enumerate(particles.particle_id.tolist()):
        px, py, pz = particles.momentum[row].tolist()
        x, y, z = particles.vertex[row].tolist()
        pt = hypot(px, py)
        if particles.charge[row] == 0 or pt == 0 or (only_primary and not particles.primary[row]):
            continue
        eta = float(np.arcsinh(pz / pt))
        if pt > least_pt and abs(eta) < 3 and len(layers[number]) >= 7 and hypot(x, y) < most_origin:
            selected[number] = {"pt": pt, "eta": eta, "vertex_z": z, "origin": hypot(x, y), "phi": np.arctan2(py, px)}
    for one, values in selected.items():
        others = (other for number, other in selected.items() if number != one)
        values["distance"] = min(
            (hypot(values["eta"] - other["eta"], abs((values["phi"] - other["phi"] + np.pi) % (2 * np.pi) - np.pi))
             for other in others), default=np.inf,
        )  # fmt: skip
    return selected


def found_by_double_majority(event: Event, track_id: np.ndarray) -> set[int]:
    """Particles with more than half of a track of seven hits or more, and more than half of their hits on it."""
    truth = event.truth
    assert truth is not None
    made_by = defaultdict(list)
    for hit, particle in [*enumerate(truth.particle_id.tolist()), *zip(truth.shared_hit.tolist(),
                          truth.shared_particle.tolist(), strict=True)]:  # fmt: skip
        if particle != 0:
            made_by[hit].append(particle)
    hits_of = Counter(particle for particles in made_by.values() for particle in particles)
    tracks = defaultdict(list)
    for hit, track in enumerate(track_id.tolist()):
        if track >= 0:
            tracks[track].append(hit)
    found = set()
    for hits in tracks.values():
        counts = Counter(particle for hit in hits for particle in made_by[hit])
        if len(hits) >= 7 and counts:
            most = max(counts.values())
            particle = min(number for number, count in counts.items() if count == most)
            if 2 * most > len(hits) and 2 * most > hits_of[particle]:
                found.add(particle)
    return found


def test_a_scorer_in_loops_finds_the_same_weak_bins(validated: TrackerModel, events: list[Event]) -> None:
    measured = validated.performance["module_map"]
    totals: defaultdict[str, Counter[int]] = defaultdict(Counter)
    matched: defaultdict[str, Counter[int]] = defaultdict(Counter)
    pipeline = load_pipeline("module_map", threads=1, model=validated, check=False)
    for seed, clean in enumerate(events):
        event = degraded_event(clean, DAMAGE, seed)
        found = found_by_double_majority(event, pipeline.find(event.hits).track_id)
        classes = {
            "pt": particles_of(event, 0.3, 2.0, True),
            "origin": particles_of(event, 1.0, 200.0, False),
            **dict.fromkeys(("eta", "vertex_z", "distance"), particles_of(event, 1.0, 2.0, True)),
        }
        for variable, selected in classes.items():
            edges = measured.curves[variable].edges
            for number, values in selected.items():
                bin_ = sum(bool(np.float32(values[variable]) >= np.float32(edge)) for edge in edges[1:-1])
                totals[variable][bin_] += 1
                matched[variable][bin_] += number in found
    n_weak = 0
    for variable, curve in measured.curves.items():
        n_bins = len(curve.edges) - 1
        by_loops = [(totals[variable][k], matched[variable][k]) for k in range(n_bins)]
        weak = tuple(total >= FEWEST and found < 0.9 * total for total, found in by_loops)
        assert weak == curve.weak, variable
        assert [total < FEWEST for total, _ in by_loops] == list(curve.few), variable
        # Values at an edge may fall to either side by rounding.
        assert np.abs(np.array(by_loops) - np.column_stack([curve.total, curve.matched])).max() <= 1
        n_weak += sum(weak)
    assert n_weak >= 3


def test_the_card_has_layers_chi2_and_acts_beside(validated: TrackerModel) -> None:
    measured = validated.performance["module_map"]
    assert len(measured.layers) == len(validated.layout.layers)
    assert 0 < min(measured.layers) < np.mean(measured.layers) < max(measured.layers) < 1
    median, mean = measured.chi2
    assert 0.7 < median < 1.3
    assert mean > median
    lines = "\n".join(model_overview(validated))
    assert measured.good_fits is not None
    assert 0.9 < measured.good_fits <= 1
    share = f"{measured.good_fits:.2%} of the tracks"
    assert f"chi2 per degree of freedom of fits that are not suspect ({share}): median {median:.2f}" in lines
    assert "hits on tracks by layer: " in lines
    for weakness in measured.weaknesses(validated.acts):
        own, acts = weakness.split(", acts ")
        assert own.startswith(("pT", "eta", "vertex", "origin", "distance", "from", "within", "all"))
        assert acts.removesuffix(" %") in own


def test_a_beam_line_off_the_axis_changes_no_number(events: list[Event], validated: TrackerModel) -> None:
    moved = replace(validated, layout=replace(validated.layout, beam_spot=BeamSpot(3.0, -1.0)), performance={})
    measured = validate(moved, events, "shipped").written_to(moved)  # events relative to that line
    (before,), (after,) = validated.performance.values(), measured.performance.values()
    assert replace(after, milliseconds=before.milliseconds) == before


def test_a_card_does_not_silently_lose_its_efficiencies_in_jets(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(load_model().path, folder)  # its card has them
    before = (folder / "model.json").read_bytes()
    words = ["tracking", "validate", str(shipped_path(60)), "--tracker-model", str(folder), "--card"]
    done = subprocess.run([sys.executable, "-m", "beampipe", *words], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "efficiencies in jets" in done.stderr
    assert "--jets" in done.stderr
    assert (folder / "model.json").read_bytes() == before
