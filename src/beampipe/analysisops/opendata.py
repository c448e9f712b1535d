"""Real data: files of ATLAS Open Data, downloaded completely and verified into a folder that the tools read.

The catalogue of a release, from `atlasopenmagic` (extra ``opendata``) or any other list, names the files of a dataset
and a skim. Each file appears complete and verified, or not at all.

After an interruption the rest is requested on condition that the file is still the same (``If-Range``); if the server
has another one meanwhile, or does not support ranges, the download starts again.
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

_RETRY_STATUSES: Final = (408, 416, 425, 429, 500, 502, 503, 504)
"""Statuses after which a request is repeated; 416: the file is now shorter than the bytes that have arrived."""

_MOST_ATTEMPTS: Final = 200
"""Maximum number of requests for one file, even if each brings some bytes."""

_LONGEST_PAUSE: Final = 60.0
"""Longest pause between requests, also if a server requests a longer one [s]."""


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


@dataclass(frozen=True)
class TransferLimits:
    """Limits of the download of a file.

    Attributes:
        attempts: number of consecutive requests without new bytes after which it fails.
        pause: pause before the second of them; doubled before each further one [s].
        timeout: silence of a server after which a connection counts as lost [s].
        largest: largest size [bytes].
    """

    attempts: int = 5
    pause: float = 1.0
    timeout: float = 30.0
    largest: int = 64 << 30


@dataclass
class _Partial:
    """The bytes of a file that have arrived.

    Attributes:
        path: where they are.
        tag: strong entity tag or date of change of the file, for ``If-Range``; empty if there is none.
        total: size of the whole file, as the server states it.
    """

    path: Path
    tag: str = ""
    total: str = ""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.path.stat().st_size if self.path.exists() else 0


class _RetryError(Exception):
    """This request did not complete the file; another may.

    Args:
        message: why.
        wait: pause that the server requests [s]; None if it does not.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def download(file: OpenFile, folder: Path, recorded: str = "", limits: TransferLimits | None = None) -> str:
    """Download a file into a folder, in place of a file of that name.

    Args:
        file: the file.
        folder: the folder.
        recorded: SHA-256 that it had when it was first downloaded; empty if it is new.
        limits: limits of the download.

    Returns:
        The SHA-256 of its contents, in hexadecimal digits.

    Raises:
        FileError: it is not a complete ROOT file, differs from the recorded one, or cannot be written.
        ServiceError: the server refuses it, or does not have it.
        ServiceUnavailableError: the server did not send all of it in all attempts.
    """
    limits, part = limits or TransferLimits(), _Partial(folder / f".{file.name}.partial")
    timeout = httpx.Timeout(limits.timeout, connect=min(10.0, limits.timeout))
    try:
        with httpx.Client(timeout=timeout, follow_redirects=True) as client:
            _request_all(client, file, part, limits)
        sha256, fault = file_digest(part.path), root_fault(part.path)
        if recorded and sha256 != recorded and not fault:
            fault = f"sha256 {sha256} instead of {recorded}, which it had when it was first brought"
        if fault:
            raise FileError(
                f"{file.url}: got {fault}, expected a whole ROOT file as it was made; try again", name=file.name
            )
        part.path.replace(folder / file.name)
        return sha256
    except (FileError, ServiceError):
        raise
    except OSError as error:
        raise FileError(
            f"{folder / file.name}: cannot be written ({error.strerror}); free disk space or choose another folder",
            path=folder / file.name,
        ) from error
    finally:
        part.path.unlink(missing_ok=True)


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


def _request_all(client: httpx.Client, file: OpenFile, part: _Partial, limits: TransferLimits) -> None:
    fruitless = 0
    for _ in range(_MOST_ATTEMPTS):
        before = part.size
        try:
            return _request_rest(client, file, part, limits)
        except _RetryError as error:
            fault, wait = str(error), error.wait
        except httpx.TransportError as error:
            fault, wait = f"{type(error).__name__}: {error}".rstrip(": "), None
        except httpx.HTTPError as error:
            raise ServiceError(f"{file.url}: {error}, expected the file", url=file.url) from error
        fruitless = 0 if part.size > before else fruitless + 1
        if fruitless >= limits.attempts:
            break
        pause = limits.pause * 2.0 ** max(0, fruitless - 1) if wait is None else wait
        time.sleep(min(pause, _LONGEST_PAUSE))
    raise ServiceUnavailableError(
        f"{file.url}: got {fault} after {part.size} bytes, expected the file; try again later", url=file.url
    )


def _request_rest(client: httpx.Client, file: OpenFile, part: _Partial, limits: TransferLimits) -> None:
    """Request what has not arrived yet, or all of it if the file has changed or the server gives no parts."""
    have = part.size if part.tag else 0
    condition = {"Range": f"bytes={have}-", "If-Range": part.tag} if have else {}
    with client.stream("GET", file.url, headers={"Accept-Encoding": "identity", **condition}) as answer:
        headers, status = answer.headers, answer.status_code
        if status in _RETRY_STATUSES:
            part.tag = "" if status == 416 else part.tag
            wait = headers.get("retry-after", "")
            raise _RetryError(f"status {status}", float(wait) if re.fullmatch(r"\d{1,6}", wait) else None)
        if status not in (200, 206):
            hint = "the catalogue may be older than the server" if status in (404, 410) else "look whether it is public"
            raise ServiceError(
                f"{file.url}: got status {status} {answer.reason_phrase}, expected the file; {hint}", url=file.url
            )
        tag, total = headers.get("etag", ""), headers.get("content-length", "")
        tag = headers.get("last-modified", "") if tag.startswith("W/") or not tag else tag
        if status == 206:
            first, _, total = headers.get("content-range", "").partition("/")
            if not first.startswith(f"bytes {have}-") or tag not in ("", part.tag) or part.total not in ("", total):
                part.tag = ""
                raise _RetryError("a part of another file, or another part than was asked for")
        else:
            part.tag, part.total = tag, total
        with part.path.open("ab" if status == 206 else "wb") as out:
            for chunk in answer.iter_raw():  # unbuffered: gathered chunks would be lost with the connection
                if not out.tell() and not chunk.startswith(b"root"[: len(chunk)]):
                    page = chunk.lstrip()[:1] == b"<" or "html" in headers.get("content-type", "")
                    raise FileError(
                        f"{file.url}: got {'an HTML page' if page else f'something that begins with {chunk[:8]!r}'},"
                        " expected a ROOT file; look at the address in a browser",
                        name=file.name,
                    )
                if out.tell() + len(chunk) > limits.largest:
                    raise FileError(
                        f"{file.url}: got more than {limits.largest} bytes, expected at most that", name=file.name
                    )
                out.write(chunk)


def download_files(
    files: Sequence[OpenFile],
    folder: Path,
    public: Mapping[str, Any],
    *,
    limits: TransferLimits | None = None,
    reuse: bool = True,
) -> None:
    """Download files into a folder of data; files that match its manifest are not downloaded again.

    One process at a time works on a folder; others wait, and then use the same files.

    Args:
        files: the files; their names must differ.
        folder: the folder, which is created if needed.
        public: public facts of all data together, for a new folder.
        limits: limits of each download.
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
            sha256 = download(file, folder, recorded, limits)
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


def prepare_open_data(
    task: Task, folder: Path, *, catalogue: Catalogue = atlas_catalogue, limits: TransferLimits | None = None
) -> Path:
    """Download the data of a task on open data, as many files as the task allows.

    Args:
        task: the task; its specification names release, dataset and skim.
        folder: folder of the data; it is created if needed, and existing files are verified and reused.
        catalogue: lists the files.
        limits: limits of each download.

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
    download_files(files, folder, public, limits=limits, reuse=spec.reuse_existing)
    return folder
