"""Settings of ACTS: seeding, combinatorial Kalman filter (CKF), selection and ambiguity, with the named settings."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from beampipe.errors import ConfigError, UnknownNameError

SEEDINGS = ("triplet", "graph", "beampipe")
"""Seeding algorithms: triplets from a grid, chains in a graph of layers (Gbts), and our tracks."""

PIXEL_VOLUMES = (7, 8, 9)
"""Volumes of the pixels of the ACTS Generic detector: negative end cap, barrel, positive end cap."""

SHORT_STRIP_VOLUMES = (12, 13, 14)
"""Volumes of the short strips, in the same order."""

LONG_STRIP_VOLUMES = (16, 17, 18)
"""Volumes of the long strips, in the same order."""


@dataclass(frozen=True)
class ActsSettings:
    """Seeding, then the CKF, a track selection, and ambiguity resolution. Lengths in mm, momenta in GeV.

    The names follow the configuration of ``GridTripletSeedingAlgorithm``, ``TrackFindingAlgorithm`` and
    ``TrackSelector`` of ACTS (https://acts.readthedocs.io), whose defaults hold for all other options.

    Attributes:
        seeding: algorithm of `SEEDINGS` that makes the seeds, with the same cuts as far as it has them.
        seed_min_pt: lowest transverse momentum for which seeds are built [GeV].
        seed_edges: fewest edges of a chain that is a seed of the graph (``minSeedLevel``).
        seeds_per_middle: a middle space point keeps its best this + 1 seeds (``maxSeedsPerSpM``).
        delta_r_min: shortest radial distance between two space points of a seed [mm].
        delta_r_max: longest radial distance of two space points of a seed [mm]; above 100 mm it can skip a pixel layer.
        impact_max: largest transverse impact parameter of a seed [mm].
        sigma_scattering: number of standard deviations of multiple scattering that a seed may bend.
        rad_length_per_seed: thickness of the material that a seed crosses, in radiation lengths.
        collision_z: seeds point to |z| below this on the beam line [mm].
        seed_r_max: outermost radius of a space point [mm].
        seed_z_max: largest |z| of a space point [mm].
        middle_r_min: innermost radius of a middle space point [mm].
        middle_r_max: outermost radius of a middle space point [mm].
        seed_volumes: volumes whose hits are space points.
        chi2_measurement: largest chi2 with which a hit joins a track.
        chi2_outlier: largest chi2 with which it is recorded as an outlier.
        branches: hits followed per surface (``numMeasurementsCutOff``).
        two_way: search outwards from the seed, then inwards.
        seed_deduplication: skip a seed whose hits are all on a track already.
        stay_on_seed: whether the track must take the hits of its seed.
        record_material: keep a track state for each passive surface; costs time and finds the same tracks
            (7811 against 7809 in four events with mu = 200).
        track_min_pt: lowest transverse momentum of a track [GeV].
        track_d0_max: largest |d0| to the beam line [mm].
        measurements_min: fewest hits of a track.
        holes_max: most holes of a track.
        outliers_max: most outliers of a track.
        max_shared_hits: most hits that a track may share with others; of two that share more, ambiguity resolution
            drops the one that shares more of its hits, or has the larger chi2 (``maximumSharedHits``).
        field_z: magnetic field along z [T].

    Raises:
        ConfigError: an impossible value.
    """

    seeding: str = "triplet"
    seed_min_pt: float = 0.9
    seed_edges: int = 3
    seeds_per_middle: int = 2
    delta_r_min: float = 1.0
    delta_r_max: float = 110.0
    impact_max: float = 1.5
    sigma_scattering: float = 4.0
    rad_length_per_seed: float = 0.05
    collision_z: float = 200.0
    seed_r_max: float = 200.0
    seed_z_max: float = 2000.0
    middle_r_min: float = 60.0
    middle_r_max: float = 120.0
    seed_volumes: tuple[int, ...] = PIXEL_VOLUMES
    chi2_measurement: float = 15.0
    chi2_outlier: float = 25.0
    branches: int = 1
    two_way: bool = True
    seed_deduplication: bool = True
    stay_on_seed: bool = True
    record_material: bool = False
    track_min_pt: float = 0.5
    track_d0_max: float = 4.0
    measurements_min: int = 7
    holes_max: int = 2
    outliers_max: int = 2
    max_shared_hits: int = 3
    field_z: float = 2.0

    def __post_init__(self) -> None:
        may_be_zero = {"middle_r_min", "holes_max", "outliers_max", "max_shared_hits", "track_min_pt", "field_z"}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool | tuple | str):
                continue
            if value < 0 or (value == 0 and field.name not in may_be_zero):
                raise ConfigError(f"ActsSettings: got {field.name} = {value}, expected a positive number")
        if self.seeding not in SEEDINGS:
            raise UnknownNameError("seeding of ACTS", self.seeding, SEEDINGS)
        if not self.seed_volumes:
            raise ConfigError("ActsSettings: got no seed_volumes, expected volumes of the detector, e.g. (7, 8, 9)")
        if self.delta_r_min >= self.delta_r_max:
            raise ConfigError(
                f"ActsSettings: got delta_r_min = {self.delta_r_min}, delta_r_max = {self.delta_r_max},"
                " expected the first to be smaller"
            )


ACTS_EFFICIENT = ActsSettings(sigma_scattering=3.0, middle_r_min=40.0, middle_r_max=150.0, collision_z=250.0)
"""Tuned for efficiency at mu = 200, for vertices as far out as our windows reach: the reference for efficiencies.
"""

ACTS_FAST = ActsSettings(
    seeds_per_middle=1,
    sigma_scattering=3.0,
    seed_min_pt=0.95,
    collision_z=160.0,
    track_min_pt=0.8,
)
"""Fewer and straighter seeds, for tracks above 1 GeV: the reference for time."""

ACTS_SOFT = ActsSettings(
    seed_min_pt=0.25,
    track_min_pt=0.2,
    impact_max=3.0,
    collision_z=250.0,
)
"""For small events (mu = 0) down to pT of about 0.3 GeV."""

ACTS_GRAPH_FAST = replace(ACTS_FAST, seeding="graph", seed_volumes=(*PIXEL_VOLUMES, SHORT_STRIP_VOLUMES[1]))
"""The fast settings with seeds from a graph of pixels and short strips of the barrel: the fastest settings.

The graph requires a fourth hit after three that begin on the innermost cylinder. Where particles cross only four pixel
layers, one missing hit loses the seed: with pixels alone the efficiency at mu = 200 is .88 instead of .97. Particles
from vertices beyond |z| of 168 mm are lost for any `collision_z`: pyacts 48.1 has no setter for that range of its bins.
"""

ACTS_BEAMPIPE = replace(
    ACTS_EFFICIENT, seeding="beampipe", seed_volumes=(*PIXEL_VOLUMES, *SHORT_STRIP_VOLUMES, *LONG_STRIP_VOLUMES)
)
"""The efficient settings with a seed for each track of our default pipeline: ACTS accelerated by it, no reference."""

ACTS_SETTINGS = {
    "efficient": ACTS_EFFICIENT,
    "fast": ACTS_FAST,
    "soft": ACTS_SOFT,
    "graph-fast": ACTS_GRAPH_FAST,
    "beampipe": ACTS_BEAMPIPE,
}
"""The named settings."""

ACTS = "acts"
"""Name of the finder with the efficient settings of ACTS, and prefix of the names of the others."""

COMPARED_SETTINGS = (ACTS, f"{ACTS}-fast")
"""Settings that cards of tracker models compare with: those for efficiencies and those for times."""

_DEFAULT = "efficient"


def acts_names() -> tuple[str, ...]:
    """Names of the settings of ACTS as finders: ``acts`` is the efficient one, then ``acts-fast`` and the like."""
    return tuple(ACTS if name == _DEFAULT else f"{ACTS}-{name}" for name in ACTS_SETTINGS)


def acts_settings(name: str) -> ActsSettings | None:
    """The settings of ACTS of that finder's name; None for the name of a pipeline.

    Raises:
        UnknownNameError: the name has the prefix of ACTS, but there are no such settings.
    """
    if name != ACTS and not name.startswith(f"{ACTS}-"):
        return None
    setting = name.removeprefix(ACTS).removeprefix("-") or _DEFAULT
    if setting not in ACTS_SETTINGS:
        raise UnknownNameError("ACTS setting", name, acts_names())
    return ACTS_SETTINGS[setting]
