"""What holds for every family: the files, the manifest, and nothing hidden in it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from beampipe.analysisops.samples.dataset import DIALECTS, VERSION
from beampipe.analysisops.tasks.load import shipped_tasks
from beampipe.errors import ConfigError, UnknownNameError
from tests.analysisops.samples.reading import Made, make

MadeBy = Callable[[str], Made]
FEW = {
    "zmumu": {"resonances": (300.0, 300.0)},
    "hyy": {"background": (300.0, 300.0), "signal": (50.0, 50.0)},
}
"""Families with small instances, for what is the same for all of them."""


@pytest.mark.parametrize("family", shipped_tasks())
def test_the_manifest_lists_the_files_as_they_are(family: str, made: MadeBy) -> None:
    instance = made(family)
    files = instance.manifest["files"]
    assert {path.name for path in instance.folder.iterdir()} == {"manifest.json", *(file["name"] for file in files)}
    for file in files:
        content = (instance.folder / file["name"]).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert file["name"] in instance.hidden.files[file["role"]]
    assert instance.manifest["public"]["generator_version"] == VERSION


@pytest.mark.parametrize("family", shipped_tasks())
def test_nothing_hidden_stands_in_the_manifest(family: str, made: MadeBy) -> None:
    instance = made(family)
    hidden, manifest = instance.hidden, instance.manifest
    output = set(manifest["public"]) | {name.removesuffix("_fb") for name in manifest["public"]}
    secret = {**hidden.parameters, **hidden.truth}
    numbers = np.array([number for number in _numbers(manifest) if number == number and number])
    for name, value in secret.items():
        # Small whole numbers, such as that of the dialect, stand everywhere.
        if name in output or float(value).is_integer():
            continue
        assert not np.isclose(numbers, value, rtol=1e-4).any(), name
        assert not np.isclose(numbers, value * 1000, rtol=1e-4).any(), name
    text = json.dumps(manifest)
    assert not [name for name in (*hidden.truth, "dialect", "energy_unit", "hidden") if f'"{name}"' in text]


@pytest.mark.parametrize("family", shipped_tasks())
def test_files_have_the_columns_that_hidden_names(family: str, made: MadeBy) -> None:
    instance = made(family)
    columns = set(instance.hidden.columns.values())
    found: set[str] = set()
    for role, names in instance.hidden.files.items():
        if not names[0].endswith(".root"):
            continue
        tree = instance.tree(role)
        found |= set(tree.keys())
        assert set(tree.keys()) <= columns if family == "gluon_fraction" else set(tree.keys()) == columns
        assert tree.num_entries == next(f["n_events"] for f in instance.manifest["files"] if f["name"] == names[0])
    assert found in (set(), columns)


@pytest.mark.parametrize("family", [*sorted(FEW), "operations"])
def test_the_same_seed_gives_the_same_files(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the time, nor the process, nor the folder is in a file."""
    first = make(family, 5, tmp_path / "a", FEW.get(family))

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2031, 5, 7, 11, 13, 17)

    monkeypatch.setattr("datetime.datetime", Later)
    monkeypatch.setattr("os.getpid", lambda: 1)
    again = make(family, 5, tmp_path / "a much longer name", FEW.get(family))
    names = sorted(path.name for path in first.folder.iterdir())
    assert names == sorted(path.name for path in again.folder.iterdir())
    for name in names:
        assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes(), name
    other = make(family, 6, tmp_path / "b", FEW.get(family))
    assert other.hidden.truth != first.hidden.truth
    assert other.manifest["files"] != first.manifest["files"]


@pytest.mark.parametrize("number", range(len(DIALECTS)))
def test_each_dialect_can_be_read(number: int, tmp_path: Path) -> None:
    instance = make("zmumu", 3, tmp_path, {**FEW["zmumu"], "dialect": (number, number), "mev": (1, 1)})
    columns = instance.columns()
    assert set(columns) == set(instance.hidden.columns)
    assert len(set(instance.hidden.columns.values())) == len(columns)
    pt = np.concatenate(columns["lep_pt"].tolist())
    assert instance.hidden.energy_unit == 0.001
    assert 25 < np.median(pt) < 60  # GeV, of half a Z boson
    assert set(np.concatenate(columns["lep_type"].tolist())) == {11, 13}
    assert columns["lep_n"].tolist() == [len(item) for item in columns["lep_pt"].tolist()]


def test_parameters_can_be_set_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    instance = make("zmumu", 3, tmp_path, {**FEW["zmumu"], "mass": (90.0, 90.0)})
    assert instance.hidden.truth["mass"] == 90.0
    with pytest.raises(UnknownNameError, match="did you mean 'mass'"):
        make("zmumu", 3, tmp_path, {"mas": (1.0, 2.0), **FEW["zmumu"]})
    with pytest.raises(ConfigError, match="low <= high"):
        make("zmumu", 3, tmp_path, {"mass": (2.0, 1.0)})
    with pytest.raises(UnknownNameError, match="did you mean 'zmumu'"):
        make("zmumuu", 3, tmp_path)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


AT_ONCE = """
import sys, threading
from pathlib import Path
from tests.analysisops.samples.reading import make

few = {"resonances": (300.0, 300.0)}
threads = [
    threading.Thread(target=make, args=("zmumu", seed, Path(sys.argv[1]) / str(seed), few)) for seed in (1, 2, 3, 4)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_four_instances_are_made_at_once(tmp_path: Path) -> None:
    """In a process of their own: what hangs is the first use of Pythia in a process, by several threads."""
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", AT_ONCE, str(tmp_path)], cwd=root, check=True, timeout=60)
    for seed in (1, 2, 3, 4):
        alone = make("zmumu", seed, tmp_path / f"alone {seed}", {"resonances": (300.0, 300.0)}).folder
        assert (tmp_path / str(seed) / "data" / "data.root").read_bytes() == (alone / "data.root").read_bytes()
