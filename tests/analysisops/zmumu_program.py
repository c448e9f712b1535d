"""A program with its own code for the task `zmumu`: the mass of a resonance that decays to two muons.

    beampipe analysisops run -o runs/own -a tests/analysisops/zmumu_program.py -t zmumu -l 3

It reads the data with uproot, selects two tight, isolated muons of opposite charge, and fits a Voigt profile over an
exponential with iminuit.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from iminuit import Minuit
from scipy.special import voigt_profile

LOW, HIGH = 75.0, 107.0
"""Window of the fit [GeV]."""


def main() -> None:
    """Read the data, and write answer.json."""
    folder = Path(os.environ["BEAMPIPE_DATA"])
    manifest = json.loads((folder / "manifest.json").read_text())
    (file,) = manifest["files"]
    mass = muon_masses(folder / file["name"])
    value, uncertainty = fitted_mass(mass[(mass > LOW) & (mass < HIGH)])
    values, edges = np.histogram(mass, 80, (70.0, 110.0))
    answer = {
        "status": "ok",
        "answers": {"mass": {"value": value, "uncertainty": uncertainty}},
        "histograms": {"mass": {"edges": edges.tolist(), "values": values.tolist()}},
        "method": {"model": "a Voigt profile over an exponential, unbinned"},
    }
    Path("answer.json").write_text(json.dumps(answer))


def muon_masses(path: Path) -> np.ndarray:
    """Masses of events with exactly two good muons of opposite charge [GeV]."""
    with uproot.open(path) as file:
        tree = next(name for name, kind in file.classnames().items() if kind == "TTree")
        arrays = file[tree].arrays()

    def column(*words: str) -> ak.Array:
        """The column of leptons with one of these names; naming conventions differ between instances."""
        for name in arrays.fields:
            for prefix in ("lep_", "lepton_", "leptons_", "el_mu_"):
                if name.lower().startswith(prefix) and name.lower().removeprefix(prefix) in words:
                    return arrays[name]
        raise SystemExit(f"no column of leptons like {words[0]} among {arrays.fields}")

    pt, eta, phi = column("pt"), column("eta"), column("phi")
    unit = 0.001 if ak.mean(pt) > 1000.0 else 1.0
    isolated = column("ptcone20", "iso20", "trackiso") < 0.1 * pt
    tight = column("istightid", "passestight", "tightid", "tight") == 1
    muon = abs(column("type", "flavour", "pdgid", "id")) == 13
    good = muon & tight & isolated & (unit * pt > 15.0)
    two = ak.sum(good, axis=1) == 2
    pt, eta, phi = unit * pt[good][two], eta[good][two], phi[good][two]
    angles = np.cosh(eta[:, 0] - eta[:, 1]) - np.cos(phi[:, 0] - phi[:, 1])
    charge = ak.prod(column("charge", "q")[good][two], axis=1)
    squared = 2 * pt[:, 0] * pt[:, 1] * angles
    masses: np.ndarray = ak.to_numpy(np.sqrt(squared[charge < 0]))
    return masses


def fitted_mass(mass: np.ndarray) -> tuple[float, float]:
    """Position of the peak and its uncertainty [GeV]."""
    grid = np.linspace(LOW, HIGH, 801)

    def negative_log_likelihood(mu: float, sigma: float, width: float, signal: float, slope: float) -> float:
        def peak(x: np.ndarray) -> np.ndarray:
            return voigt_profile(x - mu, sigma, width / 2)

        def background(x: np.ndarray) -> np.ndarray:
            return np.exp(-slope * (x - LOW))

        density = signal * peak(mass) / np.trapezoid(peak(grid), grid)
        density += (1 - signal) * background(mass) / np.trapezoid(background(grid), grid)
        return -float(np.log(np.maximum(density, 1e-300)).sum())

    values, edges = np.histogram(mass, 64, (LOW, HIGH))
    start = edges[np.argmax(values)] + 0.25
    fit = Minuit(negative_log_likelihood, mu=start, sigma=1.2, width=2.5, signal=0.9, slope=0.03)
    fit.errordef = Minuit.LIKELIHOOD
    fit.limits["sigma"], fit.limits["width"] = (0.2, 5.0), (0.1, 8.0)
    fit.limits["signal"], fit.limits["slope"] = (0.01, 1.0), (-0.2, 0.5)
    fit.migrad()
    fit.hesse()
    return fit.values["mu"], fit.errors["mu"]


if __name__ == "__main__":
    main()
