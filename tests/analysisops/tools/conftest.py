"""A small folder of data as a session has it: two ROOT files with a peak, metrics and a log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.tools.session import LocalTools, Session, SessionLimits

KEY = b"a key of the host"


def write_events(path: Path, seed: int, n: int = 4000) -> None:
    """Two to four leptons, of which the first two come from a peak at 91.2 GeV, written in MeV."""
    import awkward as ak
    import uproot

    rng = np.random.default_rng(seed)
    counts = rng.integers(2, 5, n)
    mass = rng.normal(91.2, 2.0, n)
    phi = rng.uniform(-np.pi, np.pi, n)
    total = int(counts.sum())
    pt, eta, angle = rng.uniform(5, 15, total), rng.uniform(-2, 2, total), rng.uniform(-np.pi, np.pi, total)
    charge = rng.choice([-1, 1], total)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    for place, side, sign in ((0, 0.0, -1), (1, np.pi, 1)):
        pt[first + place], eta[first + place] = mass / 2, 0.0
        angle[first + place], charge[first + place] = (phi + side + np.pi) % (2 * np.pi) - np.pi, sign
    columns: Mapping[str, Any] = {
        "lep_pt": pt * 1000,
        "lep_eta": eta,
        "lep_phi": angle,
        "lep_e": pt * np.cosh(eta) * 1000,
        "lep_charge": charge.astype(np.int32),
    }
    jagged = {name.removeprefix("lep_"): ak.unflatten(values, counts) for name, values in columns.items()}
    with uproot.recreate(path) as file:
        branches = {
            "lep": ak.zip(jagged),
            "met": rng.exponential(20.0, n) * 1000,
            "trigger": rng.uniform(size=n) < 0.9,
        }
        file.mktree("mini", branches)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder."""
    folder = tmp_path_factory.mktemp("data")
    write_events(folder / "data.root", 1)
    write_events(folder / "signal.root", 2, 1000)
    times = list(range(0, 600, 2))
    values = [1.0 if time < 240 else 3.0 for time in times]
    series = [
        {"name": "queue_seconds", "labels": {"server": name}, "times": times, "values": levels}
        for name, levels in (("a", [1.0] * len(times)), ("b", values))
    ]
    (folder / "metrics.json").write_text(json.dumps({"series": series}))
    (folder / "b.log").write_text("".join(f"{time} INFO fine\n" for time in times) + "600 ERROR out of memory\n")
    (folder / "hidden.txt").write_text("not in the manifest")
    roles: dict[str, dict[str, Any]] = {
        "data.root": {"role": "data"},
        "signal.root": {"role": "signal_mc", "cross_section_pb": 2.5, "sum_of_weights": 1000.0},
        "metrics.json": {"role": "metrics"},
        "b.log": {"role": "log"},
    }
    files = [{"name": name, "bytes": 0, "sha256": "0" * 64, **facts} for name, facts in roles.items()]
    (folder / "manifest.json").write_text(json.dumps({"files": files, "public": {"luminosity_fb": 10.0}}))
    return folder


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl", KEY)


@pytest.fixture
def session(data: Path, ledger: Ledger) -> Session:
    return Session(data, ledger, SessionLimits(calls=60))


@pytest.fixture
def tools(session: Session) -> LocalTools:
    return LocalTools(session)
