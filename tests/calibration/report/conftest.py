"""A small result made by hand: two bins of pT, two working points, one tagger, a bin in which a number is not known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.config import Configuration, InputSample, Style, Systematic
from beampipe.calibration.events.dijets import CUT_NAMES, FLAVOURS
from beampipe.calibration.events.histograms import Axes, TaggerBins
from beampipe.calibration.events.variations import UNVARIED
from beampipe.calibration.method.cases import CutNumbers, Templates
from beampipe.calibration.method.factors import FLAVOUR_NAMES, QUANTITIES, FactorKey, Factors, ScaleFactor
from beampipe.calibration.method.joint import JointUncertainties
from beampipe.calibration.method.matrix import Efficiencies
from beampipe.calibration.report.write import write_all
from beampipe.calibration.results import Results, SampleResult
from beampipe.calibration.taggers import Tagger

EDGES = (500.0, 600.0, 900.0)
POINTS = (0.5, 0.8)
BINS = 8

SYSTEMATICS = (
    Systematic("pdf", "envelope", weights=("pdf_*",)),
    Systematic("me_proxy", samples=("me",)),
    Systematic("shower", samples=("one", "other")),
    Systematic("tracking", "quadrature", kinematics=("trk_*",), experimental=True),
    Systematic("nonclosure", method="nonclosure"),
)


def scale_factor(seed: int) -> ScaleFactor:
    random = np.random.default_rng(seed)
    sources = {source.name: random.uniform(0.01, 0.1, 2) for source in SYSTEMATICS}
    statistical = random.uniform(0.01, 0.1, 2)
    total = np.sqrt(statistical**2 + sum(values**2 for values in sources.values()))
    return ScaleFactor(
        nominal=random.uniform(0.8, 1.2, 2),
        data=random.uniform(0.4, 0.6, 2),
        simulation=random.uniform(0.4, 0.6, 2),
        truth=random.uniform(0.4, 0.6, 2),
        statistical=statistical,
        sources=sources,
        total=total,
        covariance=np.diag(total**2) + 1e-3,
        flags=((), ("small_determinant",)),
    )


def without_last_bin(one: ScaleFactor) -> ScaleFactor:
    """The same, with nothing known of the last bin but the statistical error of nothing at all."""

    def cut(values: np.ndarray) -> np.ndarray:
        return np.array([values[0], np.nan])

    return ScaleFactor(
        nominal=cut(one.nominal),
        data=cut(one.data),
        simulation=cut(one.simulation),
        truth=cut(one.truth),
        statistical=np.full(2, np.nan),
        sources={name: cut(values) for name, values in one.sources.items()},
        total=cut(one.total),
        covariance=np.where(np.eye(2) * [[1], [0]] > 0, one.covariance, np.nan),
        flags=((), ("no_value", "no_statistical_error")),
    )


@pytest.fixture(scope="session")
def factors() -> Factors:
    """Everything is known."""
    keys = [
        FactorKey("n_trk", wp, flavour, quantity)
        for wp in POINTS
        for flavour in FLAVOUR_NAMES
        for quantity in QUANTITIES
    ]
    return Factors(
        pt_edges=EDGES,
        working_points=POINTS,
        by_name={key: scale_factor(seed) for seed, key in enumerate(keys)},
        cuts={"n_trk": np.array([[3.0, 5.0], [3.0, 5.0]])},
        fractions={"n_trk": np.array([[0.6, 0.5], [0.7, 0.55]])},
        experimental=("tracking",),
    )


@pytest.fixture(scope="session")
def gappy(factors: Factors) -> Factors:
    """In one scale factor a bin is unknown, and there were no replicas for it."""
    key = FactorKey("n_trk", 0.5, "quark", "efficiency")
    by_name = {**factors.by_name, key: without_last_bin(factors.by_name[key])}
    return Factors(EDGES, POINTS, by_name, factors.cuts, factors.fractions, factors.experimental)


def joint_of(factors: Factors) -> JointUncertainties:
    """Two sources that move everything, and independent statistical errors; nothing of a bin that is not known."""
    random = np.random.default_rng(9)
    nominal = np.concatenate([item.nominal for item in factors.by_name.values()])
    statistical = np.diag(random.uniform(0.01, 0.03, len(nominal)) ** 2)
    lost = ~np.isfinite(nominal)
    statistical[lost], statistical[:, lost] = np.nan, np.nan
    pdf, shower = random.normal(0, 0.05, (2, len(nominal)))
    shifts = {"pdf": {"weight:pdf_1": pdf}, "shower": {"difference": shower}}
    vectors = {"pdf": pdf[None], "shower": shower[None]}
    return JointUncertainties(EDGES, tuple(factors.by_name), nominal, statistical, shifts, vectors)


def templates(flavours: tuple[str, ...], seed: int) -> Templates:
    axes = Axes(EDGES, flavours, (TaggerBins("n_trk", BINS),))
    entries = np.random.default_rng(seed).integers(1, 50, axes.shape).astype(np.float64)
    nothing = np.zeros((0, *axes.shape))
    return Templates(axes, (UNVARIED,), entries[None] * 0.5, entries[None] * 0.25, nothing, entries)


@pytest.fixture(scope="session")
def results(gappy: Factors) -> Results:
    shapes = np.random.default_rng(5).uniform(0, 1, (3, 2, 2, BINS))
    shapes /= shapes.sum(axis=-1, keepdims=True)
    shapes[0, 1] = np.nan
    share, drawn = np.full((1, 2, 2, 2), 0.5), np.zeros((0, 2, 2, 2))
    measured = Efficiencies(
        names=np.array(["nominal"]),
        cuts=np.array([[3, 5], [3, 5]]),
        data=share,
        simulation=share,
        truth=share,
        data_replicas=drawn,
        simulation_replicas=drawn,
        fractions=gappy.fractions["n_trk"][None],
        shapes=shapes,
    )
    flow = np.linspace(1000, 100, len(CUT_NAMES))
    samples = {
        "nominal": SampleResult(templates(FLAVOURS, 1), CutNumbers(flow, flow / 2)),
        "data": SampleResult(templates(("data",), 2), CutNumbers(flow, flow)),
    }
    kinds = ("me", "one", "other", "nominal")
    every = {name: InputSample(name, ()) for name in kinds} | {"data": InputSample("data", (), kind="pseudo-data")}
    return Results(
        configuration=Configuration(
            output=Path("output"),
            samples=every,
            pt_edges=EDGES,
            working_points=POINTS,
            taggers=(Tagger(bins=BINS, high=8.0),),
            systematics=SYSTEMATICS,
            style=Style(figures="all"),
        ),
        factors=gappy,
        joint=joint_of(gappy),
        efficiencies={"n_trk": measured},
        samples=samples,
        true={key: np.array([1.25, np.nan]) for key in gappy.by_name},
        provenance=(("scale factors", "0123abcd" * 5),),
        versions={"beampipe": "0"},
    )


@pytest.fixture(scope="session")
def report(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the whole report; not to be changed."""
    folder = tmp_path_factory.mktemp("report")
    paths = write_all(results, folder)
    assert all(path.stat().st_size > 0 for path in paths)
    assert len(set(paths)) == len(paths)
    return folder
