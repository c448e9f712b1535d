"""The files of a release, a dataset and a skim, and the data of a task on open data."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.opendata.download import DATA, OpenFile, TransferLimits, download_files, init_data_folder
from beampipe.analysisops.tasks.load import Task
from beampipe.analysisops.tasks.spec import TaskSpec
from beampipe.errors import ConfigError, FileError, InputError, ServiceUnavailableError, nearest

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


def prepare_open_data(
    task: Task,
    folder: Path,
    *,
    catalogue: Catalogue = atlas_catalogue,
    workers: int = 4,
    limits: TransferLimits | None = None,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Bring the data of a task that works on open data, as many files as it allows.

    Args:
        task: the task; its specification names release, dataset and skim.
        folder: where the data shall be; it is made, and what is there already is checked and taken.
        catalogue: knows the files.
        workers: so many are brought at once.
        limits: how they are asked for.
        progress: is called with the number of bytes that came.

    Returns:
        The folder, with the files and ``manifest.json`` as tools read it.

    Raises:
        ConfigError: the task has data of its own, or needs none.
        InputError: the catalogue has no files for it.
        FileError: a file is not what it should be, or there is no room for it.
        ServiceError: the catalogue or a server gave no usable answer. What has come is kept for another call.
    """
    spec = _checked(task.spec)
    init_data_folder(folder, _public(spec))
    files = _files(catalogue, _selection(spec), _most(spec))
    download_files(files, folder, workers=workers, limits=limits, reuse=spec.reuse_existing, progress=progress)
    return folder


class OpenDataFetch:
    """What `download_atlas_data_tool` brings for a task: its own skim and release, and no more files than it allows.

    The folder is made at once, with an empty manifest, so that a session can begin.

    Args:
        spec: of the task.
        folder: of the session's data.
        datasets: datasets beside the task's own that may be brought, such as numbers of simulated samples.
        catalogue: knows the files.
        workers: so many files are brought at once.
        limits: how they are asked for; with a limit of time, another call goes on where one was ended.

    Raises:
        ConfigError: the task has data of its own, or needs none.
        FileError: the folder cannot be made.
    """

    def __init__(
        self,
        spec: TaskSpec,
        folder: Path,
        *,
        datasets: Sequence[str] = (),
        catalogue: Catalogue = atlas_catalogue,
        workers: int = 4,
        limits: TransferLimits | None = None,
    ) -> None:
        self._spec, self._folder = _checked(spec), folder
        self._datasets = (spec.dataset, *(name for name in datasets if name != spec.dataset))
        self._catalogue, self._workers, self._limits = catalogue, workers, limits
        init_data_folder(folder, _public(spec))

    def __call__(self, *, skim: str, release: str, dataset: str, protocol: str, max_files: int) -> None:
        """Bring files; empty words and 0 mean: as the task has it.

        Raises:
            ToolRefusedError: they are not for this task, or cannot be brought now; the message is for the agent.
            BeampipeError: the catalogue or a server gave no usable answer.
        """
        own = _selection(self._spec)
        for what, got, expected in (
            ("skim", skim, own.skim),
            ("release", release, own.release),
            ("protocol", protocol, own.protocol),
        ):
            if got not in ("", expected):
                raise ToolRefusedError(f"{what}: got {got[:60]!r}, expected {expected!r}, that of the task, or none")
        dataset = dataset or self._spec.dataset
        if dataset not in self._datasets:
            raise ToolRefusedError(
                f"dataset: got {dataset[:60]!r}, expected one of {', '.join(self._datasets)}"
                f"{nearest(dataset, self._datasets)}"
            )
        most = _most(self._spec)
        if not 0 <= max_files <= most:
            raise ToolRefusedError(f"max_files: got {max_files}, expected at most {most}, or 0 for as many as that")
        files = _files(self._catalogue, replace(own, dataset=dataset), max_files or most)
        try:
            download_files(files, self._folder, workers=self._workers, limits=self._limits)
        except FileError as error:  # agents are not told where files are on the host
            raise ToolRefusedError(
                str(error).replace(f"{self._folder}/", "").replace(str(self._folder), "data")
            ) from error


def _checked(spec: TaskSpec) -> TaskSpec:
    """The specification, if it is one of a task on open data.

    Raises:
        ConfigError: it is not.
    """
    if spec.family or not spec.needs_data:
        why = f"data of its own family {spec.family}" if spec.family else "a task that needs no data"
        raise ConfigError(f"{spec.id}: got {why}, expected one that works on open data")
    return spec


def _selection(spec: TaskSpec) -> Selection:
    return Selection(spec.release, spec.dataset, spec.skim, spec.protocol)


def _most(spec: TaskSpec) -> int:
    """Number of files that a task allows."""
    limit = spec.constraints.max_files
    return spec.max_files if limit is None else min(spec.max_files, limit)


def _public(spec: TaskSpec) -> dict[str, Any]:
    return {"release": spec.release, "skim": spec.skim, "source": "ATLAS Open Data"}


def _files(catalogue: Catalogue, selection: Selection, most: int) -> Sequence[OpenFile]:
    """The first files of a selection.

    Raises:
        InputError: there is none.
    """
    files = tuple(catalogue(selection))[:most]
    if not files and most:
        raise InputError(
            f"open data: got no files for release {selection.release!r}, dataset {selection.dataset!r}, skim"
            f" {selection.skim!r}, expected some"
        )
    return files
