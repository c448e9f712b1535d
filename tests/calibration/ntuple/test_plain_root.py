"""Plain trees as this package reads them against uproot: what a file says of itself, and its numbers."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import zstandard

from beampipe.calibration.layout import BEAMPIPE
from beampipe.calibration.ntuple.columns import EventSource, jet_stream, open_source, weight_stream
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.calibration.ntuple.root_files import PlainBranch, PlainTree, first_lists, open_root, unpack_into
from beampipe.errors import FileError
from beampipe.simulation.ntuples import simulate_toy, toy_events, write_ntuple
from tests.calibration.rootfiles import bookkeeping_of

FOREIGN = Path(__file__).parents[1] / "foreign"
PACKED = {"none": None, "zstd": uproot.ZSTD(5), "zlib": uproot.ZLIB(4), "lz4": uproot.LZ4(4), "lzma": uproot.LZMA(1)}


def add(file: Any, name: str, table: dict[str, Any], *, new: bool = True) -> None:
    """Add entries to a tree, as one basket."""
    if new:
        kinds = {
            key: np.dtype((each.dtype, each.shape[1:])) if isinstance(each, np.ndarray) else each.type.content
            for key, each in table.items()
        }
        file.mktree(name, kinds)
    file[name].extend(table)


def write(path: Path, packed: Any, n: int = 1000) -> Path:
    """A file of all types, in three baskets, beside a tree with texts."""
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 6, n)
    types = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
    with uproot.recreate(path, compression=packed) as file:
        for part in range(3):
            flat = {f"one_{kind}": rng.integers(0, 2**7, n).astype(kind) for kind in types}
            many = {kind: ak.unflatten(rng.normal(40, 9, counts.sum()).astype(kind), counts) for kind in types}
            table = {**flat, "many": ak.zip(many), "row": rng.normal(size=(n, 3))}
            for name in ("events", "dir_of/events"):
                add(file, name, table, new=part == 0)
        texts = {"short": ak.Array(["a", "", "ä" * 300]), "sums": ak.Array([[1.0, 2.0], [], [3.0]])}
        add(file, "texts", {**texts, "number": np.arange(3)})
    return path


def same_tree(plain: Any, slow: Any) -> int:
    """Compare all that is asked of a tree; gives how many of its branches were read here."""
    assert isinstance(plain, PlainTree)
    assert plain.keys() == slow.keys()
    assert plain.num_entries == slow.num_entries
    assert plain.common_entry_offsets() == list(slow.common_entry_offsets())
    n = 0
    for name in slow.keys():  # noqa: SIM118 - a tree
        mine, theirs = plain[name], slow[name]
        assert mine.typename == theirs.typename
        assert (list(mine.entry_offsets), mine.num_baskets) == (list(theirs.entry_offsets), theirs.num_baskets)
        kinds = mine.interpretation, theirs.interpretation
        assert hasattr(kinds[0], "content") == hasattr(kinds[1], "content")
        results = [getattr(getattr(kind, "content", kind), "from_dtype", None) for kind in kinds]
        assert results[0] == results[1]
        n += mine._facts.stored is not None
    return n


def same_array(one: Any, other: Any) -> None:
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    if one.dtype != object:
        np.testing.assert_array_equal(one, other)
    elif isinstance(other[0], str):
        assert one.tolist() == other.tolist()
    else:
        assert [len(each) for each in one] == [len(each) for each in other]
        same_array(np.concatenate(one), np.concatenate(other))


@pytest.mark.parametrize("packed", PACKED)
def test_a_file_is_what_uproot_says(packed: str, tmp_path: Path) -> None:
    path = write(tmp_path / "plain.root", PACKED[packed])
    with uproot.open(path) as slow, open_root(path) as file:
        assert file.keys(recursive=False) == slow.keys(recursive=False)
        assert (file.keys(), list(file)) == (slow.keys(), list(slow))
        assert "events" in file
        assert "dir_of/events" in file
        assert "others" not in file
        assert not isinstance(file["dir_of/events"], PlainTree)
        assert same_tree(file["texts"], slow["texts"]) == 3
        for name in slow["texts"].keys():  # noqa: SIM118 - a tree
            same_array(file["texts"][name].array(library="np"), slow["texts"][name].array(library="np"))
        plain, tree = file["events"], slow["events"]
        assert same_tree(plain, tree) == 23
        for name, branch in tree.items():
            whole = branch.array(library="np")
            same_array(plain[name].array(library="np"), whole)
            if whole.dtype != object:
                same_array(plain[name].array(900, 2100, library="np"), whole[900:2100])
            assert ak.array_equal(plain[name].array(), branch.array())
            lists = first_lists(plain[name], 300)
            assert (lists is not None) == (name.startswith("many_"))
            if lists is not None:
                np.testing.assert_array_equal(np.diff(lists.offsets), [len(each) for each in whole[:300]])
                np.testing.assert_array_equal(lists.numbers, np.concatenate(whole[:300]))
            assert first_lists(plain[name], 999) is None


@pytest.mark.parametrize("name", ["nano_tt_v15", "pfnano"])
def test_files_of_root_are_read_alike(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.root"
    path.write_bytes(lzma.decompress((FOREIGN / f"{name}.root.xz").read_bytes()))
    with uproot.open(path) as slow, open_root(path) as file:
        assert file.keys(recursive=False) == slow.keys(recursive=False)
        assert same_tree(file["Events"], slow["Events"]) > 1500
        kinds = [type(slow[key.split(";")[0]]).__name__ for key in slow.keys(recursive=False)]
        assert set(kinds) <= {"Model_TTree_v20", "Model_TObjString"}
        n = 0
        for column in ("run", "event", "nJet", "Jet_pt", "Jet_nConstituents", "genWeight", "HLT_PFJet500"):
            try:
                whole = slow["Events"][column].array(library="np")
            except Exception:  # not among what is left of the file, which uproot says in many ways
                continue
            same_array(file["Events"][column].array(library="np"), whole)
            n += 1
        assert n >= 3


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of ours."""
    folder = tmp_path_factory.mktemp("toy")
    simulate_toy(folder, 12_000, files=3, n_weights=2, seed=3)
    return min(folder.glob("*.root"))


def test_a_plain_file_needs_no_uproot(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inspect_file(toy)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("uproot was asked")

    monkeypatch.setattr(uproot, "open", refuse)
    assert inspect_file(toy) == before


def bodies(path: Path) -> Iterator[int]:
    """Places of the bytes of the tree of events, and of the keys of the file."""
    with uproot.open(path) as file:
        key = file.key("events")
        yield from range(key.fSeekKey, key.fSeekKey + key.fNbytes)
        yield from range(120)


def said(path: Path) -> Any:
    """What is said of a damaged file."""
    try:
        with open_root(path) as file:
            tree = file["events"]
            result = {name: (tree[name].typename, list(tree[name].entry_offsets)) for name in tree.keys()}  # noqa: SIM118
            return tree.num_entries, result, isinstance(tree, PlainTree)
    except (FileError, KeyError, AssertionError) as error:
        return type(error)


def refuse(*_: Any) -> Any:
    """In place of the fast reader of a file: uproot opens it."""
    raise ValueError


def test_a_damaged_file_says_what_uproot_says_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "damaged.root"
    with uproot.recreate(path, compression=None) as file:
        add(file, "events", {"one": np.arange(5), "many": ak.Array([[1.5, 2.5], [], [3.5], [4.5], []])})
    content, rng = path.read_bytes(), np.random.default_rng(5)
    places = rng.permutation(list(bodies(path)))[:300]
    alike = plain = 0
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ int(rng.integers(1, 256))]) + content[place + 1 :])
        mine = said(path)
        with monkeypatch.context() as patch:
            patch.setattr("beampipe.calibration.ntuple.root_files.PlainFile", refuse)
            theirs = said(path)
        if isinstance(mine, tuple) and isinstance(theirs, tuple):
            assert mine[:2] == theirs[:2]
            alike += 1
            plain += mine[2]
    assert alike > 80
    assert plain > 50
    models = uproot.classes["TBranch"].known_versions.values()
    assert {model.__module__ for model in models} == {"uproot.models.TBranch"}, "damaged files change no later one"


def test_a_basket_behind_the_end_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.root", None)
    content = path.read_bytes()
    with open_root(path) as file:
        branch = file["events"]["one_float64"]
        assert isinstance(branch, PlainBranch)
        cut = branch._facts.seek[2] + 100
    with open_root(path) as file:
        branch = file["events"]["one_float64"]
        branch._data = content[:cut]
        with pytest.raises(ValueError, match="behind the end"):
            branch.array(library="np")


def test_a_checksum_is_checked_though_little_is_wanted() -> None:
    content = np.random.default_rng(2).integers(0, 9, 400_000, dtype=np.uint8).tobytes()
    for checked in (True, False):
        packed = zstandard.ZstdCompressor(write_checksum=checked).compress(content)
        head = b"ZS\x01" + len(packed).to_bytes(3, "little") + len(content).to_bytes(3, "little")
        out = bytearray(len(content))
        unpack_into(memoryview(head + packed), memoryview(out), 1000)
        assert out[:1000] == content[:1000]
        assert (out == content) == checked
        wrong = packed[:-1] + bytes([packed[-1] ^ 1])
        if checked:
            with pytest.raises(zstandard.ZstdError):
                unpack_into(memoryview(head + wrong), memoryview(out), 1000)
        else:
            unpack_into(memoryview(head + wrong), memoryview(out), 1000)


N = 100_000
pytest.importorskip("beampipe.calibration.kernels._native", exc_type=ImportError)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of several baskets."""
    path = tmp_path_factory.mktemp("streams") / "toy.root"
    events = toy_events(N, 7, n_weights=3)
    write_ntuple(path, events, bookkeeping_of(events))
    return path


def pieces(source: EventSource) -> list[tuple[int, bool]]:
    """End of each piece of pseudorapidities, and whether it has the same offsets as that of pT; all compared."""
    pt = jet_stream(source, "jet_pt", "float32")
    eta = jet_stream(source, "jet_eta", "float32", pt)
    assert pt is not None
    assert eta is not None
    (offsets, _), wanted = source.whole_column("jet_pt"), source.whole_column("jet_eta")
    at, result, counts, numbers = 0, [], [], []
    while at < source.stop - source.start:
        pt.reach(at)
        eta.reach(at)
        numbers.append(eta.piece.numbers.copy())
        counts.append(np.diff(eta.piece.offsets))
        at = eta.piece.stop
        result.append((at, eta.piece.offsets is pt.piece.offsets))
    np.testing.assert_array_equal(np.concatenate(counts), offsets)
    np.testing.assert_array_equal(np.concatenate(counts), wanted[0])
    np.testing.assert_array_equal(np.concatenate(numbers), wanted[1])
    return result


def test_columns_of_other_lengths_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_source(path, BEAMPIPE, 0, N) as source:
        eta = source.tree["jet_eta"]
        assert isinstance(eta, PlainBranch)
        weight = source.tree["weight"]
        assert [piece.content.shape[1] for piece in weight_stream(source).pieces] == [3] * weight.num_baskets
        # As if each basket of eta held the weights.
        monkeypatch.setattr(eta, "packed", weight.packed)
        with pytest.raises(ValueError, match="not as many numbers"):
            pieces(source)
        monkeypatch.setattr(weight, "counter", source.tree["njet"])
        with pytest.raises(ValueError, match="different numbers of weights"):
            list(weight_stream(source).pieces)
