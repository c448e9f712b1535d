"""The parts of the native pipelines against Python: cuts, coordinates, packing, JSON, weight files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save

from beampipe.errors import ConfigError, FileError, NotFiniteError
from beampipe.events import Hits
from beampipe.tracking.catalogue import PIPELINES
from beampipe.tracking.kernels import _native, logit_of, sigmoid
from beampipe.tracking.loading import DEFAULT_MODEL_FOLDER
from beampipe.tracking.pipeline import wrap_phi

from ..unchecked import unchecked

SPEC = PIPELINES["exatrkx"].to_json()
CUTS = [0.0, 1e-300, 1e-45, 1e-6, 0.0002147827617591247, 0.1, 0.25, 0.5, 0.7, 0.9, 0.999, 1 - 1e-7, 1 - 1e-12, 1.0]


@pytest.mark.parametrize("cut", [*CUTS, *np.random.default_rng(0).uniform(0, 1, 6).tolist()])
def test_a_cut_on_the_logit_decides_as_the_cut_on_the_score(cut: float) -> None:
    lowest = np.float32(_native.lowest_logit(cut))
    near = [lowest]
    for _ in range(200):
        near = [np.nextafter(near[0], np.float32(-np.inf)), *near, np.nextafter(near[-1], np.float32(np.inf))]
    special = [np.nan, np.inf, -np.inf, 0, -0.0, 1e-45, 88, -88, 104, -104, 746, -746, 1e38, -1e38]
    rng = np.random.default_rng(1)
    any_bits = rng.integers(0, 2**32, 100_000, np.uint32).view(np.float32)
    any_bits[np.isnan(any_bits)] = np.nan  # numpy warns of signalling ones
    spread = rng.normal(lowest if np.isfinite(lowest) else 0, 5, 100_000).astype(np.float32)
    logit = np.concatenate([np.array(near, np.float32), np.array(special, np.float32), spread, any_bits])
    kept = sigmoid(logit) >= cut
    assert kept.any()
    assert not kept.all()
    np.testing.assert_array_equal(logit >= lowest, kept)


def test_the_logit_of_a_cut_is_that_of_python() -> None:
    rng = np.random.default_rng(0)
    for cut in [*CUTS, -1.0, 2.0, *rng.uniform(0, 1, 5000), *10 ** rng.uniform(-12, 0, 5000)]:
        assert np.float32(_native.logit_of(cut)).tobytes() == logit_of(cut).tobytes()


def any_position(seed: int, n: int = 20_000) -> ndarray:
    """(n, 3) finite float32 of all sizes, phi close to the ends of its range among them."""
    rng = np.random.default_rng(seed)
    position = rng.integers(0, 2**32, (n, 3), np.uint32).view(np.float32)
    position[~np.isfinite(position)] = 0
    some = rng.choice([np.pi, -np.pi, 3 * np.pi, 0.0, -0.0, 2 * np.pi, 1e6], n // 2)
    position[: n // 2, 1] = np.float32(some) + rng.integers(-3, 4, n // 2).astype(np.float32) * np.float32(2e-7)
    return position


@pytest.mark.parametrize("seed", range(3))
def test_phi_is_turned_to_the_last_bit(seed: int) -> None:
    position = any_position(seed)
    outside = (np.abs(position[:, 1]) > np.float32(np.pi)).mean()
    assert 0.2 < outside < 0.8
    assert _native.turned(position).tobytes() == wrap_phi(position).tobytes()


@pytest.mark.parametrize("row", [0, 5, 99])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_hits_that_are_no_numbers_are_refused_with_the_same_words(row: int, bad: float) -> None:
    rng = np.random.default_rng(row)
    for column in range(3):
        position = any_position(int(rng.integers(1000)), 100)
        position[row] = rng.choice([0.1, 1e16, 123456789e8, 1e-5, 1e-4, -0.0, 7, 3.4e38, 1e-45, 5e15], 3)
        position[row, column] = bad
        position[row + 1 :] = np.nan
        with pytest.raises(NotFiniteError) as expected:
            unchecked(Hits, position=position)
        with pytest.raises(NotFiniteError) as result:
            _native.require_finite(position)
        assert str(result.value) == str(expected.value)
    _native.require_finite(np.nan_to_num(any_position(1)))


# ---- JSON ----


def native(spec: str, weights: Path = DEFAULT_MODEL_FOLDER) -> Any:
    return _native.TrackFinder(spec, str(weights))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "json: got the end at byte 0, expected a value"),
        ("[" * 200_000, "arrays and objects at most 64 deep"),
        ('{"a":' * 200_000, "arrays and objects at most 64 deep"),
        ("[]", "json: got an array, expected an object"),
        ("{}", "json: got no key 'name', expected it"),
        ('{"name": 3}', "name: got a number, expected a text"),
        ('{"name": "x", "name": "y"}', "each key once, not 'name' again"),
        ('{"name": "x"', "got the end at byte 12, expected '}'"),
        ('{"name": "x"} x', "expected the end"),
        ('{"name": "\n"}', "expected the end of a text"),
        ('{"name": "\\ud800"}', "expected a pair of surrogates"),
        ('{"name": 01}', "expected a value"),
        ('{"name": 1e999}', "expected a number that fits in 64 bits"),
        (SPEC.replace('"min_hits": 5', '"min_hits": 5.5'), "min_hits: got another number, expected a whole one"),
        (SPEC.replace('"min_hits": 5', '"min_hits": -1'), "pipeline exatrkx: got min_hits -1, expected"),
        (
            SPEC.replace('"neighbours"', '"near"'),
            "pipeline exatrkx: got graph 'near', expected neighbours, windows or both",
        ),
        (SPEC.replace('"components"', '"all"'), "got segmentation 'all', expected components or walk"),
        (SPEC.replace('"networks": "exatrkx"', '"networks": null'), "got no networks, expected the weight file"),
        (
            SPEC.replace('"curvature_from": 0.0', '"curvature_from": 1.0'),
            "got another curvature_from, expected a share from 0 to below curvature",
        ),
        (SPEC.replace('"seed_depth": 5', '"seed_depth": -1'), "pipeline exatrkx: got seed_depth -1, expected"),
        (
            SPEC.replace('"curvature": 1.0', '"curvature": 2.5'),
            "got another curvature, expected a factor above 0, up to 2",
        ),
        (SPEC.replace('"after": null', '"after": {}'), "got no key 'name', expected it"),
        (SPEC.replace('"scored": true', '"scored": false'), "got components of edges without a score"),
    ],
)
def test_a_wrong_spec_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        native(spec)
    assert message in str(error.value)


def test_what_is_read_of_damaged_json_is_what_python_reads() -> None:
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(1000):
        damaged = bytearray(SPEC.encode())
        for _ in range(int(rng.integers(1, 3))):
            damaged[int(rng.integers(len(damaged)))] = int(
                rng.choice(bytearray(b'0123456789{}[]",:.-+eE\\ux \x00\xff'))
            )
        try:
            text = damaged.decode()
            name = native(text).name
        except (ConfigError, FileError, UnicodeDecodeError):
            continue
        read += 1
        assert name == json.loads(text)["name"]
    assert 30 < read < 970


# ---- weight files ----


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The weights of exatrkx, to be damaged."""
    for stem in ("exatrkx", "module_map"):
        for suffix in (".safetensors", ".json"):
            shutil.copy(DEFAULT_MODEL_FOLDER / (stem + suffix), tmp_path)
    return tmp_path


def damaged_header(change: Callable[[dict[str, Any]], object], content: bytes) -> bytes:
    """A safetensors file with its header changed."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["layers"].update(shape=[2**62, 4]), "an impossible shape of layers"),
        (lambda h: h["layers"].update(shape=[-48, -4]), "an impossible shape of layers"),
        (lambda h: h["layers"].update(shape=[48, 5]), "bytes of layers, expected as many as its shape needs"),
        (lambda h: h["layers"].update(data_offsets=[0, 2**62]), "offsets of layers outside the file"),
        (lambda h: h["layers"].update(data_offsets=[0]), "got 1 offsets of layers"),
        (lambda h: h["layers"].update(dtype="F33"), "got dtype F33 of layers"),
        (lambda h: h["layers"].pop("dtype"), "a damaged header"),
        (lambda h: h.pop("pairs"), "got no tensor pairs"),
    ],
)
def test_a_wrong_header_is_refused(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    path = folder / "module_map.safetensors"
    path.write_bytes(damaged_header(change, path.read_bytes()))
    with pytest.raises(FileError) as error:
        native(SPEC, folder)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"1234567", b"\xff" * 8, b"\xff" * 100, (10**6).to_bytes(8, "little") + b"{}"]
)
def test_what_is_no_weight_file_is_refused(folder: Path, content: bytes) -> None:
    (folder / "exatrkx.safetensors").write_bytes(content)
    with pytest.raises(FileError, match=r"exatrkx\.safetensors: got"):
        native(SPEC, folder)


def test_missing_files_are_refused(folder: Path) -> None:
    (folder / "exatrkx.json").unlink()
    with pytest.raises(FileError, match=r"exatrkx\.json: got no readable file"):
        native(SPEC, folder)
    (folder / "exatrkx.safetensors").unlink()
    with pytest.raises(FileError, match=r"exatrkx\.safetensors: got no readable file"):
        native(SPEC, folder)


def test_a_file_cut_anywhere_is_refused(folder: Path) -> None:
    path = folder / "module_map.safetensors"
    content = path.read_bytes()
    for size in np.linspace(0, len(content) - 1, 100).astype(int):
        path.write_bytes(content[:size])
        with pytest.raises(FileError):
            native(SPEC, folder)


def test_damaged_windows_are_refused_or_the_tables_that_python_reads(folder: Path) -> None:
    path, rng = folder / "module_map.safetensors", np.random.default_rng(0)
    content = path.read_bytes()
    header = int.from_bytes(content[:8], "little") + 8
    read = 0
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[int(rng.integers(header))] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            native(PIPELINES["module_map"].to_json(), folder)
        except (ConfigError, FileError):
            continue
        read += 1
        try:
            assert "pairs" in load(bytes(damaged))
        except SafetensorError as error:  # stricter: no holes between tensors
            assert "header" in str(error).lower()  # noqa: PT017
    assert 0 < read < 900


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "embedding.0.weight",
            np.zeros((64, 6), np.float32),
            "embedding: got 6 inputs and 16 outputs, expected 5 and 16",
        ),
        ("embedding.0.weight", np.zeros((64, 5), np.float64), "got F64 of shape (64, 5), expected F32"),
        (
            "embedding.0.bias",
            np.zeros(63, np.float32),
            "embedding.0.bias: got F32 of shape (63), expected F32 of shape (64)",
        ),
        ("embedding.1.weight", np.zeros((64, 32), np.float32), "got 32 inputs of layer 1, expected 64"),
        ("filter.1.weight", np.zeros((1, 32), np.float32), "filter: got 32 inputs of layer 1"),
        (
            "gnn.edge_encoder.0.weight",
            np.zeros((32, 7), np.float32),
            "gnn.edge_encoder: got 7 inputs, expected 6 or 12",
        ),
        (
            "gnn.node.1.0.weight",
            np.zeros((32, 64), np.float32),
            "gnn.node.1: got widths (64, 32, 32), expected (96, 32, 32)",
        ),
        ("gnn.classifier.x.weight", np.zeros(1, np.float32), "got 'x', expected the number of a layer"),
    ],
)
def test_networks_of_other_sizes_are_refused(folder: Path, name: str, tensor: ndarray, message: str) -> None:
    path = folder / "exatrkx.safetensors"
    path.write_bytes(save(load_file(path) | {name: tensor}))
    with pytest.raises(ConfigError) as error:
        native(SPEC, folder)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gnn_steps", 4, "gnn_steps: got 4 in the card, expected 3 as in the weights"),
        ("filter_hidden", 32, "filter_hidden: got 32 in the card, expected 64"),
        ("pair_features", False, "pair_features: got another value"),
        ("radius", 0, "radius: got 0.000000, expected a number above 0"),
        ("score_cut", 1.5, "score_cut: got 1.500000, expected a number in [0, 1]"),
        ("kappa_max", float("nan"), "kappa_max: got nan, expected a number above 0"),
        ("max_neighbours", 2.5, "max_neighbours: got another number, expected a whole one"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder: Path, key: str, value: object, message: str) -> None:
    path = folder / "exatrkx.json"
    card = json.loads(path.read_text())
    card["config"][key] = value
    path.write_text(json.dumps(card))
    with pytest.raises(ConfigError) as error:
        native(SPEC, folder)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("table", "at", "value", "message"),
    [
        ("pairs", (3, 1), 48, "got layer 48 in pairs, expected one of the 48 layers"),
        ("pairs", (3, 0), 40, "got pair 3 in the place of another"),
        ("out_begin", (2,), 10**6, "got an impossible out_begin of layer 1"),
        ("out_begin", (0,), -1, "got an impossible out_begin of layer 0"),
    ],
)
def test_windows_that_do_not_fit_are_refused(
    folder: Path, table: str, at: tuple[int, ...], value: int, message: str
) -> None:
    path = folder / "module_map.safetensors"
    tables = load_file(path)
    tables[table][at] = value
    path.write_bytes(save(tables))
    with pytest.raises(ConfigError) as error:
        native(SPEC, folder)
    assert message in str(error.value)
