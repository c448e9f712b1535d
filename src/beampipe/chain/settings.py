"""The settings of a chain: one TOML file, read into frozen dataclasses. Paths are relative to the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from glob import glob
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from beampipe.calibration.method.extractions import extraction_named
from beampipe.errors import ConfigError, look_up
from beampipe.jets.boosted_trees import read_trees
from beampipe.settings import build, read_lines, read_toml
from beampipe.simulation.calorimeter import Calorimeter
from beampipe.simulation.degradation import Degradation
from beampipe.simulation.detector import DetectorLayout, read_layout
from beampipe.simulation.samples import DIJETS, GAMMAJET, PROCESSES, SAMPLES, Slice
from beampipe.triton import TelemetrySettings
from beampipe.triton.client.endpoint import parse_endpoint
from beampipe.workflow import file_digest

ROLES: Final = ("nominal", "data", "measured")
"""Roles that exactly one sample has: simulation, and pseudo-data for the calibration and for the measurement."""


INPUT: Final = "input"
"""Role, and usual name, of a sample of files from which nothing is measured."""


@dataclass(frozen=True)
class CollisionSettings:
    """Collisions. They are generated with an extra factor ``(pT / pt_min) ** power``, which their weights undo.

    Attributes:
        energy: centre-of-mass energy of all collisions, pile-up included [TeV].
        pt_min: lowest transverse momentum of the hard process [GeV].
        pt_max: highest transverse momentum of the hard process [GeV].
        power: power of the extra factor; the spectrum is about flat for 5.
        pileup: mean number of further collisions in an event, which leave hits in the tracker only.
        process: ``dijets``, or ``dijets`` and ``gammajet``: then scale factors are measured with jets beside photons
            and jets of dijets as regions, and the measurement is in dijets.
    """

    pt_min: float = 250.0
    pt_max: float = 800.0
    power: float = 5.0
    pileup: float = 0.0
    energy: float = 13.0
    process: tuple[str, ...] = (DIJETS,)

    def __post_init__(self) -> None:
        for name in self.process:
            look_up("process of the collisions", name, PROCESSES)
        if self.process not in ((DIJETS,), (DIJETS, GAMMAJET)):
            raise ConfigError(
                f"collisions: got process {list(self.process)}, expected [{DIJETS!r}] or [{DIJETS!r}, {GAMMAJET!r}]"
            )
        if not 10 <= self.pt_min < self.pt_max:
            raise ConfigError(f"collisions: got {self.pt_min:g} to {self.pt_max:g} GeV, expected 10 GeV or more")
        if not 0.9 <= self.energy <= 100 or self.pt_max > 500 * self.energy:
            raise ConfigError(
                f"collisions: got energy {self.energy:g} TeV and pt_max {self.pt_max:g} GeV, expected 0.9 to 100 TeV,"
                " and half of it for a jet at most"
            )
        if not 0 <= self.power <= 10:
            raise ConfigError(f"collisions: got power {self.power:g}, expected 0 to 10")
        if not 0 <= self.pileup <= 300:
            raise ConfigError(f"collisions: got pileup {self.pileup:g}, expected 0 to 300")

    @property
    def with_photons(self) -> bool:
        """Whether there are collisions with photons beside dijets."""
        return GAMMAJET in self.process

    @property
    def slice(self) -> Slice:
        """The range of the hard process, with its bias."""
        return Slice(self.pt_min, self.pt_max, self.power, 1.0)


@dataclass(frozen=True)
class Sample:
    """One sample of collisions, and the state of the detector that they are measured with.

    Attributes:
        name: name of the sample.
        role: ``nominal`` (simulation), ``data`` (pseudo-data from which scale factors are measured), ``measured``
            (pseudo-data in which the fraction of gluons is fitted), or ``alternative``, whose difference to nominal is
            an uncertainty of the scale factors: that of the shapes by which efficiencies in pseudo-data are measured;
            or ``input``: events of files alone, from which nothing is measured.
        events: number of collisions to generate of each process; of a sample with an input, the largest number that is
            read, 0 for all.
        generator: settings of Pythia, one of `beampipe.simulation.samples.SAMPLES`.
        pythia: further lines for Pythia, e.g. ``"TimeShower:alphaSvalue = 0.13"``.
        card: file of further lines for Pythia, which come before those.
        hit_loss: share of hits that are lost at random.
        dead_modules: share of modules that give no hits.
        noise: hits made by no particle, as a share of the other hits.
        further: ntuples of the same sample from earlier chains, whose events are added to those that are simulated.
    """

    name: str
    role: Literal["nominal", "data", "measured", "alternative", "input"]
    events: int = 0
    generator: str = "nominal"
    pythia: tuple[str, ...] = ()
    card: Path | None = None
    hit_loss: float = 0.02
    dead_modules: float = 0.01
    noise: float = 0.05
    further: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise ConfigError(f"sample {self.name}: got noise {self.noise:g}, expected a share of the hits, 0 to 1")
        if self.events < 0:
            raise ConfigError(f"sample {self.name}: got {self.events} events, expected 1 or more")
        look_up(f"generator of sample {self.name}", self.generator, SAMPLES)
        if any(line.split()[:1] == ["include"] for line in self.lines):
            raise ConfigError(f"sample {self.name}: got a line `include`, expected settings; name the file as `card`")
        if beams := [line for line in self.lines if line.strip().lower().startswith("beams:")]:
            raise ConfigError(
                f"sample {self.name}: got the line {beams[0]!r}, expected protons of one energy in all samples and in"
                " pile-up: give `energy` [TeV] under [collisions]"
            )
        _ = self.degradation

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """All further lines for Pythia."""
        card = () if self.card is None else read_lines(self.card, f"lines for Pythia of sample {self.name}")
        return (*card, *self.pythia)

    @property
    def degradation(self) -> Degradation:
        """Lost hits, dead modules and noise."""
        return Degradation(self.hit_loss, self.dead_modules, self.noise)


@dataclass(frozen=True)
class DetectorSettings:
    """The tracker around the collisions.

    Attributes:
        layout: TOML file of a detector, or a name that `beampipe.simulation.detector.read_layout` takes; the Generic
            detector of ACTS if not given.
        hadronic: let hadrons interact with the nuclei of the detector.
    """

    layout: Path | None = None
    hadronic: bool = True

    def read(self) -> DetectorLayout | None:
        """The layout, or None for the Generic detector. Errors as of `read_layout`."""
        if self.layout is None:
            return None
        is_file = self.layout.exists() or self.layout.suffix != ""  # a name has no suffix, and no folder
        return read_layout(self.layout if is_file else Path(self.layout.name))

    @cached_property
    def contents(self) -> list[object]:
        """What simulated hits depend on: the layout with the digest of its map of the field, and `hadronic`.

        Raises:
            FileError: the detector file or the map cannot be read.
            ConfigError: it makes no detector.
        """
        layout = self.read()
        if layout is None or layout.field_map is None:
            return [layout, self.hadronic]
        given = layout.field_map
        field = [file_digest(given.file), given.length_unit_mm, given.field_unit_T]
        return [replace(layout, field_map=None), self.hadronic, field]


@dataclass(frozen=True)
class TrackSettings:
    """Track finding, and the tracks that count.

    Attributes:
        finder: name of the finder: a pipeline, ACTS, or a plug-in.
        model: tracker model of the detector: the name of a shipped one, or a folder.
        servers: addresses of servers that run the finder; none to run it here. The tracks are the same: servers that
            state another digest than the finder here, or none, are refused.
        identity: what the servers compute, if that is no finder that is installed here: the digest that they state, or
            any text for servers that state none. Tracks are kept under it.
        min_pt: smallest transverse momentum of a track [GeV].
        max_abs_eta: largest absolute pseudorapidity of a track.
        max_d0: largest distance from the beam line [mm].
        max_dz: with pile-up, largest distance from the hard vertex along z, times sin(theta) [mm].
        compare: names of other finders, which the report compares with `finder`; no result depends on them.
        compare_events: number of nominal collisions in which finders are compared, rounded up to whole chunks.
    """

    finder: str = "module_map_soft"
    model: str = "generic"
    servers: tuple[str, ...] = ()
    identity: str = ""
    min_pt: float = 0.5
    max_abs_eta: float = 2.5
    max_d0: float = 2.0
    max_dz: float = 1.0
    compare: tuple[str, ...] = ()
    compare_events: int = 100

    def __post_init__(self) -> None:
        if len({self.finder, *self.compare}) <= len(self.compare) or self.compare_events < 1:
            raise ConfigError(
                f"tracks: got compare {list(self.compare)} with finder {self.finder!r} in {self.compare_events} events,"
                " expected different finders, and 1 event or more"
            )
        if self.identity and not self.servers:
            raise ConfigError("tracks: got identity without servers, expected both; that of a finder here is computed")
        for url in self.servers:
            parse_endpoint(url, "auto", tls=False)  # an error now, and not after all collisions
        if not (0.1 <= self.min_pt <= 20 and 0 < self.max_abs_eta <= 4 and self.max_d0 > 0 and self.max_dz > 0):
            raise ConfigError(
                f"tracks: got min_pt {self.min_pt:g}, max_abs_eta {self.max_abs_eta:g}, max_d0 {self.max_d0:g}, max_dz"
                f" {self.max_dz:g}, expected min_pt of 0.1 to 20 GeV, max_abs_eta up to 4, and max_d0 and max_dz > 0"
            )

    @property
    def cuts(self) -> tuple[float, float, float]:
        """`min_pt`, `max_abs_eta` and `max_d0`."""
        return self.min_pt, self.max_abs_eta, self.max_d0


@dataclass(frozen=True)
class JetSettings:
    """Jets of calorimeter towers.

    Attributes:
        min_pt: transverse momentum of the softest jet before the energy scale is corrected [GeV].
        max_abs_eta: largest absolute pseudorapidity of a jet.
    """

    min_pt: float = 100.0
    max_abs_eta: float = 2.5

    def __post_init__(self) -> None:
        if not (self.min_pt >= 5 and 0 < self.max_abs_eta <= 4.5):
            raise ConfigError(
                f"jets: got min_pt {self.min_pt:g}, max_abs_eta {self.max_abs_eta:g}, expected 5 GeV or more, and up to"
                " 4.5"
            )


@dataclass(frozen=True)
class MeasurementSettings:
    """Scale factors and the fit.

    Attributes:
        pt_edges: edges of the bins of jet pT [GeV].
        working_points: quark efficiencies of the cuts on the number of tracks, which divide jets into classes.
        extraction: how the calibration measures efficiencies: ``matrix``, ``topics``, or ``template``, which needs
            fewer jets, but relies on shapes of simulation; or another one by name.
        min_eta_gap: smallest difference of the \\|eta\\| of the two jets from which scale factors are measured.
        replicas: replicas of the bootstrap, for statistical uncertainties.
        tagger: file of boosted trees, as `beampipe calibration train-tagger` writes it, whose score divides the jets in
            place of the number of tracks.
    """

    pt_edges: tuple[float, ...] = (300.0, 420.0, 580.0, 800.0)
    working_points: tuple[float, ...] = (0.8,)
    extraction: str = "matrix"
    min_eta_gap: float = 0.5
    replicas: int = 200
    tagger: Path | None = None

    def __post_init__(self) -> None:
        extraction_named(self.extraction)  # errors now, and not after all collisions
        if self.tagger is not None:
            read_trees(self.tagger)
        if len(self.pt_edges) < 2 or any(low >= high for low, high in pairwise(self.pt_edges)):
            raise ConfigError(f"measurement: got pt_edges {self.pt_edges}, expected two or more that rise")
        if not self.working_points or not all(0 < point < 1 for point in self.working_points):
            raise ConfigError(f"measurement: got working_points {self.working_points}, expected shares between 0 and 1")
        if any(low >= high for low, high in pairwise(self.working_points)):
            raise ConfigError(f"measurement: got working_points {self.working_points}, expected them to rise")


@dataclass(frozen=True)
class FileInput:
    """Files of events with which the chain starts in place of its own stages up to there.

    Attributes:
        name: sample that the events are of.
        files: files and folders, also by patterns such as ``run*/events.parquet``; here all that match, sorted.
        tree: name of the tree in ROOT files, if they have several; not for EDM4hep.
        columns: columns of a table whose names are not recognised: ``pt=trk_pt``, ``event=evt``.
        units: units other than mm, rad and GeV: ``pt=MeV``.
        format: format of files of hits, as of `beampipe.tracking.open_events`, where their content does not show it.
        scale: scale of r, phi and z of hits, as of `beampipe.tracking.open_events`.
        hits: EDM4hep: collections of hits.
        links: EDM4hep: links of these to simulated hits.
        particles: EDM4hep: collection of particles.
        cell_id: EDM4hep: how `cellID` is packed.
        cross_section: cross section of generated events [pb], where the files do not state it.
    """

    name: str
    files: tuple[Path, ...]
    tree: str = ""
    columns: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    format: str | None = None
    scale: str = "mm"
    hits: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    particles: str | None = None
    cell_id: str | None = None
    cross_section: float | None = None

    def __post_init__(self) -> None:
        files: list[str] = []
        for path in self.files:
            matching = [str(path)] if path.exists() else sorted(glob(str(path), recursive=True))
            if not matching:
                raise ConfigError(f"input of {self.name}: no such file: {path}; expected files, or a pattern of some")
            files += matching
        if not files:
            raise ConfigError(f"input of {self.name}: got no files, expected some")
        object.__setattr__(self, "files", tuple(Path(each).absolute() for each in files))


@dataclass(frozen=True)
class InputSettings:
    """Where events come from files, by sample.

    Attributes:
        events: particles of a generator, in HepMC, or partons in LHE, which Pythia showers.
        hits: hits of a tracker.
        tracks: tracks.
    """

    events: Mapping[str, FileInput] = field(default_factory=lambda: MappingProxyType({}))
    hits: Mapping[str, FileInput] = field(default_factory=lambda: MappingProxyType({}))
    tracks: Mapping[str, FileInput] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, sample: str) -> tuple[str, FileInput] | None:
        """Name of the input of a sample, and the input; None if the sample is simulated."""
        kinds = ((each.name, getattr(self, each.name)) for each in fields(self))
        return next(((kind, inputs[sample]) for kind, inputs in kinds if sample in inputs), None)

    @property
    def names(self) -> list[str]:
        """Samples that have an input, once for each."""
        return [name for each in fields(self) for name in getattr(self, each.name)]


@dataclass(frozen=True)
class StageUse:
    """A stage of a user in place of a shipped one.

    Attributes:
        name: name of the stage that it replaces.
        use: ``FILE.py:CLASS``, ``MODULE:CLASS``, or the name of a plug-in.
        options: its settings, as JSON.
    """

    name: str
    use: str
    options: str = "{}"

    @property
    def file(self) -> Path | None:
        """The file of its code, if it is given by its path."""
        path = Path(self.use.rpartition(":")[0])
        return path if path.suffix == ".py" else None


@dataclass(frozen=True)
class TraceSettings:
    """One trace of the run, by OpenTelemetry, in the file `trace.jsonl` in its folder.

    Attributes:
        traces: address of a collector to which spans are sent, too, by OTLP over HTTP; empty for none.
    """

    traces: str = ""

    def __post_init__(self) -> None:
        _ = self.url  # refuses an address that is no URL

    @property
    def url(self) -> str:
        """Address to which spans are posted; empty for none."""
        return TelemetrySettings(self.traces).url if self.traces else ""


@dataclass(frozen=True)
class ChainSettings:
    """All settings of a chain.

    Attributes:
        output: folder of the store and of the results.
        samples: the samples by name.
        seed: seed of every random choice.
        chunk_events: number of events that are simulated together.
        collisions: the generated collisions.
        detector: the tracker.
        calorimeter: the calorimeter.
        tracks: track finding.
        jets: jets of towers.
        measurement: scale factors and fit.
        facility: TOML file of nodes, for which the report projects the cost.
        telemetry: trace of the run; None for none.
        input: files with which samples start.
        stage: stages of a user in place of shipped ones.
    """

    output: Path
    samples: Mapping[str, Sample] = field(default_factory=lambda: MappingProxyType({}))
    seed: int = 1
    chunk_events: int = 50
    collisions: CollisionSettings = field(default_factory=CollisionSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    calorimeter: Calorimeter = field(default_factory=Calorimeter)
    tracks: TrackSettings = field(default_factory=TrackSettings)
    jets: JetSettings = field(default_factory=JetSettings)
    measurement: MeasurementSettings = field(default_factory=MeasurementSettings)
    facility: Path | None = None
    telemetry: TraceSettings | None = None
    input: InputSettings = field(default_factory=InputSettings)
    stage: Mapping[str, StageUse] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        self._check_inputs()
        for role in ROLES if self.measures else ():
            names = [sample.name for sample in self.samples.values() if sample.role == role]
            if len(names) != 1:
                raise ConfigError(
                    f"samples: got {', '.join(names) or 'none'} with the role {role!r}, expected one sample"
                )
        softest = max(self.jets.min_pt, self.measurement.pt_edges[0])
        if softest >= self.collisions.pt_max and self.measures:
            raise ConfigError(
                f"jets: got min_pt {self.jets.min_pt:g} and pt_edges from {self.measurement.pt_edges[0]:g}, expected"
                f" less than pt_max of the collisions, {self.collisions.pt_max:g} GeV"
            )
        if not 1 <= self.chunk_events <= 1000:
            raise ConfigError(f"chunk_events: got {self.chunk_events}, expected 1 to 1000")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed: got {self.seed}, expected 0 to {2**32 - 1}")

    def _check_inputs(self) -> None:
        """Give a sample to an input without one, and refuse inputs that do not fit the samples."""
        names = self.input.names
        if not self.samples and set(names) == {INPUT}:
            object.__setattr__(self, "samples", MappingProxyType({INPUT: Sample(INPUT, INPUT)}))
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"input: got several inputs of {twice[0]}, expected one: the chain starts there")
        for name in names:
            if name == INPUT and name not in self.samples:
                raise ConfigError(f"input: got no sample, expected one of {', '.join(self.samples)}: sample = ...")
            look_up("sample of an input", name, self.samples)
        for each in self.samples.values():
            if not each.events and each.name not in names:
                raise ConfigError(f"sample {each.name}: got {each.events} events, expected 1 or more")
            if each.role == INPUT and each.name not in names:
                raise ConfigError(f"sample {each.name}: got the role {INPUT!r}, expected a table [input.*] of it")
            if (each.role == INPUT) == self.measures:
                raise ConfigError(f"samples: got {INPUT!r} among other roles, expected it for all of them or for none")
            if self.measures and (each.name in self.input.hits or each.name in self.input.tracks):
                raise ConfigError(
                    f"input of {each.name}: got hits or tracks for a measurement, which needs jets of a calorimeter;"
                    " leave [samples] out: tracks, and jets of them, are made"
                )
        if self.collisions.with_photons and names:
            raise ConfigError("input: got events of files with photons, expected process = ['dijets']")

    @property
    def measures(self) -> bool:
        """Whether something is measured; otherwise events of files are taken up to jets."""
        return not any(sample.role == INPUT for sample in self.samples.values())

    def of_role(self, role: str) -> Sample:
        """The sample of one of `ROLES`."""
        return next(sample for sample in self.samples.values() if sample.role == role)


EXAMPLE: Final = Path(__file__).parent / "data" / "chain.toml"
"""Commented settings to start from. The demo has the same with fewer collisions, shipped ntuples, and no alternative
sample: there are no shipped ntuples of it."""

SHIPPED: Final = EXAMPLE.parent
"""Folder of the ntuples that the demo adds to its own, by name of the sample."""

_SHIPPED_EVENTS: Final = 1850
"""Collisions of each sample in the shipped ntuples."""

_DEMO_EVENTS: Final = {"nominal": 150, "data": 75, "measured": 75}
"""Collisions that the demo simulates."""


def shipped_settings(output: Path) -> ChainSettings:
    """The settings that the shipped ntuples were made with: `benchmarks/make_samples.py` makes them again."""
    settings = load_settings(EXAMPLE, output)
    samples = {sample.name: replace(sample, events=_SHIPPED_EVENTS) for sample in map(settings.of_role, ROLES)}
    return replace(settings, samples=MappingProxyType(samples))


def demo_settings(output: Path) -> ChainSettings:
    """The settings of the demo: those of the shipped ntuples with another seed and fewer collisions."""
    settings = shipped_settings(output)
    samples = {
        name: replace(sample, events=_DEMO_EVENTS[name], further=(SHIPPED / f"{name}.root",))
        for name, sample in settings.samples.items()
    }
    tracks = replace(settings.tracks, compare=("acts-soft",), compare_events=50)
    return replace(settings, samples=MappingProxyType(samples), seed=settings.seed + 1, chunk_events=25, tracks=tracks)


def load_settings(path: Path, output: Path | None = None) -> ChainSettings:
    """Read the settings of a chain.

    Args:
        path: the TOML file.
        output: folder of the results in place of that in the file.

    Raises:
        FileError: the file cannot be read, or is no TOML.
        ConfigError: a key is unknown or missing, or a value is impossible.
    """
    table = read_toml(path, "the TOML file of a chain")
    if output is not None:
        table["output"] = output
    for kind, given in table.get("input", {}).items():
        if isinstance(given, Mapping) and "files" in given:  # else tables of several samples
            own = dict(given)
            table["input"][kind] = {own.pop("sample", INPUT): own}
    for name, given in table.get("stage", {}).items():
        if isinstance(given, Mapping) and isinstance(given.get("use"), str):  # its other keys are settings of its own
            file, colon, kind = given["use"].rpartition(":")
            use = f"{(path.parent / file).absolute()}:{kind}" if colon and file.endswith(".py") else given["use"]
            own = {key: value for key, value in given.items() if key != "use"}
            table["stage"][name] = {"use": use, "options": json.dumps(own)}
    return build(ChainSettings, table, str(path), path.parent)
