"""Extractions by name: those of this package, and those of plug-ins.

To add one, write a function of the type `beampipe.calibration.method.matrix.Extraction`, and add an `OwnExtraction`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from beampipe.errors import UnknownNameError
from beampipe.identity import digest_of, user_code
from beampipe.lazy import import_name
from beampipe.plugins import load_plugin, plugin_digest, plugin_names

if TYPE_CHECKING:
    from beampipe.calibration.method.goodness import Refolding
    from beampipe.calibration.method.matrix import Extraction

MATRIX: Final = "matrix"
"""Name of the extraction that is used by default."""


@dataclass(frozen=True)
class OwnExtraction:
    """An extraction of this package, which makes the efficiencies of quark and gluon jets in data.

    Attributes:
        name: name in the configuration.
        title: the method, in a few words.
        reads: what it takes from simulation.
        function: ``module:function`` of `beampipe.calibration.method`.
        refolding: ``module:name`` there of its `beampipe.calibration.method.goodness.Refolding`.
    """

    name: str
    title: str
    reads: str
    function: str
    refolding: str


_FITTED: Final = "on each side of the cut, a Poisson fit of quark and gluon templates to both regions"
_TAILS: Final = "the inversion, with fractions measured in the tails of data (jet topics)"
_PURITY: Final = "the purity of the tails"

EXTRACTIONS: Final = (
    OwnExtraction(
        MATRIX,
        "the inversion above; the default",
        "the fractions in both regions",
        "matrix:inverted",
        "matrix:refolding",
    ),
    OwnExtraction(
        "template",
        _FITTED,
        "the fractions, and the shapes on each side of the cut",
        "template_fit:fitted",
        "template_fit:refolding",
    ),
    OwnExtraction("topics", _TAILS, _PURITY, "topics:topics", "topics:topics_shapes"),
    OwnExtraction(
        "topics_narrow", "the same, tails of 10 %", _PURITY, "topics:topics_narrow", "topics:topics_narrow_shapes"
    ),
    OwnExtraction("topics_wide", "the same, tails of 30 %", _PURITY, "topics:topics_wide", "topics:topics_wide_shapes"),
)
"""The extractions of this package."""

_OWN: Final = {each.name: each for each in EXTRACTIONS}


def extraction_named(name: str) -> Extraction:
    """The extraction of a name.

    Raises:
        UnknownNameError: there is none.
        ConfigError: a plug-in cannot be imported.
    """
    if name not in _OWN and name not in plugin_names("extractions"):
        raise UnknownNameError("extraction", name, (*_OWN, *plugin_names("extractions")))
    own = f"beampipe.calibration.method.{_OWN[name].function}" if name in _OWN else ""
    extraction: Extraction = import_name(own) if own else load_plugin("extractions", name)
    return extraction


def refolding_of(name: str) -> Refolding | None:
    """By what numbers an extraction is compared with data; None for a plug-in."""
    if name not in _OWN:
        return None
    refolding: Refolding = import_name(f"beampipe.calibration.method.{_OWN[name].refolding}")
    return refolding


def extraction_digest(name: str) -> str:
    """Digest of the code of an extraction; empty for `MATRIX`, whose code is that of the stage.

    Raises:
        UnknownNameError: there is none.
        ConfigError: a plug-in cannot be imported.
    """
    if name == MATRIX:
        return ""
    code = user_code(extraction_named(name).__module__).digest
    return code if name in _OWN else digest_of([code, plugin_digest("extractions", name)])
