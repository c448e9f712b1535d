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
    """

    name: str
    title: str
    reads: str
    function: str


_FITTED: Final = "on each side of the cut, a Poisson fit of quark and gluon templates to both regions"
_TAILS: Final = "the inversion, with fractions measured in the tails of data (jet topics)"
_PURITY: Final = "the purity of the tails"

EXTRACTIONS: Final = (
    OwnExtraction(MATRIX, "the inversion above; the default", "the fractions in both regions", "matrix:inverted"),
    OwnExtraction("template", _FITTED, "the fractions, and the shapes on each side of the cut", "template_fit:fitted"),
    OwnExtraction("topics", _TAILS, _PURITY, "topics:topics"),
    OwnExtraction("topics_narrow", "the same, tails of 10 %", _PURITY, "topics:topics_narrow"),
    OwnExtraction("topics_wide", "the same, tails of 30 %", _PURITY, "topics:topics_wide"),
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
