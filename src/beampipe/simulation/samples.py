"""The dijet samples: their settings of Pythia and their slices of the hard process's pT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from beampipe.errors import look_up


@dataclass(frozen=True)
class Slice:
    """A range of the transverse momentum of the hard process, which is generated with a cross section of its own.

    Within a slice events are drawn with an extra factor ``(pT / low) ** power`` and carry its inverse as weight, so
    that the sparse upper end is filled as well as the lower one.

    Attributes:
        low: lower edge of the slice [GeV].
        high: upper edge of the slice [GeV].
        power: power of the extra factor.
        share: share of the sample's events that are generated in this slice; the shares of all slices sum to 1.
    """

    low: float
    high: float
    power: float
    share: float

    @property
    def settings(self) -> tuple[str, ...]:
        """The lines for Pythia that select the slice."""
        return (
            f"PhaseSpace:pTHatMin = {self.low:g}",
            f"PhaseSpace:pTHatMax = {self.high:g}",
            "PhaseSpace:bias2Selection = on",
            f"PhaseSpace:bias2SelectionPow = {self.power:g}",
            f"PhaseSpace:bias2SelectionRef = {self.low:g}",
        )


SLICES: Final = (
    Slice(470.0, 800.0, 4.0, 0.45),
    Slice(800.0, 1300.0, 6.0, 0.32),
    Slice(1300.0, 2400.0, 6.5, 0.23),
)
"""The slices of all samples. With their shares, the six pT bins between 500 and 2000 GeV get comparable numbers of
selected jets."""


@dataclass(frozen=True)
class SampleSpec:
    """One sample that can be generated.

    Attributes:
        name: name of the sample, and of the dataset in its files.
        role: the uncertainty that the sample stands for, ``"nominal"`` or ``"data"``.
        settings: lines for Pythia beyond those that all samples share, in order.
        seed: number that is mixed into every seed, so that samples of the same settings are independent.
        note: how the sample differs from the nominal one.
        varied: True if the events also carry the weights of the variations.
    """

    name: str
    role: str
    settings: tuple[str, ...]
    seed: int
    note: str = ""
    varied: bool = False


DIJETS: Final = "dijets"
GAMMAJET: Final = "gammajet"

PROCESSES: Final = {
    DIJETS: (),
    GAMMAJET: (
        "HardQCD:all = off",
        *(f"PromptPhoton:{process} = on" for process in ("qg2qgamma", "qqbar2ggamma", "gg2ggamma")),
    ),
}
"""Hard processes by name: lines for Pythia beyond those of a sample."""

_A14: Final = "Tune:pp = 21"

_SAMPLES: Final = (
    SampleSpec("nominal", "nominal", (_A14,), 1, "tune A14 with NNPDF2.3 LO", varied=True),
    SampleSpec("nominal2", "data", (_A14,), 2, "the nominal settings once more, independent; stands in for data"),
    SampleSpec(
        "fsr_up", "parton shower", (_A14, "TimeShower:renormMultFac = 4"), 3, "final-state shower at twice the scale"
    ),
    SampleSpec("fsr_down", "parton shower", (_A14, "TimeShower:renormMultFac = 0.25"), 4, "at half the scale"),
    SampleSpec(
        "vincia",
        "parton shower",
        ("PartonShowers:model = 2", "Vincia:sectorShower = off"),
        5,
        "Vincia's antenna shower with its own tune, global instead of sector showers, which is faster",
    ),
    SampleSpec("thermal", "hadronisation", (_A14, "Fragmentation:model = 1"), 6, "thermal string fragmentation"),
    SampleSpec(
        "lund",
        "hadronisation",
        (_A14, "StringZ:aLund = 0.98", "StringZ:bLund = 0.67", "StringPT:sigma = 0.305"),
        7,
        "other parameters of the Lund string",
    ),
    SampleSpec("monash", "tune", ("Tune:pp = 14",), 8, "Pythia's default tune"),
    SampleSpec("pdf_cteq6l1", "pdf", ("Tune:pp = 19",), 9, "A14 tuned with CTEQ6L1: other parameters move, too"),
    SampleSpec("pdf_mstw", "pdf", ("Tune:pp = 20",), 10, "A14 tuned with MSTW2008 LO: other parameters move, too"),
    SampleSpec("pdf_nnpdf31lo", "pdf", (_A14, "PDF:pSet = 17"), 11, "only the PDF set changes"),
    SampleSpec("pdf_mstw08lo_pure", "pdf", (_A14, "PDF:pSet = 5"), 12, "only the PDF set changes"),
    SampleSpec("pdf_cteq6l1_pure", "pdf", (_A14, "PDF:pSet = 8"), 13, "only the PDF set changes"),
    SampleSpec(
        "me_proxy",
        "matrix element",
        (
            _A14,
            "SigmaProcess:renormMultFac = 0.25",
            "SigmaProcess:factorMultFac = 0.25",
            "SpaceShower:pTmaxMatch = 2",
            "SpaceShower:pTdampMatch = 1",
        ),
        14,
        "other scales and shower start of the leading-order matrix element: a proxy, no next-to-leading order",
    ),
    SampleSpec(
        "colour_reconnection",
        "colour reconnection",
        (_A14, "ColourReconnection:mode = 1", "BeamRemnants:remnantMode = 1"),
        15,
        "the QCD-based model",
    ),
)

SAMPLES: Final = {spec.name: spec for spec in _SAMPLES}
"""The samples by name. Pythia generates all of them: no sample represents the difference to another generator."""


def sample_spec(name: str) -> SampleSpec:
    """The sample of a name.

    Raises:
        UnknownNameError: no sample has that name.
    """
    return look_up("sample", name, SAMPLES)
