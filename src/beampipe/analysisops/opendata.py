"""Real data: files of ATLAS Open Data, downloaded completely and verified into a folder that the tools read.

The catalogue of a release, from `atlasopenmagic` (extra ``opendata``) or any other list, names the files of a dataset
and a skim. Each file appears complete and verified, or not at all.

Bytes that have arrived are stored beside the file, under a hidden name that ends in ``.partial``, with a note of the
server's description of the file. After an interruption the rest is requested on condition that the file is still the
same (``If-Range``); if the server has another one meanwhile, or does not support ranges, the download starts again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import shutil
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import httpx

from beampipe.analysisops.tasks.load import Task
from beampipe.analysisops.tools.data_folder import MANIFEST, DataFolder, write_manifest
from beampipe.errors import (
    CancelledError,
    ConfigError,
    DeadlineError,
    FileError,
    InputError,
    ServiceError,
    ServiceUnavailableError,
)
from beampipe.files import make_folder, write_whole
from beampipe.workflow import leased

DATA: Final = "data"
"""Name of the measured dataset; others are numbers of simulated samples."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")

WANTED: Final = {"Want-Digest": "sha-256, md5;q=0.5, adler32;q=0.3", "Want-Repr-Digest": "sha-256=5"}
"""Headers that request a digest of the whole file (RFC 3230, RFC 9530); CERN's storage returns adler32."""

_CHUNK: Final = 1 << 20

_LARGE: Final = 1_000_000
"""ROOT files with at least this version have 64-bit offsets in the header."""


@dataclass(frozen=True)
class Checksum:
    """Checksum of the contents of a file.

    Attributes:
        algorithm: ``"sha256"``, ``"md5"`` or ``"adler32"``.
        digits: the digest in lower-case hexadecimal digits.

    Raises:
        InputError: the algorithm is unknown, or the digits do not fit it.
    """

    algorithm: str
    digits: str

    def __post_init__(self) -> None:
        length = _LENGTHS.get(self.algorithm)
        if length is None or not re.fullmatch(f"[0-9a-f]{{{length}}}", self.digits):
            raise InputError(
                f"checksum: got {self.algorithm}:{self.digits[:80]}, expected one of {', '.join(_LENGTHS)} in"
                " hexadecimal digits"
            )


@dataclass(frozen=True)
class OpenFile:
    """A file that can be downloaded.

    Attributes:
        url: its HTTP address.
        facts: public facts for the manifest; ``role`` is one.
        size: number of bytes, if the catalogue lists it.
        checksum: checksum of the contents, if the catalogue lists it.

    Raises:
        InputError: the address is not HTTP, or does not end in the plain name of a file.
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


class _Digest(Protocol):
    def update(self, data: bytes, /) -> object: ...

    def hexdigest(self) -> str: ...


class _Adler32:
    """Adler-32 with the methods of `hashlib`."""

    def __init__(self) -> None:
        self._sum = 1

    def update(self, data: bytes, /) -> None:
        self._sum = zlib.adler32(data, self._sum)

    def hexdigest(self) -> str:
        return f"{self._sum:08x}"


_MAKERS: Final[Mapping[str, Callable[[], _Digest]]] = {
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "adler32": _Adler32,
}

_LENGTHS: Final = {"sha256": 64, "md5": 32, "adler32": 8}


def digests_of(path: Path, *algorithms: str) -> dict[str, str]:
    """Digests of a file by algorithm; it is read once."""
    digests = {name: _MAKERS[name]() for name in algorithms}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def checksum_in(headers: Mapping[str, str]) -> Checksum | None:
    """The strongest checksum of the whole file in headers; None if there is none of a known algorithm.

    Args:
        headers: headers of an answer, with names in lower case.
    """
    digests = {}
    for name in ("digest", "repr-digest"):
        for part in headers.get(name, "").split(","):
            algorithm, _, text = part.strip().partition("=")
            algorithm = algorithm.lower().replace("sha-256", "sha256")
            digits = _digits(algorithm, text.strip().strip(":"))
            if digits is not None:
                digests[algorithm] = digits
    best = next((name for name in _MAKERS if name in digests), None)
    return None if best is None else Checksum(best, digests[best])


def root_fault(path: Path) -> str:
    """Why a file is not a complete ROOT file; empty if it is.

    A ROOT file begins with ``root``, its version, the offset of its first record and that of its end; free bytes may
    follow.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(24)
    if not head.startswith(b"root"):
        return "an HTML page" if head.lstrip()[:1] == b"<" else f"something that begins with {head[:8]!r}"
    if len(head) < 24:
        return f"{size} bytes"
    (version,) = struct.unpack(">i", head[4:8])
    (stated,) = struct.unpack(">q", head[12:20]) if version >= _LARGE else struct.unpack(">i", head[12:16])
    return "" if 0 < stated <= size else f"{size} bytes of a file that says it has {stated}"


def _digits(algorithm: str, text: str) -> str | None:
    """Convert a digest, possibly in base 64, to hexadecimal digits."""
    length = _LENGTHS.get(algorithm)
    if length is None or not text:
        return None
    if re.fullmatch("[0-9a-fA-F]+", text) and (len(text) == length or algorithm == "adler32"):
        return text.lower().zfill(length)[:length]
    try:
        raw: Any = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) * 2 == length else None


_MAGIC: Final = b"root"

_RETRY_STATUSES: Final = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed later."""

_MOST_ATTEMPTS: Final = 200
"""Maximum number of requests for one file."""


@dataclass(frozen=True)
class TransferLimits:
    """Limits of downloads.

    Attributes:
        attempts: number of consecutive requests without new bytes after which a download fails.
        pause: pause before the second of them; doubled before each further one [s].
        longest_pause: longest pause, also if a server requests a longer one [s].
        timeout: silence of a server after which a connection counts as lost [s].
        seconds: time for all files together [s]; None for no limit. Bytes that arrived by then are kept.
        largest: largest size of one file [bytes].
    """

    attempts: int = 5
    pause: float = 1.0
    longest_pause: float = 60.0
    timeout: float = 30.0
    seconds: float | None = None
    largest: int = 64 << 30


@dataclass(frozen=True)
class _RemoteFile:
    """A server's description of a file; stored beside the bytes that have arrived.

    Attributes:
        url: its address.
        validator: strong entity tag or date of change, for ``If-Range``; empty if there is none.
        size: size of the whole file [bytes]; None if unknown.
        checksum: checksum of the whole file.
    """

    url: str
    validator: str = ""
    size: int | None = None
    checksum: Checksum | None = None


class _RetryError(Exception):
    """This attempt did not complete the file; another may.

    Args:
        message: why.
        wait: pause that the server requests [s]; None if it does not.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Transfer:
    """Downloads files; several threads may share one.

    Args:
        limits: limits of the downloads.
        progress: called with the number of bytes that arrived.
    """

    def __init__(self, limits: TransferLimits | None = None, progress: Callable[[int], object] | None = None) -> None:
        self.limits = limits or TransferLimits()
        self._progress = progress or (lambda _: None)
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._client = httpx.Client(
            timeout=httpx.Timeout(self.limits.timeout, connect=min(10.0, self.limits.timeout)), follow_redirects=True
        )

    def __enter__(self) -> Transfer:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def stop(self) -> None:
        """End the downloads of other threads; bytes that have arrived are kept."""
        self._stopped.set()

    def get(self, file: OpenFile, folder: Path, recorded: str = "") -> str:
        """Download a file into a folder, in place of a file of that name.

        Args:
            file: the file.
            folder: the folder.
            recorded: SHA-256 that it had when it was first downloaded; empty if it is new.

        Returns:
            The SHA-256 of its contents, in hexadecimal digits.

        Raises:
            FileError: it is not a complete ROOT file, has a wrong size or checksum, or the disk is full.
            ServiceError: the server refuses it, or does not have it.
            ServiceUnavailableError: the server did not send all of it in all attempts.
            DeadlineError: the time limit was reached.
            CancelledError: `stop` was called.
        """
        path = folder / file.name
        part, note_path = folder / f".{file.name}.partial", folder / f".{file.name}.partial.json"
        fruitless = 0
        for _ in range(_MOST_ATTEMPTS):
            before = _size(part)
            try:
                remote = self._request_rest(file, part, note_path)
                sha256 = self._verified(file, remote, part, recorded)
                part.replace(path)
                note_path.unlink(missing_ok=True)
                return sha256
            except _RetryError as error:
                fault, wait = str(error), error.wait
            except httpx.TransportError as error:
                fault, wait = f"{type(error).__name__}: {error}".rstrip(": "), None
            except httpx.HTTPError as error:
                raise ServiceError(f"{file.url}: {error}, expected the file", url=file.url) from error
            except OSError as error:
                if isinstance(error, FileError | ServiceError):
                    raise
                raise FileError(
                    f"{path}: cannot be written ({error.strerror}); make room or choose another place, what has come"
                    " is kept",
                    path=path,
                ) from error
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= self.limits.attempts:
                break
            pause = self.limits.pause * 2.0 ** max(0, fruitless - 1) if wait is None else wait
            self._sleep(min(pause, self.limits.longest_pause), file)
        raise ServiceUnavailableError(
            f"{file.url}: got {fault}, expected the file; {_size(part)} bytes have come and are kept, try again later",
            url=file.url,
        )

    def _request_rest(self, file: OpenFile, part: Path, note_path: Path) -> _RemoteFile:
        """Request the missing bytes of a file, and write them."""
        note = _read_note(note_path, file)
        have = _size(part) if note is not None and note.validator else 0
        if note is not None and have and have == note.size:
            return note
        headers = {"Accept-Encoding": "identity", **WANTED}
        if note is not None and have:
            headers |= {"Range": f"bytes={have}-", "If-Range": note.validator}
        with self._client.stream("GET", file.url, headers=headers) as answer:
            if answer.status_code == 416:  # the file is now shorter than the stored bytes
                _remove(part, note_path)
                raise _RetryError("a file that is shorter than before")
            _check_status(answer, file)
            start, remote = _described(answer, file)
            if answer.status_code == 206:
                same = (
                    note is not None and remote.validator in ("", note.validator) and note.size in (None, remote.size)
                )
                if note is None or start != have or not same:
                    _remove(part, note_path)
                    raise _RetryError("a part of another file, or another part than was asked for")
                remote = replace(remote, validator=note.validator)
            else:
                _remove(part)  # before the new note is written, which must never describe the bytes of an older file
            self._check_size(file, remote, part, start)
            text = json.dumps(asdict(remote))
            write_whole(note_path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
            with part.open("ab" if start else "wb") as out:
                self._copy(answer, out, file, start)
        if remote.size is not None and _size(part) != remote.size:
            raise _RetryError(f"{_size(part)} of {remote.size} bytes")
        return remote

    def _copy(self, answer: httpx.Response, out: Any, file: OpenFile, start: int) -> None:
        written = start
        for chunk in answer.iter_raw():  # unbuffered: gathered chunks would be lost with the connection
            if written == 0 and not chunk.startswith(_MAGIC[: len(chunk)]):
                page = chunk.lstrip()[:1] == b"<" or "html" in answer.headers.get("content-type", "")
                raise FileError(
                    f"{file.url}: got {'an HTML page' if page else f'something that begins with {chunk[:8]!r}'},"
                    " expected a ROOT file; look at the address in a browser",
                    name=file.name,
                )
            if written + len(chunk) > self.limits.largest:
                raise FileError(
                    f"{file.url}: got more than {self.limits.largest} bytes, expected at most that", name=file.name
                )
            out.write(chunk)
            written += len(chunk)
            self._progress(len(chunk))
            self._check_time(file)

    def _check_size(self, file: OpenFile, remote: _RemoteFile, part: Path, start: int) -> None:
        """Refuse a file of a wrong size, or too large for the disk, before its bytes arrive."""
        if remote.size is None:
            return
        if file.size is not None and remote.size != file.size:
            raise FileError(
                f"{file.url}: got {remote.size} bytes, expected {file.size} as the catalogue says", name=file.name
            )
        if remote.size > self.limits.largest:
            raise FileError(
                f"{file.url}: got {remote.size} bytes, expected at most {self.limits.largest}", name=file.name
            )
        free = shutil.disk_usage(part.parent).free + (_size(part) - start)
        if remote.size - start > free:
            raise FileError(
                f"{part.parent}: got {free / 1e9:.2f} GB of room for {file.name}, expected"
                f" {(remote.size - start) / 1e9:.2f} GB; make room or choose another place",
                path=part.parent,
            )

    def _verified(self, file: OpenFile, remote: _RemoteFile, part: Path, recorded: str) -> str:
        """The SHA-256 of a complete file, after comparing its size and all known checksums."""
        size = _size(part)
        fault = root_fault(part)
        expected = [checksum for checksum in (file.checksum, remote.checksum) if checksum is not None]
        digests = digests_of(part, "sha256", *{checksum.algorithm for checksum in expected} - {"sha256"})
        wrong = [checksum for checksum in expected if digests[checksum.algorithm] != checksum.digits]
        if recorded and digests["sha256"] != recorded and not fault:
            fault = f"sha256 {digests['sha256']} instead of {recorded}, which it had when it was first brought"
        elif wrong:
            fault = f"{wrong[0].algorithm} {digests[wrong[0].algorithm]} instead of {wrong[0].digits}"
        elif file.size not in (None, size):
            fault = f"{size} bytes instead of {file.size}"
        if fault:
            # It is unknown which bytes are wrong, so another attempt cannot use any of them.
            _remove(part, part.with_name(part.name + ".json"))
            raise FileError(
                f"{file.url}: got {fault}, expected a whole ROOT file as it was made; try again", name=file.name
            )
        return digests["sha256"]

    def _sleep(self, seconds: float, file: OpenFile) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0.0:
            self._check_time(file)
            self._stopped.wait(min(left, 0.2))
        self._check_time(file)

    def _check_time(self, file: OpenFile) -> None:
        if self._stopped.is_set():
            raise CancelledError(f"{file.url}: ended, since another file failed; what has come is kept")
        seconds = self.limits.seconds
        if seconds is not None and time.monotonic() - self._started > seconds:
            raise DeadlineError(
                f"{file.url}: got no whole file within {seconds:g} s, expected one; what has come is kept, ask again"
                " and it goes on",
                url=file.url,
            )


def _check_status(answer: httpx.Response, file: OpenFile) -> None:
    status = answer.status_code
    if status in (200, 206):
        return
    if status in _RETRY_STATUSES:
        wait = answer.headers.get("retry-after", "")
        raise _RetryError(f"status {status}", float(wait) if re.fullmatch(r"\d{1,6}", wait) else None)
    hint = "the catalogue may be older than the server" if status in (404, 410) else "look whether it is public"
    raise ServiceError(
        f"{file.url}: got status {status} {answer.reason_phrase}, expected the file; {hint}", url=file.url
    )


def _described(answer: httpx.Response, file: OpenFile) -> tuple[int, _RemoteFile]:
    """The offset of an answer's first byte in the file, and the description of the whole file in its headers."""
    headers = answer.headers
    tag = headers.get("etag", "")
    validator = headers.get("last-modified", "") if tag.startswith("W/") or not tag else tag
    checksum = checksum_in({name.lower(): value for name, value in headers.items()})
    start, size = 0, None
    if answer.status_code == 206:
        content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("content-range", ""))
        if content_range is None:
            raise _RetryError(f"a part of the file with Content-Range {headers.get('content-range')!r}")
        start, size = int(content_range[1]), None if content_range[2] == "*" else int(content_range[2])
    elif re.fullmatch(r"\d+", headers.get("content-length", "")) and "content-encoding" not in headers:
        size = int(headers["content-length"])
    return start, _RemoteFile(file.url, validator, size, checksum)


def _read_note(note_path: Path, file: OpenFile) -> _RemoteFile | None:
    """The note beside the bytes of a file; None if there is none for this file."""
    try:
        fields = json.loads(note_path.read_text(encoding="utf-8"))
        checksum = fields.pop("checksum")
        note = _RemoteFile(**fields, checksum=None if checksum is None else Checksum(**checksum))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return note if note.url == file.url else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


_LOCK: Final = ".lock"


def init_data_folder(folder: Path, public: Mapping[str, Any]) -> None:
    """Create a folder of data with an empty manifest, unless it has a manifest already.

    Args:
        folder: the folder.
        public: public facts of all data together.

    Raises:
        FileError: it cannot be created, or its manifest cannot be read.
    """
    make_folder(folder)
    with _locked(folder):
        if not (folder / MANIFEST).exists():
            write_manifest(folder, [], public)
    DataFolder(folder)


def download_files(
    files: Sequence[OpenFile],
    folder: Path,
    *,
    workers: int = 4,
    limits: TransferLimits | None = None,
    reuse: bool = True,
    progress: Callable[[int], object] | None = None,
) -> tuple[str, ...]:
    """Download files into a folder of data; files that match its manifest are not downloaded again.

    One process at a time works on a folder; others wait, and then use the same files.

    Args:
        files: the files; their names must differ.
        folder: the folder, made by `init_data_folder`.
        workers: number of downloads at once.
        limits: limits of the downloads.
        reuse: whether to keep existing files; else they are downloaded again, and must be the same.
        progress: called with the number of bytes that arrived.

    Returns:
        The names of the files, in their order.

    Raises:
        InputError: two files have one name.
        FileError: a file contradicts its server, the catalogue or the manifest, or the disk is full.
        ServiceError: a server gave no usable answer. Bytes that have arrived are kept for the next call.
    """
    names = [file.name for file in files]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"open data: got several files named {', '.join(twice)}, expected names that differ")
    with _locked(folder):
        manifest = _Manifest(folder)
        missing = [file for file in files if not (reuse and manifest.holds(file))]
        with Transfer(limits, progress) as transfer:

            def download(file: OpenFile) -> None:
                manifest.add(file, transfer.get(file, folder, manifest.recorded(file)))

            with ThreadPoolExecutor(max(1, workers)) as pool:
                futures = [pool.submit(download, file) for file in missing]
                try:
                    wait(futures, return_when=FIRST_EXCEPTION)
                finally:
                    if any(not future.done() or future.exception() for future in futures):
                        transfer.stop()
                        pool.shutdown(cancel_futures=True)
        errors = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, CancelledError)), errors[0])
    return tuple(names)


class _Manifest:
    """The manifest of a folder into which several threads download files."""

    def __init__(self, folder: Path) -> None:
        public = DataFolder(folder).public
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        self._folder, self._public = folder, public
        self._entries: dict[str, dict[str, Any]] = {facts["name"]: dict(facts) for facts in content["files"]}
        self._lock = threading.Lock()

    def recorded(self, file: OpenFile) -> str:
        """The SHA-256 that a file had when it was first downloaded; empty if it never was."""
        return str(self._entries.get(file.name, {}).get("sha256", ""))

    def holds(self, file: OpenFile) -> bool:
        """Whether a file exists, unchanged since its download.

        Raises:
            FileError: another file has its name.
        """
        entry = self._entries.get(file.name)
        if entry is None:
            return False
        if entry.get("url", file.url) != file.url:
            raise FileError(
                f"{self._folder / file.name}: got a file from {entry['url']}, expected one from {file.url}; take"
                " another folder",
                path=self._folder / file.name,
            )
        try:
            status = (self._folder / file.name).stat()
        except OSError:
            return False
        there = status.st_size == entry.get("bytes")
        return there and _sha256(self._folder / file.name, status.st_size, status.st_mtime_ns) == entry.get("sha256")

    def add(self, file: OpenFile, sha256: str) -> None:
        """Record a downloaded file."""
        size = (self._folder / file.name).stat().st_size
        with self._lock:
            self._entries[file.name] = {
                **file.facts,
                "name": file.name,
                "bytes": size,
                "sha256": sha256,
                "url": file.url,
            }
            write_manifest(self._folder, [self._entries[name] for name in sorted(self._entries)], self._public)


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file of that size and time of change."""
    return digests_of(path, "sha256")["sha256"]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder against other downloads during the block."""
    with ExitStack() as held:
        try:
            held.enter_context(leased(folder / _LOCK, wait=True))
        except OSError as error:
            raise FileError(
                f"{folder}: cannot be written to ({error.strerror}), expected a folder", path=folder
            ) from error
        yield


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
