"""All files for other programs, each written atomically: correctionlib, pyhf, HEPData, ROOT.

pyhf: scale factors as nuisance parameters for pyhf, one per principal component of the joint covariance.

A sample with a histogram in the bins of jet pT, with one tagged jet per entry, has y_p SF_p entries in bin p. Component
k shifts this by y_p c_kp: a ``histosys`` modifier with the same name in every sample and channel, so that they share
the nuisance parameter.

HEPData: ``submission.yaml`` and one file per table, in JSON, which is a subset of YAML. A number without a valid error
is ``-``.

ROOT::

    scale_factors/TAGGER/wp_50/FLAVOUR/QUANTITY/
        (abs_eta_LOW_HIGH/ comes next if there are bins of |eta|)
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
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.config import REGIONS
from beampipe.calibration.exports.corrections import (
    write_components,
    write_correction,
    write_mc_to_mc,
)
from beampipe.calibration.method.cases import Templates
from beampipe.calibration.method.factors import FLAGS, FactorKey, Factors, ScaleFactor, in_words
from beampipe.calibration.method.joint import JointUncertainties, principal_components
from beampipe.calibration.results import Results, key_name, other_samples
from beampipe.calibration.taggers import Tagger
from beampipe.errors import InputError
from beampipe.files import write_whole

CORRECTIONS: Final = "corrections.json"
"""Name of the file of corrections, for correctionlib."""

BETWEEN: Final = "mc_to_mc.json"
"""Name of the file of factors from simulation to simulation."""

ROOT: Final = "histograms.root"
"""Name of the ROOT file."""

JOINT: Final = "joint.json"
"""Name of the file of the joint covariance and the signed shifts."""

COMPONENTS: Final = "components.json"
"""Name of the file of corrections with principal components, for correctionlib."""

MODIFIERS: Final = "pyhf_modifiers.json"
"""Name of the file of modifiers, for pyhf."""

HEPDATA: Final = "hepdata"
"""Name of the folder of a submission to HEPData."""


JOINT_EXPORTS: Final = (JOINT, COMPONENTS, MODIFIERS)
"""Names of the files that `write_joint` writes."""

EXPORTS: Final = (CORRECTIONS, BETWEEN, *JOINT_EXPORTS)
"""Names of the files with text that `write_exports` writes."""

EXPORT_MARKS: Final = (
    '"description": "Quark/gluon tagging',
    '"description":"Quark/gluon tagging',
    '"description":"Simulation to simulation',
    '"about": {"order": "bins of pt_edges',
    '"about": "samples for pyhf',
)
"""Texts near the begin of these files that identify them, for `beampipe.files.require_ours`."""


def write_exports(results: Results, folder: Path) -> tuple[Path, ...]:
    """Write all files for other programs; returns their paths.

    Args:
        results: results of the calibration.
        folder: folder of the files.

    Raises:
        MissingExtraError: pydantic is not installed.
        ConfigError: a source of uncertainty is called ``stat`` or ``total``.
    """
    factors = results.factors
    paths = [
        write_whole(folder / CORRECTIONS, lambda path: write_correction(factors, path)),
        write_whole(folder / ROOT, lambda path: write_root(results, path)),
        *write_joint(results.joint, folder),
        *write_hepdata(factors, results.joint, folder / HEPDATA),
    ]
    if other_samples(results):
        paths.append(write_whole(folder / BETWEEN, lambda path: write_mc_to_mc(results, path)))
    return tuple(paths)


def write_joint(
    joint: JointUncertainties, folder: Path, write: Callable[[Path], object] | None = None
) -> tuple[Path, ...]:
    """Write the files that need only the joint uncertainties; returns their paths.

    Args:
        joint: the uncertainties of all scale factors together.
        folder: folder of the files.
        write: writes the first file; by default `joint.write`.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    components = principal_components(joint)
    return (
        write_whole(folder / JOINT, write or joint.write),
        write_whole(folder / COMPONENTS, lambda path: write_components(joint, components, path)),
        write_whole(folder / MODIFIERS, lambda path: write_modifiers(joint, components, path)),
    )


COMPONENT_NAME: Final = "quark_gluon_pc{}"
"""Name of the nuisance parameter of a component."""


def pyhf_modifiers(
    joint: JointUncertainties, components: Float64[ndarray, "k n"], key: FactorKey, yields: Float64[ndarray, " p"]
) -> tuple[list[float], list[dict[str, Any]]]:
    """The ``data`` and ``modifiers`` of a sample in a workspace of pyhf.

    Args:
        joint: the scale factors.
        components: shifts by principal component, from `principal_components`.
        key: the scale factor of the sample's jets.
        yields: entries of the sample in the bins of pT before the scale factor.

    Raises:
        InputError: the number of yields differs from the number of bins, or a bin that is not published has entries.
    """
    part = joint.part(key)
    nominal, shifts = joint.nominal[part], components[:, part]
    if yields.shape != nominal.shape:
        raise InputError(
            f"yields: got {yields.shape[0]} bins, expected {len(nominal)}, those of pt_edges and eta_edges"
        )
    used = yields != 0
    lost = used & ~joint.published[part]
    if lost.any():
        raise InputError(
            f"yields: got entries in bins {np.flatnonzero(lost).tolist()} of {'/'.join(map(str, key))}, whose scale"
            " factor has no valid error or is not published; expected none there: leave them out"
        )
    data = np.where(used, yields * nominal, 0.0)
    moved = np.where(used, yields * shifts, 0.0)
    modifiers = [
        {
            "name": COMPONENT_NAME.format(k),
            "type": "histosys",
            "data": {"hi_data": (data + shift).tolist(), "lo_data": (data - shift).tolist()},
        }
        for k, shift in enumerate(moved)
    ]
    return data.tolist(), modifiers


def write_modifiers(joint: JointUncertainties, components: Float64[ndarray, "k n"], path: Path) -> None:
    """Write `pyhf_modifiers` of every scale factor for one entry per bin as JSON; bins that are not published hold 0.

    Args:
        joint: the scale factors.
        components: shifts by principal component, from `principal_components`.
        path: the file to write.
    """
    samples = []
    for key in joint.keys:
        ones = joint.published[joint.part(key)].astype(np.float64)
        data, modifiers = pyhf_modifiers(joint, components, key, ones)
        samples.append({**key._asdict(), "valid": (ones > 0).tolist(), "data": data, "modifiers": modifiers})
    plain = {
        "about": "samples for pyhf with one entry per bin of pt_edges before the scale factor; multiply data, hi_data"
        " and lo_data by your entries. Bins that are not valid hold 0: leave them out",
        "pt_edges": joint.pt_edges,
        **({"eta_edges": joint.eta_edges} if joint.eta_edges else {}),
        "samples": samples,
    }
    path.write_text(json.dumps(plain) + "\n", encoding="utf-8")


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
