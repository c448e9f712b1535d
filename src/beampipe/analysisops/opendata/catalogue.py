"""Which files there are for a release, a dataset and a skim, and where."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from beampipe.analysisops.opendata.checksums import Checksum
from beampipe.analysisops.tools.folder import MANIFEST
from beampipe.errors import InputError, ServiceUnavailableError

__all__ = ["DATA", "Catalogue", "OpenFile", "Selection", "atlas_catalogue"]

DATA: Final = "data"
"""Name of the dataset that was measured; others are numbers of simulated samples."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")

_FACTS: Final = {
    "process": "process",
    "cross_section_pb": "cross_section_pb",
    "genFiltEff": "filter_efficiency",
    "kFactor": "k_factor",
    "sumOfWeights": "sum_of_weights",
}
"""What the catalogue knows of a simulated sample -> what the manifest calls it."""

_one_at_a_time: Final = threading.Lock()
"""`atlasopenmagic` has one release at a time for the whole process."""


@dataclass(frozen=True)
class Selection:
    """Which files are asked for.

    Attributes:
        release: of the open data, such as ``"2025e-13tev-beta"``.
        dataset: ``"data"``, or the number of a simulated sample.
        skim: which selection of events, such as ``"2muons"``; empty for all of them.
        protocol: how to download, ``"https"``.
    """

    release: str
    dataset: str = DATA
    skim: str = ""
    protocol: str = "https"


@dataclass(frozen=True)
class OpenFile:
    """A file that can be downloaded.

    Attributes:
        url: where it is, over HTTP.
        facts: what anybody may know of it, for the manifest; ``role`` is one.
        size: number of bytes, if the catalogue knows it.
        checksum: of the contents, if the catalogue knows it.

    Raises:
        InputError: the address is none of HTTP, or does not end in the plain name of a file.
    """

    url: str
    facts: Mapping[str, Any] = field(default_factory=lambda: {"role": DATA})
    size: int | None = None
    checksum: Checksum | None = None

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise InputError(f"open data: got the address {self.url!r}, expected one of http or https; ask for https")
        if not _PLAIN.fullmatch(self.name) or self.name == MANIFEST:
            raise InputError(f"open data: got {self.url!r}, expected an address that ends in the plain name of a file")

    @property
    def name(self) -> str:
        """Name of the file, without a path."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


Catalogue = Callable[[Selection], Sequence[OpenFile]]
"""Gives the files of a selection, always in the same order.

It raises InputError if there is no such release, dataset or skim, and ServiceUnavailableError if it has no answer.
"""


def atlas_catalogue(selection: Selection) -> Sequence[OpenFile]:
    """The files of a selection in the catalogue of ATLAS Open Data, asked over the network.

    Raises:
        MissingExtraError: `atlasopenmagic` is not installed.
        InputError: there is no such release, dataset or skim, or the protocol gives no addresses of HTTP.
        ServiceUnavailableError: the catalogue does not answer.
    """
    if selection.protocol != "https":
        raise InputError(f"open data: got the protocol {selection.protocol!r}, expected https; files are copied whole")
    import atlasopenmagic

    with _one_at_a_time:
        try:
            atlasopenmagic.set_verbosity("error")
            atlasopenmagic.set_release(selection.release)
            # Without `cache=False` the addresses would be those of another library's cache.
            urls = atlasopenmagic.get_urls(
                selection.dataset, skim=selection.skim or "noskim", protocol="https", cache=False
            )
            known = {} if selection.dataset == DATA else atlasopenmagic.get_metadata(selection.dataset)
        except OSError as error:  # requests' errors; its errors of JSON are ValueErrors too
            raise ServiceUnavailableError(
                f"the catalogue of ATLAS Open Data: got no answer ({str(error)[:200]}), expected one; try again later",
                url=str(atlasopenmagic.metadata.API_BASE_URL),
            ) from error
        except ValueError as error:
            raise InputError(f"open data: {' '.join(str(error).split())}") from error
    facts = {"role": DATA if selection.dataset == DATA else "mc", "dataset": selection.dataset}
    facts |= {ours: known[theirs] for theirs, ours in _FACTS.items() if known.get(theirs) is not None}
    return tuple(OpenFile(url, facts) for url in urls)
