"""Boosted trees of a LightGBM model, as the compiled loop of the calibration scores them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64, UInt32
from beampipe.errors import FileError
from beampipe.jets.substructure import JET_FEATURES

_COPY_AGAIN: Final = "copy or train it again: beampipe calibration train-tagger"


class BoostedTrees(NamedTuple):
    """Boosted trees as the compiled loop takes them.

    Attributes:
        n_nodes: number of nodes of each tree.
        feature: index of the feature of each node.
        threshold: threshold of each node; larger numbers go right.
        left: bits of the leaves left of each node, in the order of the leaves from left to right.
        leaves: (n_trees, 32) values of the leaves from left to right.
    """

    n_nodes: Int64[ndarray, " t"]
    feature: Int64[ndarray, " n"]
    threshold: Float32[ndarray, " n"]
    left: UInt32[ndarray, " n"]
    leaves: Float64[ndarray, "t 32"]


def read_trees(path: Path) -> BoostedTrees | None:
    """The trees of a model of `JET_FEATURES`; None for trees that the compiled loop cannot score.

    These have more than 32 leaves, linear leaves, categorical features or splits by missing values, or their scores are
    not the sigmoid of a sum, as in a regression or a random forest.

    Raises:
        FileError: the file cannot be read, has no trees, or a model of other features.
    """
    text = _model_text(path)
    stated = re.search(rb"^feature_names=(.*)$", text, re.MULTILINE)
    names = stated[1].decode(errors="replace").split() if stated else []
    if tuple(names) != JET_FEATURES:
        raise FileError(f"{path}: got features {names}, expected {list(JET_FEATURES)}", path=path)
    try:
        return _trees(text)
    except (KeyError, ValueError) as error:
        raise FileError(f"{path}: got no model of LightGBM ({error!r}); {_COPY_AGAIN}", path=path) from error


def _model_text(path: Path) -> bytes:
    """A model file, after a check of its stated sizes of trees: LightGBM aborts the process if they are wrong."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FileError(
            f"{path}: cannot be read ({error.strerror}); expected a model of LightGBM", path=path
        ) from error
    stated = re.search(rb"^tree_sizes=([\d ]*)$", text, re.MULTILINE)
    position = text.find(b"Tree=0\n")
    for number, size in enumerate(stated[1].split() if stated else ()):
        if position < 0 or not text.startswith(b"Tree=%d\n" % number, position):
            break
        position += int(size)
    if not stated or not text.startswith(b"end of trees", max(position, 0)):
        raise FileError(
            f"{path}: got no model of LightGBM (its trees are not as long as it states); {_COPY_AGAIN}", path=path
        )
    return text


def _trees(text: bytes) -> BoostedTrees | None:
    """The trees of a model, or None as `read_trees`; KeyError or ValueError if the text is damaged."""
    head, *blocks = re.split(rb"^Tree=\d+\n", text.partition(b"\nend of trees")[0], flags=re.MULTILINE)
    nodes: list[tuple[int, float, int]] = []
    n_nodes, leaves = [], np.zeros((len(blocks), 32))
    stated = set(head.splitlines())
    if not {b"objective=binary sigmoid:1", b"num_tree_per_iteration=1"} <= stated or b"average_output" in stated:
        return None
    for tree, block in enumerate(blocks):
        fields = dict(line.partition(b"=")[::2] for line in block.splitlines())
        feature, *children, kind = (
            [int(each) for each in fields.get(name, b"").split()]
            for name in (b"split_feature", b"left_child", b"right_child", b"decision_type")
        )
        values = [float(each) for each in fields[b"leaf_value"].split()]
        if fields[b"is_linear"] != b"0" or not {0, 2}.issuperset(kind) or len(values) > leaves.shape[1]:
            return None
        below = {~leaf: [leaf] for leaf in range(len(values))}  # leaves below each node, from left to right
        for node, (left, right) in reversed(list(enumerate(zip(*children, strict=True)))):
            below[node] = below[left] + below[right]  # children have higher numbers
        order = below[0 if feature else ~0]
        if sorted(order) != list(range(len(values))) or not set(feature) <= set(range(len(JET_FEATURES))):
            raise ValueError(f"tree {tree} has not each of its leaves once, or other features")
        bits = {leaf: 1 << number for number, leaf in enumerate(order)}
        lost = [sum(bits[leaf] for leaf in below[left]) for left in children[0]]
        thresholds = [float(each) for each in fields.get(b"threshold", b"").split()]
        nodes += zip(feature, thresholds, lost, strict=True)
        n_nodes.append(len(feature))
        leaves[tree, : len(order)] = [values[leaf] for leaf in order]
    features, thresholds, lost = map(list, zip(*nodes, strict=True)) if nodes else ([], [], [])
    exact = np.array(thresholds, np.float64)
    with np.errstate(over="ignore"):
        threshold = exact.astype(np.float32)
    # The largest number of 32 bits that is not above the threshold: comparisons have the same results.
    threshold = np.where(threshold > exact, np.nextafter(threshold, np.float32(-np.inf)), threshold)
    return BoostedTrees(
        np.array(n_nodes, np.int64), np.array(features, np.int64), threshold, np.array(lost, np.uint32), leaves
    )
