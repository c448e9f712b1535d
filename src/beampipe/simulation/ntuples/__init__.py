"""Simulated ntuples for the calibration: dijet events by Pythia with a toy detector, or a fast parametric toy.

dijets        files of a simulated dijet sample, made in several processes
toy           dijet events drawn from parametric distributions, and their files
injection     pseudo-data with a known scale factor
ntuple_files  events as arrays, and their ROOT files

Trees and branches of these files: `beampipe.jets.ntuple_format`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.simulation.ntuples.dijets import simulate_dijets as simulate_dijets
    from beampipe.simulation.ntuples.injection import INJECTIONS as INJECTIONS
    from beampipe.simulation.ntuples.injection import Injection as Injection
    from beampipe.simulation.ntuples.injection import inject as inject
    from beampipe.simulation.ntuples.ntuple_files import Events as Events
    from beampipe.simulation.ntuples.ntuple_files import file_name as file_name
    from beampipe.simulation.ntuples.ntuple_files import read_bookkeeping as read_bookkeeping
    from beampipe.simulation.ntuples.ntuple_files import read_ntuple as read_ntuple
    from beampipe.simulation.ntuples.ntuple_files import write_ntuple as write_ntuple
    from beampipe.simulation.ntuples.toy import TOY_SLICES as TOY_SLICES
    from beampipe.simulation.ntuples.toy import ToyModel as ToyModel
    from beampipe.simulation.ntuples.toy import simulate_toy as simulate_toy
    from beampipe.simulation.ntuples.toy import toy_events as toy_events
    from beampipe.simulation.samples import SAMPLES as SAMPLES
    from beampipe.simulation.samples import SLICES as SLICES
    from beampipe.simulation.samples import SampleSpec as SampleSpec
    from beampipe.simulation.samples import Slice as Slice
    from beampipe.simulation.samples import sample_spec as sample_spec

__getattr__, __dir__, __all__ = loader(__name__)
