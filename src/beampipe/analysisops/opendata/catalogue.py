"""List the files of a release, a dataset and a skim, and download the data of a task on open data."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe.analysisops.opendata.download import DATA, OpenFile, TransferLimits, download_files, init_data_folder
from beampipe.analysisops.tasks.load import Task
from beampipe.errors import ConfigError, InputError, ServiceUnavailableError

_FACTS: Final = {
    "process": "process",
    "cross_section_pb": "cross_section_pb",
    "genFiltEff": "filter_efficiency",
    "kFactor": "k_factor",
    "sumOfWeights": "sum_of_weights",
}
"""Name of a fact of a simulated sample in the catalogue -> in the manifest."""

_one_at_a_time: Final = threading.Lock()
"""`atlasopenmagic` keeps one release for the whole process."""


@dataclass(frozen=True)
class Selection:
    """A selection of files.

    Attributes:
        release: release of the open data, such as ``"2025e-13tev-beta"``.
        dataset: ``"data"``, or the number of a simulated sample.
        skim: which selection of events, such as ``"2muons"``; empty for all of them.
        protocol: download protocol, ``"https"``.
    """

    release: str
    dataset: str = DATA
    skim: str = ""
    protocol: str = "https"


Catalogue = Callable[[Selection], Sequence[OpenFile]]
"""Lists the files of a selection, always in the same order.

It raises InputError if there is no such release, dataset or skim, and ServiceUnavailableError if it has no answer.
"""


def atlas_catalogue(selection: Selection) -> Sequence[OpenFile]:
    """The files of a selection in the catalogue of ATLAS Open Data, which is queried over the network.

    Raises:
        MissingExtraError: `atlasopenmagic` is not installed.
        InputError: there is no such release, dataset or skim, or the protocol yields no HTTP addresses.
        ServiceUnavailableError: the catalogue does not answer.
    """
    if selection.protocol != "https":
        raise InputError(f"open data: got the protocol {selection.protocol!r}, expected https; files are copied whole")
    import atlasopenmagic

    with _one_at_a_time:
        try:
            atlasopenmagic.set_verbosity("error")
            atlasopenmagic.set_release(selection.release)
            # Without `cache=False` it returns addresses of fsspec's cache.
            urls = atlasopenmagic.get_urls(
                selection.dataset, skim=selection.skim or "noskim", protocol="https", cache=False
            )
            metadata = {} if selection.dataset == DATA else atlasopenmagic.get_metadata(selection.dataset)
        except OSError as error:  # errors of requests; those of its JSON parser are ValueErrors, too
            raise ServiceUnavailableError(
                f"the catalogue of ATLAS Open Data: got no answer ({str(error)[:200]}), expected one; try again later",
                url=str(atlasopenmagic.metadata.API_BASE_URL),
            ) from error
        except ValueError as error:
            raise InputError(f"open data: {' '.join(str(error).split())}") from error
    facts = {"role": DATA if selection.dataset == DATA else "mc", "dataset": selection.dataset}
    facts |= {ours: metadata[theirs] for theirs, ours in _FACTS.items() if metadata.get(theirs) is not None}
    return tuple(OpenFile(url, facts) for url in urls)


def prepare_open_data(
    task: Task,
    folder: Path,
    *,
    catalogue: Catalogue = atlas_catalogue,
    workers: int = 4,
    limits: TransferLimits | None = None,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Download the data of a task on open data, as many files as the task allows.

    Args:
        task: the task; its specification names release, dataset and skim.
        folder: folder of the data; it is created if needed, and existing files are verified and reused.
        catalogue: lists the files.
        workers: number of downloads at once.
        limits: limits of each download.
        progress: called with the number of bytes that arrived.

    Returns:
        The folder, with the files and ``manifest.json`` as tools read it.

    Raises:
        ConfigError: the task generates its data, or needs none.
        InputError: the catalogue has no files for it.
        FileError: a file fails verification, or the disk is full.
        ServiceError: the catalogue or a server gave no usable answer. Bytes that have arrived are kept for the next
            call.
    """
    spec = task.spec
    if spec.family or not spec.needs_data:
        why = f"data of its own family {spec.family}" if spec.family else "a task that needs no data"
        raise ConfigError(f"{spec.id}: got {why}, expected one that works on open data")
    init_data_folder(folder, {"release": spec.release, "skim": spec.skim, "source": "ATLAS Open Data"})
    limit = spec.constraints.max_files
    most = spec.max_files if limit is None else min(spec.max_files, limit)
    files = tuple(catalogue(Selection(spec.release, spec.dataset, spec.skim, spec.protocol)))[:most]
    if not files and most:
        raise InputError(
            f"open data: got no files for release {spec.release!r}, dataset {spec.dataset!r}, skim {spec.skim!r},"
            " expected some"
        )
    download_files(files, folder, workers=workers, limits=limits, reuse=spec.reuse_existing, progress=progress)
    return folder
