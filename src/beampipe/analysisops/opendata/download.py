"""Download files over HTTP into a folder of data; each appears whole and verified, or not at all.

Bytes that have arrived stand beside the file, under a hidden name that ends in ``.partial``, with a note of what the
server said of the file. After an interruption the rest is requested on condition that the file is still the same
(``If-Range``); if the server has another one meanwhile, or does not support ranges, the download starts again.
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

from beampipe.analysisops.tools.data_folder import MANIFEST, DataFolder
from beampipe.errors import CancelledError, DeadlineError, FileError, InputError, ServiceError, ServiceUnavailableError
from beampipe.files import make_folder, write_whole
from beampipe.workflow import leased

WANTED: Final = {"Want-Digest": "sha-256, md5;q=0.5, adler32;q=0.3", "Want-Repr-Digest": "sha-256=5"}
"""Headers of a request that ask for a digest of the whole file (RFC 3230, RFC 9530); storage of CERN gives adler32."""

_CHUNK: Final = 1 << 20

_LARGE: Final = 1_000_000
"""A ROOT file with a version from here on has lengths of 64 bits in its header."""


@dataclass(frozen=True)
class Checksum:
    """A digest of the contents of a file.

    Attributes:
        algorithm: ``"sha256"``, ``"md5"`` or ``"adler32"``.
        digits: the digest in lower-case hexadecimal digits.

    Raises:
        InputError: another algorithm, or not the digits of one.
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
    """The strongest digest of the whole file that a server tells; None if it tells none that is understood.

    Args:
        headers: of the answer, with names in lower case.
    """
    found = {}
    for name in ("digest", "repr-digest"):
        for part in headers.get(name, "").split(","):
            algorithm, _, text = part.strip().partition("=")
            algorithm = algorithm.lower().replace("sha-256", "sha256")
            digits = _digits(algorithm, text.strip().strip(":"))
            if digits is not None:
                found[algorithm] = digits
    best = next((name for name in _MAKERS if name in found), None)
    return None if best is None else Checksum(best, found[best])


def root_fault(path: Path) -> str:
    """What speaks against a file being a whole ROOT file; empty if nothing does.

    A ROOT file begins with ``root``, its version, the place of its first record, and where it ends; free bytes may
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
    (told,) = struct.unpack(">q", head[12:20]) if version >= _LARGE else struct.unpack(">i", head[12:16])
    return "" if 0 < told <= size else f"{size} bytes of a file that says it has {told}"


def _digits(algorithm: str, text: str) -> str | None:
    """The hexadecimal digits of a digest: it may be in base 64."""
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

_AGAIN: Final = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed later."""

_MOST_ATTEMPTS: Final = 200
"""So many requests for one file at most, however much each brings."""


@dataclass(frozen=True)
class TransferLimits:
    """How files are asked for.

    Attributes:
        attempts: number of requests in a row that bring nothing before a file is given up.
        pause: seconds before the second of them; doubled before each further one [s].
        longest_pause: never more than that, whatever a server asks for [s].
        timeout: silence of a server after which a connection counts as cut [s].
        seconds: time for all files together [s]; None for no limit. What has come by then is kept.
        largest: number of bytes that one file may have.
    """

    attempts: int = 5
    pause: float = 1.0
    longest_pause: float = 60.0
    timeout: float = 30.0
    seconds: float | None = None
    largest: int = 64 << 30


@dataclass(frozen=True)
class _Note:
    """What is known of a file that has come in part.

    Attributes:
        url: where it comes from.
        validator: strong entity tag or date of change, for ``If-Range``; empty if there is none.
        size: of the whole file [bytes]; None if it is not known.
        checksum: of the whole file, as the server told.
    """

    url: str
    validator: str = ""
    size: int | None = None
    checksum: Checksum | None = None


class _AgainError(Exception):
    """This attempt brought no whole file; another may.

    Args:
        message: why.
        wait: seconds that the server asks to wait, None if it does not say.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Transfer:
    """Downloads files; several threads may use one.

    Args:
        limits: how files are asked for.
        progress: is called with the number of bytes that came.
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
        """End what other threads are bringing; what has come is kept."""
        self._stopped.set()

    def get(self, file: OpenFile, folder: Path, recorded: str = "") -> str:
        """Bring a file into a folder, in place of what goes by its name there.

        Args:
            file: the file.
            folder: where it shall be.
            recorded: SHA-256 that it had when it was brought before; empty if it is new.

        Returns:
            The SHA-256 of its contents, in hexadecimal digits.

        Raises:
            FileError: it is no whole ROOT file, has another size or checksum than told, or there is no room for it.
            ServiceError: the server refuses it, or does not have it.
            ServiceUnavailableError: the server did not give all of it, however often it was asked.
            DeadlineError: there was no more time.
            CancelledError: somebody called `stop`.
        """
        path = folder / file.name
        part, noted = folder / f".{file.name}.partial", folder / f".{file.name}.partial.json"
        fruitless = 0
        for _ in range(_MOST_ATTEMPTS):
            before = _size(part)
            try:
                note = self._bring(file, part, noted)
                sha256 = self._checked(file, note, part, recorded)
                part.replace(path)
                noted.unlink(missing_ok=True)
                return sha256
            except _AgainError as error:
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
            asked = self.limits.pause * 2.0 ** max(0, fruitless - 1) if wait is None else wait
            self._sleep(min(asked, self.limits.longest_pause), file)
        raise ServiceUnavailableError(
            f"{file.url}: got {fault}, expected the file; {_size(part)} bytes have come and are kept, try again later",
            url=file.url,
        )

    def _bring(self, file: OpenFile, part: Path, noted: Path) -> _Note:
        """Ask for what is missing of a file, and write it."""
        note = _read(noted, file)
        have = _size(part) if note is not None and note.validator else 0
        if note is not None and have and have == note.size:
            return note
        headers = {"Accept-Encoding": "identity", **WANTED}
        if note is not None and have:
            headers |= {"Range": f"bytes={have}-", "If-Range": note.validator}
        with self._client.stream("GET", file.url, headers=headers) as answer:
            if answer.status_code == 416:  # it has become shorter than what is here
                _remove(part, noted)
                raise _AgainError("a file that is shorter than before")
            _check_status(answer, file)
            start, told = _told(answer, file)
            if answer.status_code == 206:
                if note is None or start != have or not _continues(note, told):
                    _remove(part, noted)
                    raise _AgainError("a part of another file, or another part than was asked for")
                told = replace(told, validator=note.validator)
            else:
                _remove(part)  # before the new note: it must never stand beside the bytes of an older file
            self._check_size(file, told, part, start)
            text = json.dumps(asdict(told))
            write_whole(noted, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
            with part.open("ab" if start else "wb") as out:
                self._copy(answer, out, file, start)
        if told.size is not None and _size(part) != told.size:
            raise _AgainError(f"{_size(part)} of {told.size} bytes")
        return told

    def _copy(self, answer: httpx.Response, out: Any, file: OpenFile, start: int) -> None:
        written = start
        for chunk in answer.iter_raw():  # as it comes: gathered chunks would be lost at a cut
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

    def _check_size(self, file: OpenFile, told: _Note, part: Path, start: int) -> None:
        """Refuse what is of the wrong size or does not fit, before it comes."""
        if told.size is None:
            return
        if file.size is not None and told.size != file.size:
            raise FileError(
                f"{file.url}: got {told.size} bytes, expected {file.size} as the catalogue says", name=file.name
            )
        if told.size > self.limits.largest:
            raise FileError(
                f"{file.url}: got {told.size} bytes, expected at most {self.limits.largest}", name=file.name
            )
        free = shutil.disk_usage(part.parent).free + (_size(part) - start)
        if told.size - start > free:
            raise FileError(
                f"{part.parent}: got {free / 1e9:.2f} GB of room for {file.name}, expected"
                f" {(told.size - start) / 1e9:.2f} GB; make room or choose another place",
                path=part.parent,
            )

    def _checked(self, file: OpenFile, note: _Note, part: Path, recorded: str) -> str:
        """The SHA-256 of a file that has come whole, after all that is known of it was compared."""
        size = _size(part)
        fault = root_fault(part)
        expected = [one for one in (file.checksum, note.checksum) if one is not None]
        digests = digests_of(part, "sha256", *{one.algorithm for one in expected} - {"sha256"})
        wrong = [one for one in expected if digests[one.algorithm] != one.digits]
        if recorded and digests["sha256"] != recorded and not fault:
            fault = f"sha256 {digests['sha256']} instead of {recorded}, which it had when it was first brought"
        elif wrong:
            fault = f"{wrong[0].algorithm} {digests[wrong[0].algorithm]} instead of {wrong[0].digits}"
        elif file.size not in (None, size):
            fault = f"{size} bytes instead of {file.size}"
        if fault:
            # What is wrong cannot be told from what is right: nothing of it is of use to another attempt.
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
    if status in _AGAIN:
        wait = answer.headers.get("retry-after", "")
        raise _AgainError(f"status {status}", float(wait) if re.fullmatch(r"\d{1,6}", wait) else None)
    hint = "the catalogue may be older than the server" if status in (404, 410) else "look whether it is public"
    raise ServiceError(
        f"{file.url}: got status {status} {answer.reason_phrase}, expected the file; {hint}", url=file.url
    )


def _continues(note: _Note, told: _Note) -> bool:
    """Whether a part belongs to the file of which the beginning is here."""
    return told.validator in ("", note.validator) and (note.size is None or note.size == told.size)


def _told(answer: httpx.Response, file: OpenFile) -> tuple[int, _Note]:
    """Where an answer begins in the file, and what it says of the whole of it.

    Raises:
        _AgainError: it is a part, and does not say which.
    """
    headers = answer.headers
    tag = headers.get("etag", "")
    validator = headers.get("last-modified", "") if tag.startswith("W/") or not tag else tag
    checksum = checksum_in({name.lower(): value for name, value in headers.items()})
    start, size = 0, None
    if answer.status_code == 206:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("content-range", ""))
        if said is None:
            raise _AgainError(f"a part of the file with Content-Range {headers.get('content-range')!r}")
        start, size = int(said[1]), None if said[2] == "*" else int(said[2])
    elif re.fullmatch(r"\d+", headers.get("content-length", "")) and "content-encoding" not in headers:
        size = int(headers["content-length"])
    return start, _Note(file.url, validator, size, checksum)


def _read(noted: Path, file: OpenFile) -> _Note | None:
    """The note beside what has come of a file; None if there is none of this file."""
    try:
        known = json.loads(noted.read_text(encoding="utf-8"))
        checksum = known.pop("checksum")
        note = _Note(**known, checksum=None if checksum is None else Checksum(**checksum))
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
    """Make a folder of data with an empty manifest, unless there is one with a manifest.

    Args:
        folder: where the data shall be.
        public: what anybody may know of all data together.

    Raises:
        FileError: it cannot be made, or its manifest cannot be understood.
    """
    make_folder(folder)
    with _locked(folder):
        if not (folder / MANIFEST).exists():
            _write(folder, [], public)
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
    """Bring files into a folder of data; what is there, as its manifest says, is not brought again.

    One process at a time works on a folder; others wait, and find the files there.

    Args:
        files: the files, each with a name of its own.
        folder: where they shall be; `begin_folder` made it.
        workers: so many are brought at once.
        limits: how they are asked for.
        reuse: files that are there are taken; else they are brought again, and must be what they were.
        progress: is called with the number of bytes that came.

    Returns:
        The names of the files, in their order.

    Raises:
        InputError: two files have one name.
        FileError: a file is not what its server, the catalogue or the manifest says of it, or there is no room.
        ServiceError: a server gave no usable answer. What has come is kept for another call.
    """
    names = [file.name for file in files]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"open data: got several files named {', '.join(twice)}, expected names that differ")
    with _locked(folder):
        manifest = _Manifest(folder)
        missing = [file for file in files if not (reuse and manifest.holds(file))]
        with Transfer(limits, progress) as transfer:
            _bring_all(missing, folder, manifest, transfer, max(1, workers))
    return tuple(names)


class _Manifest:
    """The manifest of a folder, while files are brought into it by several threads."""

    def __init__(self, folder: Path) -> None:
        public = DataFolder(folder).public
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        self._folder, self._public = folder, public
        self._entries: dict[str, dict[str, Any]] = {facts["name"]: dict(facts) for facts in found["files"]}
        self._lock = threading.Lock()

    def recorded(self, file: OpenFile) -> str:
        """The SHA-256 that a file had when it was first brought; empty if it never was."""
        return str(self._entries.get(file.name, {}).get("sha256", ""))

    def holds(self, file: OpenFile) -> bool:
        """Whether a file is there as it was brought.

        Raises:
            FileError: another file goes by its name.
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
        """Write down that a file has come."""
        size = (self._folder / file.name).stat().st_size
        with self._lock:
            self._entries[file.name] = {
                **file.facts,
                "name": file.name,
                "bytes": size,
                "sha256": sha256,
                "url": file.url,
            }
            _write(self._folder, [self._entries[name] for name in sorted(self._entries)], self._public)


def _bring_all(files: Sequence[OpenFile], folder: Path, manifest: _Manifest, transfer: Transfer, workers: int) -> None:
    def bring(file: OpenFile) -> None:
        manifest.add(file, transfer.get(file, folder, manifest.recorded(file)))

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(bring, file) for file in files]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if any(not future.done() or future.exception() for future in futures):
                transfer.stop()
                pool.shutdown(cancel_futures=True)
    errors = [future.exception() for future in futures if not future.cancelled()]
    found = [error for error in errors if error is not None]
    if found:
        raise next((error for error in found if not isinstance(error, CancelledError)), found[0])


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file of that size and time of change."""
    return digests_of(path, "sha256")["sha256"]


def _write(folder: Path, files: Sequence[Mapping[str, Any]], public: Mapping[str, Any]) -> None:
    text = json.dumps({"files": list(files), "public": dict(public)}, indent=1, sort_keys=True, allow_nan=False)
    write_whole(folder / MANIFEST, lambda part: part.write_text(text + "\n", encoding="utf-8"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """No other process that asks in the same way works on the folder during the block."""
    with ExitStack() as held:
        try:
            held.enter_context(leased(folder / _LOCK, wait=True))
        except OSError as error:
            raise FileError(
                f"{folder}: cannot be written to ({error.strerror}), expected a folder", path=folder
            ) from error
        yield


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


_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")


DATA: Final = "data"
"""Name of the dataset that was measured; others are numbers of simulated samples."""
