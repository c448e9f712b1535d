"""Learn what the track fit needs of a detector from events with truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.errors import ConfigError
from beampipe.tracking.events import Event, Hits, Tracks
from beampipe.tracking.fitting.chains import FIT_RECIPE, Chains, FitConfig, chains_of
from beampipe.tracking.fitting.fitter import TrackFitter
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM, curvature, perigee_of
from beampipe.tracking.fitting.tables import FitTables, save_fit_tables
from beampipe.tracking.fitting.variances import learn_variances
from beampipe.tracking.networks import write_card

__all__ = ["learn_fit_tables", "train_fit_tables"]

_FIRST_VARIANCE: Final = 0.03**2
"""Variance of a hit [mm^2] in the first round."""

_FIRST_SCATTERING: Final = 4e-6
"""Scattering of a layer [GeV^2] in the first round: 2 % of a radiation length."""

_TRIED_LOSS: Final = 30.0
"""Energy loss [1/GeV] at which the momentum is compared with that at none."""

_FEWEST_STIFF: Final = 30
"""Fewest particles that the field is told from."""

_FIELD_ROUNDS: Final = 10
"""Times that a line is fitted to the field as measured by each particle, without those far off the last one."""


def learn_fit_tables(
    events: Iterable[Event],
    layers: Float32[ndarray, "n_layers 4"],
    field: float | None = None,
    config: FitConfig = FIT_RECIPE,
) -> FitTables:
    """Tables of the track fit for the detector that the events are of.

    Args:
        events: clean events with truth.
        layers: r_min, r_max, z_min, z_max [mm] of each layer, as of learned windows.
        field: magnetic field along z [T]; learned from the curvature of true particles if not given.
        config: selection of particles.

    Raises:
        ConfigError: too few particles, or their tracks are straight.
        InputError: an event has no truth.
    """
    kept = list(events)
    if not kept:
        raise ConfigError("fit tables: got no event to learn from, expected some with truth")
    chains = chains_of(kept, layers, config)
    if len(chains.charge) < config.min_particles:
        raise ConfigError(
            f"fit tables: got {len(chains.charge)} particles of {len(kept)} events to learn from, expected"
            f" {config.min_particles} with pT > {config.pt_min} GeV and {config.min_hits} hits; give more events"
        )
    strength = np.float32(_field(chains, config) if field is None else field)
    n = len(layers)
    tables = FitTables(
        np.asarray(layers, np.float32),
        np.full((n, 2), _FIRST_VARIANCE, np.float32),
        np.full(n, _FIRST_SCATTERING, np.float32),
        np.zeros(2, np.float32),
        np.zeros(1, np.float32),
        np.array([strength], np.float32),
    )
    for _ in range(2):  # the loss of energy bends tracks, too: at first it is not known
        tables = learn_variances(chains, tables, config)
        tables = replace(tables, energy_loss=np.array([_energy_loss(kept, chains, tables)], np.float32))
    return tables


def train_fit_tables(
    events: Iterable[Event],
    layers: Float32[ndarray, "n_layers 4"],
    out: Path,
    about: Mapping[str, object],
    field: float | None = None,
    config: FitConfig = FIT_RECIPE,
) -> FitTables:
    """Learn the tables of the track fit and write them, with a card beside them.

    Args:
        events: clean events with truth.
        layers: r_min, r_max, z_min, z_max [mm] of each layer, as of learned windows.
        out: safetensors file to write; the card lies beside it.
        about: further facts for the card (command, data).
        field: magnetic field along z [T]; learned if not given.
        config: selection of particles.

    Raises:
        ConfigError: too few particles, or their tracks are straight.
        InputError: an event has no truth.
    """
    kept = list(events)
    tables = learn_fit_tables(kept, layers, field, config)
    save_fit_tables(tables, out)
    metrics = {
        "layers": len(tables.layers),
        "field": float(tables.field[0]),
        "beam_pipe_radius": float(tables.beam_pipe[0]),
        "beam_pipe_scattering": float(tables.beam_pipe[1]),
        "energy_loss": float(tables.energy_loss[0]),
    }
    write_card(out, asdict(config), {"events": len(kept), **about}, metrics)
    return tables


def _field(chains: Chains, config: FitConfig) -> float:
    """The field [T]: curvature of the circle through three hits, times pT, without what the loss of energy adds."""
    first, last = chains.begin, chains.begin + chains.size - 1
    inner, middle, outer = (chains.xyz[row] for row in (first, (first + last) // 2, last))
    strength = -curvature(inner, middle, outer) * chains.pt / (GEV_PER_TESLA_MM * chains.charge)
    length = np.hypot(*(outer - inner)[:, :2].T)
    use = (chains.pt > config.stiff) & np.isfinite(strength) & (length > np.median(length))
    if np.count_nonzero(use) < _FEWEST_STIFF:
        raise ConfigError(
            f"fit tables: got {np.count_nonzero(use)} long tracks with pT > {config.stiff} GeV, expected"
            f" {_FEWEST_STIFF} to tell the field; give it, or more events"
        )
    design = np.stack([np.ones(np.count_nonzero(use)), 1 / chains.pt[use]], axis=1)
    values = strength[use]
    core = np.abs(values - np.median(values)) < np.abs(np.median(values))
    for _ in range(_FIELD_ROUNDS):
        solution = np.linalg.lstsq(design[core], values[core], rcond=None)[0]
        away = np.abs(values - design @ solution)
        core = away < config.core * 1.48 * np.median(away)
    if not abs(solution[0]) > 1.48 * np.median(away):
        raise ConfigError("fit tables: got straight tracks, expected a magnetic field along z; give its strength")
    return float(solution[0])


def _energy_loss(events: list[Event], chains: Chains, tables: FitTables) -> float:
    """Energy loss [1/GeV] at which fitted momenta are right on average: between none and a tried one, or beyond."""
    true = perigee_of(chains.vertex, chains.momentum, chains.charge, float(tables.field[0]))[:, 4]
    bias = []
    for tried in (0.0, _TRIED_LOSS):
        fitter = TrackFitter(replace(tables, energy_loss=np.array([tried], np.float32)))
        pulls = []
        for number, event in enumerate(events):
            mine = chains.event == number
            label = np.full(len(event.hits), -1, np.int64)
            particle = chains.particle[mine]
            begin = particle.min(initial=len(chains.charge))
            label[chains.row[mine]] = particle - begin
            fits = fitter(Hits(event.hits.position), Tracks(label))
            expected = true[begin : begin + len(fits)]
            sign = np.sign(expected)
            pulls.append(((fits.values[:, 4] - expected) * sign / np.sqrt(fits.covariance[:, 4, 4]))[fits.fitted])
        bias.append(np.median(np.concatenate(pulls)))
    if bias[0] == bias[1]:
        return 0.0
    return max(_TRIED_LOSS * float(bias[0] / (bias[0] - bias[1])), 0.0)
