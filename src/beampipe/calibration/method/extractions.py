"""Extractions by name: those of this package, and those of plug-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from beampipe.errors import UnknownNameError
from beampipe.identity import digest_of, user_code
from beampipe.lazy import import_name
from beampipe.plugins import load_plugin, plugin_digest, plugin_names

if TYPE_CHECKING:
    from beampipe.calibration.method.matrix import Extraction

MATRIX: Final = "matrix"
"""Name of the extraction that is used by default."""

_OWN: Final = {
    MATRIX: "beampipe.calibration.method.matrix:inverted",
    "template": "beampipe.calibration.method.template_fit:fitted",
    "topics": "beampipe.calibration.method.topics:topics",
    "topics_narrow": "beampipe.calibration.method.topics:topics_narrow",
    "topics_wide": "beampipe.calibration.method.topics:topics_wide",
}


def extraction_named(name: str) -> Extraction:
    """The extraction of a name.

    Raises:
        UnknownNameError: there is none.
        ConfigError: a plug-in cannot be imported.
    """
    if name not in _OWN and name not in plugin_names("extractions"):
        raise UnknownNameError("extraction", name, (*_OWN, *plugin_names("extractions")))
    extraction: Extraction = import_name(_OWN[name]) if name in _OWN else load_plugin("extractions", name)
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
