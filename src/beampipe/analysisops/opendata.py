"""Real data: files of ATLAS Open Data, downloaded completely and verified into a folder that the tools read.

The catalogue of a release, from `atlasopenmagic` or any other list, names the files of a dataset and a
skim. Each file appears complete and verified, or not at all.
"""

from __future__ import annotations

import json
import re
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx

from beampipe.analysisops.tasks.load import Task
from beampipe.analysisops.tools.data_folder import MANIFEST, DataFolder, write_manifest
from beampipe.errors import ConfigError, FileError, InputError, ServiceError, ServiceUnavailableError
from beampipe.files import make_folder
from beampipe.workflow import file_digest, leased

DATA: Final = "data"
"""Name of the measured dataset; others are numbers of simulated samples."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")

_LARGE: Final = 1_000_000
"""ROOT files with at least this version have 64-bit offsets in the header."""

_RETRY_STATUSES: Final = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which a request is repeated."""

_ATTEMPTS: Final = 5
"""Number of requests for a file after which its download fails."""

_PAUSE: Final = 1.0
"""Pause before the second request; doubled before each further one [s]."""

_TIMEOUT: Final = 30.0
"""Silence of a server after which a connection counts as lost [s]."""


@dataclass(frozen=True)
class OpenFile:
    """A file that can be downloaded.

    Attributes:
        url: its HTTP address.
        facts: public facts for the manifest; ``role`` is one.

    Raises:
        InputError: the address is not HTTP, or does not end in the plain name of a file.
    """

    url: str
    facts: Mapping[str, Any] = field(default_factory=lambda: {"role": DATA})

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise InputError(f"open data: got the address {self.url!r}, expected one of http or https; ask for https")
        if not _PLAIN.fullmatch(self.name) or self.name == MANIFEST:
            raise InputError(f"open data: got {self.url!r}, expected an address that ends in the plain name of a file")

    @property
    def name(self) -> str:
        """Name of the file, without a path."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


def download(file: OpenFile, folder: Path, recorded: str = "") -> str:
    """Download a file into a folder, in place of a file of that name.

    After a lost connection, and if the server is busy, the file is requested again.

    Args:
        file: the file.
        folder: the folder.
        recorded: SHA-256 that it had when it was first downloaded; empty if it is new.

    Returns:
        The SHA-256 of its contents, in hexadecimal digits.

    Raises:
        FileError: it is not a complete ROOT file, differs from the recorded one, or cannot be written.
        ServiceError: the server refuses it, or does not have it.
        ServiceUnavailableError: the server did not send all of it in any attempt.
    """
    part, fault = folder / f".{file.name}.partial", ""
    try:
        for attempt in range(_ATTEMPTS):
            time.sleep(_PAUSE * 2.0 ** (attempt - 1) if attempt else 0.0)
            fault = _request(file, part)
            if not fault:
                break
        else:
            raise ServiceUnavailableError(
                f"{file.url}: got {fault} in {_ATTEMPTS} attempts, expected the file; try again later", url=file.url
            )
        sha256, fault = file_digest(part), root_fault(part)
        if recorded and sha256 != recorded and not fault:
            fault = f"sha256 {sha256} instead of {recorded}, which it had when it was first downloaded"
        if fault:
            raise FileError(
                f"{file.url}: got {fault}, expected a whole ROOT file as it was made; look at the address in a browser",
                name=file.name,
            )
        part.replace(folder / file.name)
        return sha256
    except (FileError, ServiceError):
        raise
    except OSError as error:
        raise FileError(
            f"{folder / file.name}: cannot be written ({error.strerror}); free disk space or choose another folder",
            path=folder / file.name,
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _request(file: OpenFile, part: Path) -> str:
    """Request a file once; returns why a further request may succeed, empty if the file has arrived."""
    headers = {"Accept-Encoding": "identity"}
    try:
        with httpx.stream("GET", file.url, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as answer:
            if answer.status_code in _RETRY_STATUSES:
                return f"status {answer.status_code}"
            if answer.status_code != 200:
                gone = answer.status_code in (404, 410)
                hint = "the catalogue may be older than the server" if gone else "check whether the file is public"
                raise ServiceError(
                    f"{file.url}: got status {answer.status_code} {answer.reason_phrase}, expected the file; {hint}",
                    url=file.url,
                )
            with part.open("wb") as out:
                out.writelines(answer.iter_raw())
            return ""
    except httpx.TransportError as error:
        return f"{type(error).__name__}: {error}".rstrip(": ")
    except httpx.HTTPError as error:
        raise ServiceError(f"{file.url}: {error}, expected the file", url=file.url) from error


def root_fault(path: Path) -> str:
    """What is wrong with a ROOT file, by the header; empty if nothing is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(24)
    if len(head) < 24 or not head.startswith(b"root"):
        return f"{size} bytes that are no ROOT file"
    (version,) = struct.unpack(">i", head[4:8])
    (stated,) = struct.unpack(">q", head[12:20]) if version >= _LARGE else struct.unpack(">i", head[12:16])
    return "" if 0 < stated <= size else f"{size} bytes of a file that says it has {stated}"


def download_files(files: Sequence[OpenFile], folder: Path, public: Mapping[str, Any], *, reuse: bool = True) -> None:
    """Download files into a folder of data; files that match its manifest are not downloaded again.

    One process at a time works on a folder; others wait, and then use the same files.

    Args:
        files: the files; their names must differ.
        folder: the folder, which is created if needed.
        public: public facts of all data together, for a new folder.
        reuse: whether to keep existing files; else they are downloaded again, and must be the same.

    Raises:
        InputError: two files have one name.
        FileError: a file contradicts the manifest, or cannot be written.
        ServiceError: a server gave no usable answer. Files that are complete are kept for the next call.
    """
    names = [file.name for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"open data: got several files named {', '.join(twice)}, expected names that differ")
    make_folder(folder)
    with leased(folder / ".lock", wait=True):
        if not (folder / MANIFEST).exists():
            write_manifest(folder, [], public)
        public = DataFolder(folder).public
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        entries: dict[str, dict[str, Any]] = {facts["name"]: dict(facts) for facts in content["files"]}
        for file in files:
            entry, path = entries.get(file.name, {}), folder / file.name
            if entry.get("url", file.url) != file.url:
                raise FileError(
                    f"{path}: got a file from {entry['url']}, expected one from {file.url}; take another folder",
                    path=path,
                )
            recorded = str(entry.get("sha256", ""))
            if reuse and recorded and path.exists() and _sha256(path, path.stat().st_mtime_ns) == recorded:
                continue
            sha256 = download(file, folder, recorded)
            size = path.stat().st_size
            entries[file.name] = {**file.facts, "name": file.name, "bytes": size, "sha256": sha256, "url": file.url}
            write_manifest(folder, [entries[name] for name in sorted(entries)], public)


@lru_cache(maxsize=1024)
def _sha256(path: Path, changed: int) -> str:
    """The SHA-256 of a file with that time of change [ns]."""
    return file_digest(path)


_FACTS: Final = {
    "process": "process",
    "cross_section_pb": "cross_section_pb",
    "genFiltEff": "filter_efficiency",
    "kFactor": "k_factor",
    "sumOfWeights": "sum_of_weights",
}
"""Name of a fact of a simulated sample in the catalogue -> in the manifest."""

_catalogue_lock: Final = threading.Lock()
"""Lock, since `atlasopenmagic` has one current release for the whole process."""


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

It raises InputError if there is no such release, dataset or skim, and ServiceUnavailableError if the catalogue does not
answer.
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

    with _catalogue_lock:
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


def prepare_open_data(task: Task, folder: Path, *, catalogue: Catalogue = atlas_catalogue) -> Path:
    """Download the data of a task on open data, as many files as the task allows.

    Args:
        task: the task; its specification names release, dataset and skim.
        folder: folder of the data; it is created if needed, and existing files are verified and reused.
        catalogue: lists the files.

    Returns:
        The folder, with the files and ``manifest.json`` as tools read it.

    Raises:
        ConfigError: the task generates its data, or needs none.
        InputError: the catalogue has no files for it.
        FileError: a file fails verification, or cannot be written.
        ServiceError: the catalogue or a server gave no usable answer. Files that are complete are kept.
    """
    spec = task.spec
    if spec.family or not spec.needs_data:
        why = f"data of its own family {spec.family}" if spec.family else "a task that needs no data"
        raise ConfigError(f"{spec.id}: got {why}, expected one that works on open data")
    limit = spec.constraints.max_files
    most = spec.max_files if limit is None else min(spec.max_files, limit)
    files = tuple(catalogue(Selection(spec.release, spec.dataset, spec.skim, spec.protocol)))[:most]
    if not files and most:
        raise InputError(
            f"open data: got no files for release {spec.release!r}, dataset {spec.dataset!r}, skim {spec.skim!r},"
            " expected some"
        )
    public = {"release": spec.release, "skim": spec.skim, "source": "ATLAS Open Data"}
    download_files(files, folder, public, reuse=spec.reuse_existing)
    return folder
