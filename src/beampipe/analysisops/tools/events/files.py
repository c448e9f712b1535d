"""Tools that say which data there are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from beampipe.analysisops.tools.bench import Bench
from beampipe.analysisops.tools.folder import DataFile
from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.errors import nearest

__all__ = ["inspect_root_schema_tool", "list_local_root_files_tool", "open_tree", "reading"]

_LOOKED_AT: Final = 20_000
"""So many events are looked at for the range of a branch."""


def list_local_root_files_tool(bench: Bench) -> Mapping[str, Any]:
    """List the data files: name, size in bytes, role (data, signal_mc, background_mc, ...) and what is known of each.

    Simulated samples may say cross_section_pb, sum_of_weights and luminosity_fb.
    """
    return {"files": [file.to_json() for file in bench.folder.files()], "public": bench.folder.public}


def inspect_root_schema_tool(bench: Bench, file_path: str, max_branches_per_tree: int = 200) -> Mapping[str, Any]:
    """Show trees and branches of a ROOT file, with type and range of the values; ranges tell MeV from GeV.

    Args:
        file_path: name of the file, as list_local_root_files_tool gives it.
        max_branches_per_tree: so many branches are shown at most.
    """
    file = bench.file(file_path)
    with reading(file) as root:
        trees = {}
        for name in sorted({key.split(";")[0] for key, kind in root.classnames().items() if kind == "TTree"}):
            bench.check_time()
            trees[name] = _tree(bench, root[name], max(0, max_branches_per_tree))
    return {"file": file.name, "trees": trees}


@contextmanager
def reading(file: DataFile) -> Iterator[Any]:
    """A ROOT file that is open for the length of a block.

    Raises:
        ToolRefusedError: it is no such file; the message does not tell where it is.
    """
    import uproot

    try:
        root = uproot.open(file.path)
    except (ValueError, OSError, KeyError) as error:
        raise ToolRefusedError(
            f"file {file.name}: got something that is no ROOT file, expected one"
            " (read_log_tool and query_metrics_tool read logs and metrics)"
        ) from error
    with root:
        yield root


def open_tree(root: Any, file: DataFile, name: str) -> Any:
    """A tree of an open file.

    Raises:
        ToolRefusedError: there is none of that name.
    """
    trees = sorted({key.split(";")[0] for key, kind in root.classnames().items() if kind == "TTree"})
    if name not in trees:
        raise ToolRefusedError(
            f"file {file.name}: got a tree {name!r}, expected one of {', '.join(trees) or 'none'}{nearest(name, trees)}"
        )
    return root[name]


def _tree(bench: Bench, tree: Any, most: int) -> dict[str, Any]:
    branches = {}
    for name in tree.keys()[:most]:
        bench.check_time()
        branches[name] = _branch(tree[name], tree.num_entries)
    return {"n_entries": int(tree.num_entries), "branches": branches, "truncated": len(tree.keys()) > most}


def _branch(branch: Any, n: int) -> dict[str, Any]:
    import awkward as ak

    shown: dict[str, Any] = {"type": str(branch.typename), "jagged": False, "min": None, "max": None, "median": None}
    try:
        array = branch.array(entry_stop=min(n, _LOOKED_AT), library="ak")
        shown["jagged"] = array.ndim > 1
        values = np.asarray(ak.ravel(array), float)
    except Exception:  # strings and classes have no range
        return shown
    values = values[np.isfinite(values)]
    if len(values):
        numbers = {"min": values.min(), "max": values.max(), "median": np.median(values)}
        shown.update({key: float(value) for key, value in numbers.items() if math.isfinite(value)})
    return shown
