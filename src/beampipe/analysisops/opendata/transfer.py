"""One file over HTTP: it goes on where it stopped, and appears whole and checked or not at all.

What has come so far stands beside the file, under a hidden name that ends in ``.partial``, with a note of what the
server said of it. After a cut the rest is asked for on condition that the file is still the same (``If-Range``); if the
server has another one meanwhile, or does not know ranges, it is begun again.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx

from beampipe.analysisops.opendata.catalogue import OpenFile
from beampipe.analysisops.opendata.checksums import WANTED, Checksum, checksum_in, digests_of, root_fault
from beampipe.errors import CancelledError, DeadlineError, FileError, ServiceError, ServiceUnavailableError
from beampipe.files import write_whole

__all__ = ["Transfer", "TransferLimits"]

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
