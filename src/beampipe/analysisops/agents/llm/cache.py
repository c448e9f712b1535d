"""Answers of models, kept by what was asked, so that a run can be replayed without any model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beampipe.errors import FileError
from beampipe.files import write_whole

__all__ = ["ReplayCache"]


class ReplayCache:
    """A folder of answers, one file each, named by the hash of the question.

    Args:
        folder: where they are; made when the first is kept.
        replay_only: never ask: a question that is not there is an error.
        sample: which of several answers to the same question; each has a number of its own.
    """

    def __init__(self, folder: Path, *, replay_only: bool = False, sample: int = 0) -> None:
        self._folder, self._sample = folder, sample
        self.replay_only = replay_only

    def find(self, asked: Mapping[str, Any]) -> Any | None:
        """The answer that was kept; None if there is none.

        Raises:
            FileError: there is a file that is no answer; or none, where only those are to be taken.
        """
        path = self._path(asked)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return kept["answer"]
        except FileNotFoundError as error:
            if not self.replay_only:
                return None
            raise FileError(
                f"{path}: got a question that was not asked before, expected only such; record the run again", path=path
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(f"{path}: got no answer that was kept; remove the file", path=path) from error

    def keep(self, asked: Mapping[str, Any], answer: Any) -> None:
        """Keep an answer with its question."""
        text = json.dumps({"asked": dict(asked), "answer": answer}, indent=1)
        write_whole(self._path(asked), lambda part: part.write_text(text, encoding="utf-8"))

    def _path(self, asked: Mapping[str, Any]) -> Path:
        plain = json.dumps([dict(asked), self._sample], sort_keys=True, separators=(",", ":"))
        return self._folder / f"{hashlib.sha256(plain.encode()).hexdigest()}.json"
