from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe.errors import ConfigError, FileError
from beampipe.workflow import EventLog, Input, Recipe, Store
from tests.workflow.conftest import ROOT
from tests.workflow.toys import make_part, recipes

RECIPE = Recipe("fill", "code", {"cut": 1.5}, (Input("events", "ab", "events.root"),), label="dijet 1/3")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", log=EventLog(tmp_path / "events.jsonl"))


def payload(path: Path) -> None:
    path.write_bytes(b"payload")


def files(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.rglob("*") if path.is_file())


def events(store: Store) -> list[object]:
    assert store.log is not None
    return [event["event"] for event in store.log.read()]


def test_what_is_written_is_found_and_says_what_it_is(store: Store) -> None:
    assert store.find(RECIPE) is None
    assert store.load(RECIPE) is None
    artifact = store.write(RECIPE, ".npz", payload, seconds=3.0, notes={"jets": 7})
    assert store.find(RECIPE) == artifact
    assert store.load(RECIPE) == artifact.path == store.root / "fill" / RECIPE.key[:1] / f"{RECIPE.key}.npz"
    assert artifact.size == 7
    assert artifact.seconds >= 3.0
    about = store.about(RECIPE.key)
    assert about["inputs"] == [{"name": "events", "key": "ab", "label": "events.root"}]
    assert about["parameters"] == {"cut": 1.5}
    assert about["notes"] == {"jets": 7}
    assert about["label"] == "dijet 1/3"
    assert set(about["versions"]) == {"python", "beampipe", "numpy"}
    assert files(store) == [f"{RECIPE.key}.about.json", f"{RECIPE.key}.npz"]


def test_require_says_what_to_run(store: Store) -> None:
    with pytest.raises(FileError, match=r"fill of dijet 1/3 is not in .*; run: beampipe fill"):
        store.require(RECIPE, "beampipe fill")
    with pytest.raises(FileError, match=r"fill of dijet 1/3 is not in .* the command that reads it makes it") as caught:
        store.require(RECIPE)
    assert (caught.value.path, caught.value.name) == (store.root, RECIPE.key)


def test_an_artifact_of_another_recipe_under_this_name_is_not_used(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """As after copying or renaming files: with its sidecar, or with that of this recipe."""
    other = Recipe("fill", "code", "other", label="dijet 2/3")
    path = store.write(other, ".bin", lambda part: part.write_bytes(b"other")).path
    folder = store.root / "fill" / RECIPE.key[0]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder / f"{RECIPE.key}.bin")
    about = json.loads(path.with_name(f"{other.key}.about.json").read_text())
    for changes in ({}, {"file": f"{RECIPE.key}.bin"}, {"key": RECIPE.key}, {"key": RECIPE.key, "file": "../secret"}):
        (folder / f"{RECIPE.key}.about.json").write_text(json.dumps({**about, **changes}))
        assert store.find(RECIPE) is None
        assert "it is that of 'dijet 2/3'" in caplog.text
        caplog.clear()
    assert store.load(other) == path
    assert store.get(RECIPE, ".bin", payload).read_bytes() != b"other"
    for text in ("[]", "3", "{", '{"file": "x"}'):
        (folder / f"{RECIPE.key}.about.json").write_text(text)
        assert store.load(RECIPE) is None
        assert store.read(RECIPE) is None


def test_a_write_that_raises_leaves_nothing(store: Store) -> None:
    def torn(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(RECIPE, ".bin", torn)
    assert files(store) == []
    with pytest.raises(FileError, match="nothing was written"):
        store.write(RECIPE, ".bin", lambda path: None)
    assert store.find(RECIPE) is None
    with pytest.raises(ConfigError, match="suffix"):
        store.write(RECIPE, "bin", payload)


def test_a_payload_without_its_sidecar_does_not_count(store: Store) -> None:
    artifact = store.write(RECIPE, ".bin", payload)
    sidecar = artifact.path.with_name(f"{RECIPE.key}.about.json")
    text = sidecar.read_text()
    for torn in ("", text[: len(text) // 2], text.replace('"digest"', '"sha256"')):
        sidecar.write_text(torn)
        assert store.find(RECIPE) is None
        assert store.load(RECIPE) is None
        assert store.get(RECIPE, ".bin", payload) == artifact.path
        assert store.find(RECIPE) is not None
    sidecar.unlink()
    assert store.find(RECIPE) is None
    assert store.get(RECIPE, ".bin", payload) == artifact.path


@pytest.mark.parametrize("damage", [b"payloae", b"payl", b""])
def test_a_damaged_payload_is_moved_aside_and_made_again(
    store: Store, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = store.write(RECIPE, ".bin", payload).path
    path.write_bytes(damage)
    assert (store.find(RECIPE) is None) == (len(damage) != 7)
    with caplog.at_level(logging.WARNING):
        assert store.get(RECIPE, ".bin", payload).read_bytes() == b"payload"
    assert "contents differ" in caplog.text
    assert path.with_name(f"{path.name}.damaged").read_bytes() == damage
    assert events(store) == ["done", "damaged", "start", "done"]


def test_a_killed_writer_leaves_no_artifact_and_sweep_removes_the_rest(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path; from beampipe.workflow import Store; from tests.workflow import toys\n"
        "toys.make_part(Store(Path(sys.argv[1])), toys.recipes(1)[0][0], 600.0)"
    )
    command = [sys.executable, "-c", code, str(store.root)]
    writer = subprocess.Popen(command, cwd=ROOT)
    parts = store.root / ".parts"
    while not [path for path in (parts.iterdir() if parts.is_dir() else ()) if path.stat().st_size]:
        assert writer.poll() is None
    assert store.sweep() == 0, "its writer lives"
    writer.kill()
    writer.wait()
    recipe = recipes(1)[0][0]
    assert store.find(recipe) is None
    assert store.sweep() == 1
    assert files(store) == []
    assert make_part(store, recipe, 0.0) == f"{recipe.key}.bin"


def test_what_another_machine_left_is_removed_when_it_is_old(store: Store) -> None:
    part = store.root / ".parts" / "00000000.1-12-34-0.bin"
    part.parent.mkdir(parents=True)
    part.touch()
    assert store.sweep() == 0
    os.utime(part, (0, 0))
    assert store.sweep() == 1


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_costs_nothing_that_was_finished(tiny_disk: Path) -> None:
    store = Store(tiny_disk / "store")
    kept = [Recipe("fill", "code", number) for number in range(2)]
    for recipe in kept:
        store.write(recipe, ".bin", payload)
    with pytest.raises(FileError, match=r"writing fill of dijet 1/3: 2 artifacts .* needs at least"):
        store.write(RECIPE, ".bin", lambda path: path.write_bytes(bytes(1 << 20)))
    assert all(store.load(recipe) for recipe in kept)
    assert store.find(RECIPE) is None
    assert list((store.root / ".parts").iterdir()) == []
    store.write(RECIPE, ".bin", payload)  # there is room again


def test_provenance_goes_down_to_files(store: Store) -> None:
    events_file = "e" * 64
    left = Recipe("fill", "code", "left", (Input("events", events_file, "events.root"),), label="left")
    right = Recipe("fill", "code", "right", (Input("events", events_file, "events.root"),), label="right")
    lost = Recipe("fill", "code", "lost", label="lost")
    top = Recipe("merge", "code", None, (Input("a", left.key), Input("b", right.key), Input("c", lost.key, "lost")))
    for recipe in (left, right, top):
        store.write(recipe, ".bin", payload)
    root = store.walk(top.key)
    assert root.about is not None
    assert root.about["stage"] == "merge"
    assert [(each.name, each.label) for each in root.inputs] == [("a", "left"), ("b", "right"), ("c", "lost")]
    assert root.inputs[2].about is None
    file = root.inputs[0].inputs[0]
    assert (file.name, file.key, file.label, file.about) == ("events", events_file, "events.root", None)


def test_a_ladder_of_diamonds_is_walked_in_no_time(store: Store) -> None:
    below = Recipe("rung", "code", 0)
    store.write(below, ".bin", payload)
    for number in range(1, 40):
        rung = Recipe("rung", "code", number, (Input("a", below.key), Input("b", below.key)))
        store.write(rung, ".bin", payload)
        below = rung
    depth, node = 0, store.walk(below.key)
    while node.inputs:
        depth, node = depth + 1, node.inputs[1]
    assert depth == 39


def test_a_key_that_is_no_key_is_refused(store: Store) -> None:
    for key in ("zz", RECIPE.key):
        with pytest.raises(FileError, match=f"there is no artifact '{key}'"):
            store.about(key)


def test_a_log_survives_a_torn_line(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "deep" / "events.jsonl")
    assert list(log.read()) == []
    log.write("start", stage="fill", key="ab", label="x", seconds=1.5)
    with log.path.open("a") as stream:
        stream.write('{"time": 12, "ev\n')
    log.write("done")
    first, second = log.read()
    assert first["event"] == "start"
    assert first["seconds"] == 1.5
    assert first["pid"] == os.getpid()
    assert second["event"] == "done"
    assert json.loads(log.path.read_text().splitlines()[0]) == first


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Recipe("fill", "code", {"cut": 1.5}, (Input("events", "ab", "elsewhere"),), label="x"), True),
        (Recipe("fill", "code", {"cut": 1.6}, RECIPE.inputs), False),
        (Recipe("fill", "other", {"cut": 1.5}, RECIPE.inputs), False),
        (Recipe("full", "code", {"cut": 1.5}, RECIPE.inputs), False),
        (Recipe("fill", "code", {"cut": 1.5}, (Input("events", "ac"),)), False),
        (Recipe("fill", "code", {"cut": 1.5}, (Input("weights", "ab"),)), False),
    ],
)
def test_labels_are_no_part_of_the_key_and_all_else_is(other: Recipe, same: bool) -> None:
    assert (other.key == RECIPE.key) == same


@pytest.mark.parametrize("stage", ["", "../x", "a/b", "A", ".parts"])
def test_a_stage_is_a_plain_name(stage: str) -> None:
    with pytest.raises(ConfigError, match="stage: got"):
        Recipe(stage, "code")


def test_a_recipe_is_called_by_its_label_or_its_key() -> None:
    assert str(RECIPE) == "fill of dijet 1/3"
    assert str(Recipe("fill", "code")) == f"fill of {Recipe('fill', 'code').key}"


def test_contents_are_verified(store: Store) -> None:
    assert store.read(RECIPE) is None
    path = store.write(RECIPE, ".bin", payload).path
    assert store.read(RECIPE) == b"payload"
    path.write_bytes(b"paylaod")
    assert store.read(RECIPE) is None
    assert path.with_name(f"{path.name}.damaged").read_bytes() == b"paylaod"
    assert store.read(RECIPE) is None
    assert events(store) == ["done", "damaged"]
