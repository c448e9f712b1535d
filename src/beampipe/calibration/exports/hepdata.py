"""Scale factors and their covariance as a submission to HEPData: ``submission.yaml`` and one file per table.

The files are JSON, which YAML takes as it is. A number that has no valid error is ``-``, as HEPData writes what is
missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from beampipe.calibration.method.factors import FactorKey, Factors, ScaleFactor
from beampipe.calibration.method.joint import JointUncertainties
from beampipe.calibration.method.validity import in_words

__all__ = ["hepdata_documents", "write_document", "write_hepdata"]


def write_hepdata(factors: Factors, joint: JointUncertainties, folder: Path) -> tuple[Path, ...]:
    """Write the submission into a folder; returns its files.

    Args:
        factors: the scale factors.
        joint: the uncertainties of all of them together.
        folder: the folder, which is made if there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, document in hepdata_documents(factors, joint):
        write_document(document, folder / name)
        paths.append(folder / name)
    return tuple(paths)


def write_document(documents: list[Any], path: Path) -> None:
    """Write YAML documents, each on one line of JSON."""
    path.write_text("".join(f"---\n{json.dumps(one)}\n" for one in documents), encoding="utf-8")


def hepdata_documents(factors: Factors, joint: JointUncertainties) -> Iterator[tuple[str, list[Any]]]:
    """Names of files and the YAML documents in them, ``submission.yaml`` first."""
    tables = [(_file(key), _title(key), _table(factors, key, one)) for key, one in factors.by_name.items()]
    tables.append(("covariance.yaml", "Covariance of all scale factors", _covariance(joint)))
    head = {"comment": "Scale factors of quark/gluon tagging: data divided by simulation."}
    entries = [{"name": title, "description": title, "keywords": [], "data_file": name} for name, title, _ in tables]
    yield "submission.yaml", [head, *entries]
    yield from ((name, [table]) for name, _, table in tables)


def _table(factors: Factors, key: FactorKey, one: ScaleFactor) -> dict[str, Any]:
    bins = [{"low": low, "high": high} for low, high in factors.bins]
    values: list[dict[str, Any]] = []
    for p, valid in enumerate(one.valid):
        errors = {"stat": one.statistical[p], **{name: values[p] for name, values in one.sources.items()}}
        known = [{"symerror": float(error), "label": name} for name, error in errors.items() if isfinite(error)]
        values.append({"value": float(one.nominal[p]), "errors": known} if valid else {"value": "-"})
    flags = [{"value": in_words(names) or "none"} for names in one.flags]
    qualifiers = [{"name": name, "value": value} for name, value in key._asdict().items()]
    return {
        "independent_variables": [{"header": {"name": "jet pT", "units": "GeV"}, "values": bins}],
        "dependent_variables": [
            {"header": {"name": "scale factor"}, "qualifiers": qualifiers, "values": values},
            {"header": {"name": "flags"}, "qualifiers": qualifiers, "values": flags},
        ],
    }


def _covariance(joint: JointUncertainties) -> dict[str, Any]:
    """A row for each pair of numbers that have a valid error."""
    bins = [f"{low:g}-{high:g} GeV" for low, high in zip(joint.pt_edges[:-1], joint.pt_edges[1:], strict=True)]
    names = [f"{_title(key)}, {text}" for key in joint.keys for text in bins]
    valid, covariance = [k for k, fine in enumerate(joint.valid) if fine], joint.covariance
    pairs = [(one, other) for one in valid for other in valid]
    return {
        "independent_variables": [
            {"header": {"name": head}, "values": [{"value": names[pair[place]]} for pair in pairs]}
            for place, head in enumerate(("scale factor", "other scale factor"))
        ],
        "dependent_variables": [
            {"header": {"name": "covariance"}, "values": [{"value": float(covariance[pair])} for pair in pairs]}
        ],
    }


def _file(key: FactorKey) -> str:
    return f"{key.tagger}_{100 * key.working_point:g}_{key.flavour}_{key.quantity}.yaml"


def _title(key: FactorKey) -> str:
    return f"{key.tagger}, working point {100 * key.working_point:g} %, {key.flavour} {key.quantity}"
