"""Scale factors and histograms for archives: a submission to HEPData, and a ROOT file.

HEPData: ``submission.yaml`` and one file per table, in JSON, which is a subset of YAML. A number without a valid error
is ``-``.

ROOT::

    scale_factors/TAGGER/wp_50/FLAVOUR/QUANTITY/
        (abs_eta_LOW_HIGH/ comes next if there are bins of \\|eta\\|)
        scale_factor      TH1D against jet pT [GeV]; its errors are the total uncertainty
        statistical       TH1D of the statistical uncertainty
        total             TH1D of the total uncertainty: statistical and all sources; nan without a valid error
        valid             TH1D, 1 in a bin that has a valid error, else 0
        flags             TH1D of the flags of the bin: the sum of 2^k over its flags, k the index of a flag in
                          `beampipe.calibration.method.factors.FLAGS`, from 0
        source_NAME       TH1D of the uncertainty of one source
        covariance        TH2D of the covariance across bins of pT
        data, simulation, truth   TH1D of the efficiency or rejection itself
    joint/
        covariance        TH2D of the covariance of all scale factors in all bins; nan without a valid error
        statistical       TH2D of its statistical part
        nominal           TH1D of the scale factors in the same order
        order             text: JSON list of the scale factors; each has one entry per bin
    inputs/SAMPLE/TAGGER/
        REGION_FLAVOUR    TH2D (jet pT [GeV], quantity of the tagger) of nominal jets, all slices, scaled to the
                          luminosity; errors from the sums of squared weights

Unknown values are nan; some readers show an error of nan as 0. Data has one flavour, ``light``, which then means all
jets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.config import REGIONS
from beampipe.calibration.method.factors import FLAGS, FactorKey, Factors, ScaleFactor, in_words
from beampipe.calibration.method.joint import JointUncertainties
from beampipe.calibration.method.templates import Templates
from beampipe.calibration.results import Results, key_name
from beampipe.calibration.taggers import Tagger
from beampipe.files import write_whole


def write_hepdata(factors: Factors, joint: JointUncertainties, folder: Path) -> tuple[Path, ...]:
    """Write the submission into a folder; returns its files.

    Args:
        factors: the scale factors.
        joint: the uncertainties of all of them together.
        folder: the folder; it is created if necessary.
    """
    tables = [(f"{key_name(key)}.yaml", _title(key), _table(factors, key)) for key in factors.by_name]
    tables.append(("covariance.yaml", "Covariance of all scale factors", _covariance(joint)))
    head = {"comment": "Scale factors of quark/gluon tagging: data divided by simulation."}
    entries = [{"name": title, "description": title, "keywords": [], "data_file": name} for name, title, _ in tables]
    files: dict[str, list[Any]] = {"submission.yaml": [head, *entries]}
    files |= {name: [table] for name, _, table in tables}
    paths = []
    for name, documents in files.items():
        text = "".join(f"---\n{json.dumps(document)}\n" for document in documents)  # YAML, each on a line of JSON
        paths.append(write_whole(folder / name, partial(Path.write_text, data=text)))
    return tuple(paths)


def _table(factors: Factors, key: FactorKey) -> dict[str, Any]:
    factor = factors.by_name[key]
    axes = [{"header": {"name": "jet pT", "units": "GeV"}, "values": [_range(*each[:2]) for each in factors.bins]}]
    if factors.eta_edges:
        axes.append({"header": {"name": "jet |eta|"}, "values": [_range(*each[2:]) for each in factors.bins]})
    values: list[dict[str, Any]] = []
    for p, valid in enumerate(factor.valid):
        errors = {"stat": factor.statistical[p], **{name: source[p] for name, source in factor.sources.items()}}
        finite = [{"symerror": float(error), "label": name} for name, error in errors.items() if isfinite(error)]
        values.append({"value": float(factor.nominal[p]), "errors": finite} if valid else {"value": "-"})
    flags = [{"value": in_words(names) or "none"} for names in factor.flags]
    qualifiers = [{"name": name, "value": value} for name, value in key._asdict().items()]
    return {
        "independent_variables": axes,
        "dependent_variables": [
            {"header": {"name": "scale factor"}, "qualifiers": qualifiers, "values": values},
            {"header": {"name": "flags"}, "qualifiers": qualifiers, "values": flags},
        ],
    }


def _range(low: float, high: float) -> dict[str, float]:
    return {"low": low, "high": high}


def _covariance(joint: JointUncertainties) -> dict[str, Any]:
    """A row for each pair of numbers that have a valid error."""
    names = [f"{_title(key)}, {jets}" for key in joint.keys for jets in joint.bins]
    valid, covariance = [k for k, fine in enumerate(joint.valid) if fine], joint.covariance
    pairs = [(row, column) for row in valid for column in valid]
    return {
        "independent_variables": [
            {"header": {"name": head}, "values": [{"value": names[pair[axis]]} for pair in pairs]}
            for axis, head in enumerate(("scale factor", "other scale factor"))
        ],
        "dependent_variables": [
            {"header": {"name": "covariance"}, "values": [{"value": float(covariance[pair])} for pair in pairs]}
        ],
    }


def _title(key: FactorKey) -> str:
    return f"{key.tagger}, working point {100 * key.working_point:g} %, {key.flavour} {key.quantity}"


def write_root(results: Results, path: Path) -> None:
    """Write the ROOT file.

    Args:
        results: results of the calibration.
        path: the file to write.

    Raises:
        MissingExtraError: uproot or hist is not installed.
    """
    import hist  # noqa: F401 - the histograms that uproot writes
    import uproot

    factors = results.factors
    with uproot.recreate(path) as file:
        for part in factors.by_eta():
            for key, factor in part.by_name.items():
                for name, histogram in _of_factor(factors.pt_edges, factor):
                    file[f"{scale_factor_folder(*key)}{_folder(part.eta_edges)}/{name}"] = histogram
        joint = results.joint
        axis = np.arange(len(joint.nominal) + 1, dtype=np.float64)
        file["joint/nominal"] = _histogram({"number": axis}, joint.nominal)
        for name, values in (("covariance", joint.covariance), ("statistical", joint.statistical)):
            file[f"joint/{name}"] = _histogram({"number": axis, "other": axis}, values)
        file["joint/order"] = json.dumps([key._asdict() for key in joint.keys])
        for part_of_results in results.by_eta():
            folder = _folder(part_of_results.factors.eta_edges)
            for sample, numbers in part_of_results.samples.items():
                for tagger in results.configuration.taggers:
                    for name, histogram in _of_sample(numbers.templates, tagger):
                        file[f"inputs/{sample}/{tagger.name}{folder}/{name}"] = histogram


def _folder(eta_edges: tuple[float, ...]) -> str:
    """The folder of a bin of \\|eta\\| inside another one; empty if there is a single bin."""
    return f"/abs_eta_{eta_edges[0]:g}_{eta_edges[1]:g}" if eta_edges else ""


def scale_factor_folder(tagger: str, working_point: float, flavour: str, quantity: str) -> str:
    """The folder of a scale factor's histograms in the ROOT file."""
    return f"scale_factors/{tagger}/wp_{100 * working_point:g}/{flavour}/{quantity}"


def _of_factor(edges: tuple[float, ...], factor: ScaleFactor) -> Iterator[tuple[str, Any]]:
    axis = np.array(edges)
    yield "scale_factor", _histogram({"pt": axis}, factor.nominal, factor.total**2)
    plain: Mapping[str, Float64[ndarray, " p"]] = {
        "statistical": factor.statistical,
        "total": factor.total,
        "valid": factor.valid.astype(np.float64),
        "flags": np.array([sum(2.0 ** list(FLAGS).index(name) for name in names) for names in factor.flags]),
        **{f"source_{name}": values for name, values in factor.sources.items()},
        "data": factor.data,
        "simulation": factor.simulation,
        "truth": factor.truth,
    }
    for name, values in plain.items():
        yield name, _histogram({"pt": axis}, values)
    yield "covariance", _histogram({"pt": axis, "pt_other": axis}, factor.covariance)


def _of_sample(templates: Templates, tagger: Tagger) -> Iterator[tuple[str, Any]]:
    columns = templates.axes.columns(tagger.name)
    x = np.linspace(tagger.low, tagger.high, tagger.bins + 1)
    axes = {"pt": np.array(templates.axes.pt_edges), tagger.name: x}
    for r, region in enumerate(REGIONS):
        for f, flavour in enumerate(templates.axes.flavours):
            values, squares = (part[0, :, r, f, columns] for part in (templates.values, templates.squares))
            yield f"{region}_{flavour}", _histogram(axes, values, squares)


def _histogram(axes: Mapping[str, ndarray], values: ndarray, squares: ndarray | None = None) -> Any:
    """A histogram of `hist`; without sums of squared weights it has no errors."""
    import hist

    storage = hist.storage.Double() if squares is None else hist.storage.Weight()
    histogram = hist.Hist(
        *(
            hist.axis.Variable(edges, name=name, label="jet pT [GeV]" if name.startswith("pt") else name)
            for name, edges in axes.items()
        ),
        storage=storage,
    )
    if squares is None:
        histogram[...] = values
    else:
        histogram[...] = np.stack([values, squares], axis=-1)
    return histogram
