"""The whole track: a program in a sandbox gets a copy of the data, and hands in lists that are graded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from beampipe.analysisops.artifacts.answering import answer_from_artifacts
from beampipe.analysisops.artifacts.form import read_artifacts
from beampipe.analysisops.artifacts.handing import copy_data
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.ledger import Ledger, read_ledger
from beampipe.analysisops.sandbox import Sandbox, SandboxLimits
from beampipe.errors import BeampipeError

from .conftest import Instance

HONEST = """
import json, os, sys
import awkward as ak, numpy as np, uproot

data = os.environ["DATA"]
(facts,) = json.load(open(f"{data}/manifest.json"))["files"]
tree = max(uproot.open(f"{data}/{facts['name']}").iterclassnames(), key=lambda one: one[1] == "TTree")[0]
arrays = uproot.open(f"{data}/{facts['name']}")[tree].arrays()

def find(*words):
    for name in arrays.fields:
        plain = name.lower().replace("_", "")
        if any(plain == f"{kind}{word}" for kind in ("photon", "photons", "ph") for word in words):
            return arrays[name]

pt, eta, phi = find("pt"), find("eta"), find("phi")
unit = 0.001 if np.median(ak.flatten(pt)) > 2000 else 1.0
good = (find("istightid", "passestight", "tightid", "tight") == 1)
good = good & (find("ptcone20", "iso20", "trackiso") < 0.1 * pt) & (pt * unit > 15)
pt, eta, phi = pt[good], eta[good], phi[good]
two = ak.num(pt) >= 2
event = arrays["eventNumber" if "eventNumber" in arrays.fields else "event"][two]
pt, eta, phi = pt[two] * unit, eta[two], phi[two]
mass = np.sqrt(2 * pt[:, 0] * pt[:, 1] * (np.cosh(eta[:, 0] - eta[:, 1]) - np.cos(phi[:, 0] - phi[:, 1])))
keep = (pt[:, 0] > 0.35 * mass) & (pt[:, 1] > 0.25 * mass)
np.save("list.npy", np.stack([ak.to_numpy(event[keep]).astype(float), ak.to_numpy(mass[keep])], 1))
given = {"file": "list.npy", "model": "gauss_plus_exponential", "window": [105, 160]}
json.dump({"lists": {"mass": given}, "words": {"signal": "yes"}}, open("artifacts.json", "w"))
"""

SPIES = """
import json, os
os.symlink(os.environ["DATA"] + "/manifest.json", "list.json")
given = {"file": "list.json", "model": "gauss", "window": [105, 160]}
json.dump({"lists": {"mass": given}}, open("artifacts.json", "w"))
"""

CHANGES_THE_DATA = """
import os
for name in os.listdir(os.environ["DATA"]):
    try:
        os.chmod(os.environ["DATA"] + "/" + name, 0o666)
        open(os.environ["DATA"] + "/" + name, "w").write("mine")
    except OSError:
        pass
"""


@pytest.mark.parametrize(("program", "lowest", "highest"), [
    (HONEST, 0.95, 1.0),
    (SPIES, 0.0, 0.0),
    (CHANGES_THE_DATA, 0.0, 0.0),
    ("raise SystemExit(1)", 0.0, 0.0),
])  # fmt: skip
def test_a_program_is_graded_by_its_lists(
    instance: Instance, tmp_path: Path, program: str, lowest: float, highest: float
) -> None:
    prepared = instance("hyy")
    before = {path.name: path.read_bytes() for path in prepared.data.iterdir()}
    copy = copy_data(prepared.data, tmp_path / "copy")
    sandbox = Sandbox(SandboxLimits(seconds=60.0), read_only=[copy])
    book = tmp_path / "ledger"
    command = [sys.executable, "-c", program]
    try:
        with sandbox.running(command, {"DATA": str(copy)}) as confined:
            confined.wait(60.0)
            given = read_artifacts(confined.work, "hyy")
        submission = answer_from_artifacts(prepared.task, given, prepared.data, prepared.hidden, Ledger(book, b"key"))
    except BeampipeError as error:
        submission = {"status": "error", "comments": str(error)}
    finally:
        copy.chmod(0o755)
    entries = read_ledger(book, b"key") if book.exists() else ()
    found = grade(prepared.task, submission, prepared.reference, entries).to_json()
    assert lowest <= found["final"]["normalized_score"] <= highest, (submission, found["issues"])
    assert {path.name: path.read_bytes() for path in prepared.data.iterdir()} == before
