"""Makes the table of hadron-silicon collisions that ships with the package, by the cascade model of Pythia.

python tools/hadronic_interactions.py -o src/beampipe/simulation/interactions.npz
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np

from beampipe.simulation.hadronic import HADRONS, MOMENTA, PER_POINT
from beampipe.simulation.primaries import MASSES
from beampipe.simulation.pythia import DECAYS, CollisionPool, pythia8, start_pythia

Row = tuple[int | float, ...]
"""One particle: pdg, charge, mass, px, py, pz, x, y, z, t."""


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    output = parser.parse_args().output
    pythia8mc = pythia8()
    cascade = pythia8mc.PythiaCascade()
    # Its default path to the stored MPI initialisation is wrong in the wheel.
    setup = next(path for path in files("pythia8mc") or () if path.name == "InitDefaultMPI.cmnd").locate()
    if not cascade.init(0.3, 1.0, str(setup), True, 1e-10, True, True):
        sys.exit(f"{setup}: Pythia cannot use it")
    cascade.rndm().init(1)
    decayer = start_pythia(
        ("Print:quiet = on", "ProcessLevel:all = off", *DECAYS, "Random:setSeed = on", "Random:seed = 1")
    )
    sigma = np.zeros((len(HADRONS), len(MOMENTA)))
    out: list[list[Row]] = []
    for i, pdg in enumerate(HADRONS):
        mass = MASSES[abs(pdg)]
        for j, p in enumerate(MOMENTA):
            momentum = pythia8mc.Vec4(0.0, 0.0, float(p), float(np.hypot(p, mass)))
            if cascade.sigmaSetuphN(pdg, momentum, mass):
                sigma[i, j] = cascade.sigmahA(28)
            for _ in range(PER_POINT):
                cascade.sigmaSetuphN(pdg, momentum, mass)
                out.append(_decayed(cascade.nextColl(14, 28), decayer) if sigma[i, j] > 0 else [])
    rows = np.array([row for rows in out for row in rows])
    offset = np.cumsum([0, *map(len, out)]).astype(np.int64)
    real = rows.astype(np.float32)
    pool = CollisionPool(offset, rows[:, 0].astype(np.int32), real[:, 1], real[:, 2], real[:, 3:6], real[:, 6:10])
    np.savez_compressed(output, sigma=sigma, **asdict(pool))


def _decayed(event: Any, decayer: Any) -> list[Row]:
    """Final particles that can leave hits, after the decays of pi0, K0S, Lambda and so on."""
    decayer.event.reset()
    for p in event:
        if p.isFinal():
            decayer.event.append(p.id(), 1, 0, 0, p.p(), p.m())
    decayer.moreDecays()
    return [
        (p.id(), p.charge(), p.m(), p.px(), p.py(), p.pz(), p.xProd(), p.yProd(), p.zProd(), p.tProd())
        for p in decayer.event
        if p.isFinal() and (p.charge() != 0 or p.id() == 22) and p.pAbs() > 0.1
    ]


if __name__ == "__main__":
    main()
