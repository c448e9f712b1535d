"""The folder of data of one assessment: the files that its manifest lists, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.contract import require_name
from beampipe.errors import FileError
from beampipe.files import write_whole

MANIFEST: Final = "manifest.json"
"""Name of the file that lists the others."""

MANIFEST_MARK: Final = '{\n "files": ['
"""How it begins."""

_HIDDEN: Final = ("sha256",)
"""Facts of a file in the manifest that agents do not need."""


@dataclass(frozen=True)
class DataFile:
    """One file of the data.

    Attributes:
        name: name for agents, without a path.
        path: path of the file.
        facts: facts of it in the manifest, such as its role.
    """

    name: str
    path: Path
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Its public facts for agents."""
        facts = {key: value for key, value in self.facts.items() if key not in _HIDDEN}
        return {**facts, "name": self.name, "bytes": self.path.stat().st_size}


def write_manifest(folder: Path, files: Sequence[Mapping[str, Any]], public: Mapping[str, Any]) -> None:
    """Write the manifest of a folder of data.

    Args:
        folder: the folder.
        files: public facts of each file, its ``name`` among them.
        public: public facts of all data together.
    """
    text = json.dumps({"files": list(files), "public": dict(public)}, indent=1, sort_keys=True, allow_nan=False)
    write_whole(folder / MANIFEST, lambda part: part.write_text(text + "\n", encoding="utf-8"))


class DataFolder:
    """A folder with a manifest, which is read again at each access, since a download may add files.

    Args:
        path: the folder.

    Raises:
        FileError: the manifest is missing or invalid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files()

    @property
    def public(self) -> dict[str, Any]:
        """Facts of all data together in the manifest."""
        return dict(self._manifest().get("public") or {})

    def files(self) -> tuple[DataFile, ...]:
        """The existing files among those that the manifest lists."""
        files = []
        for facts in self._manifest()["files"]:
            name = str(facts["name"])
            path = self.path / name
            if Path(name).name != name or name == MANIFEST:
                raise FileError(
                    f"{self.path / MANIFEST}: got a file {name!r}, expected the plain name of a file beside it",
                    path=self.path / MANIFEST,
                    name=name,
                )
            if path.is_file() and path.resolve().parent == self.path.resolve():
                files.append(DataFile(name, path, facts))
        return tuple(files)

    def file(self, name: str) -> DataFile:
        """The file of that name.

        Raises:
            ToolRefusedError: the manifest lists none.
        """
        files = {file.name: file for file in self.files()}
        require_name("file (see list_local_root_files_tool)", name, files)
        return files[name]

    def _manifest(self) -> dict[str, Any]:
        path = self.path / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if all(isinstance(facts["name"], str) for facts in manifest["files"]):
                return dict(manifest)
            fault = "a file without a name"
        except OSError as error:
            fault = str(error.strerror)
        except (ValueError, KeyError, TypeError) as error:
            fault = repr(error)
        raise FileError(f"{path}: got {fault}, expected JSON with a list `files` of objects with a name", path=path)
