"""A fleet in simulated time, checked against closed forms of queueing theory and against live servers.

from beampipe.fleet.planning.simulator import FleetShape, Load, Poisson, ParetoSizes, ServiceTimes, run_fleet

load = Load(Poisson(200.0), ParetoSizes(100, 1.2, 1e5), ServiceTimes.affine(1e-3, 5e-6))
figures = run_fleet(load, FleetShape(servers=4))
"""

from beampipe.fleet.planning.simulator.arrivals import Arrivals, Bursts, ClosedLoop, Poisson
from beampipe.fleet.planning.simulator.balancing import POLICIES, Policy
from beampipe.fleet.planning.simulator.figures import Estimate, FleetFigures, run_fleet
from beampipe.fleet.planning.simulator.service import ServiceTimes, fit_affine, fit_table, mean_service
from beampipe.fleet.planning.simulator.simulation import FleetShape, Load, SimulatedRun, simulate
from beampipe.fleet.planning.simulator.sizes import LogNormalSizes, MeasuredSizes, ParetoSizes, Sizes, mean_size

__all__ = [
    "POLICIES",
    "Arrivals",
    "Bursts",
    "ClosedLoop",
    "Estimate",
    "FleetFigures",
    "FleetShape",
    "Load",
    "LogNormalSizes",
    "MeasuredSizes",
    "ParetoSizes",
    "Poisson",
    "Policy",
    "ServiceTimes",
    "SimulatedRun",
    "Sizes",
    "fit_affine",
    "fit_table",
    "mean_service",
    "mean_size",
    "run_fleet",
    "simulate",
]
