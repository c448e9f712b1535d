"""Triton model repositories, generated from typed settings and never edited by hand.

    DIR/.beampipe.json          what was generated, with a digest of each file
    DIR/MODEL/config.pbtxt      how Triton runs the model
    DIR/MODEL/weights/...       what EXECUTION_MODEL_PATH points at
    DIR/MODEL/*.so              the native backend and what it opens, where it runs the model
    DIR/MODEL/1/model.py        else three lines that import `beampipe.triton.model.backend`
    DIR/MODEL/1/canary.safetensors   a request and the answer that it must get

Who may read it is up to the umask of the export; nobody but its user and perhaps the group may write to it.
The same folder runs in NVIDIA's Triton container: models of the native backend as they are, those of the Python backend
where ``pip install 'beampipe[serving]'`` was run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.triton.model.model_folder import write_ensemble, write_model
from beampipe.triton.model.settings import EnsembleSettings, ModelSettings

__all__ = ["MANIFEST", "export_repository"]

MANIFEST: Final = ".beampipe.json"
"""Name of the file in a repository that says what was generated, with a digest of each file."""


def export_repository(folder: Path, models: Iterable[ModelSettings | EnsembleSettings]) -> list[str]:
    """Write a model repository.

    Args:
        folder: folder of the repository. It is new, or empty, or was written by an earlier export and not touched
            since; then it is replaced.
        models: the models to serve.

    Returns:
        Names of the models to load; a step of an ensemble comes before the ensemble.

    Raises:
        ConfigError: the folder holds something else, two models have one name, or a model answers its own example
            with an error or not as it declares.
        FileError: weights are missing, or the folder cannot be written.
    """
    folder = folder.resolve()
    _require_ours(folder)
    models = list(models)
    flat: list[ModelSettings | EnsembleSettings] = []
    for settings in models:
        flat += [*settings.steps, settings] if isinstance(settings, EnsembleSettings) else [settings]
    names = [settings.name for settings in flat]
    if len(set(names)) < len(names):
        raise ConfigError(f"models: got {', '.join(names)}, expected distinct names")
    building, retired = folder.with_name(f".{folder.name}.building"), folder.with_name(f".{folder.name}.retired")
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        for settings in models:
            if isinstance(settings, EnsembleSettings):
                write_ensemble(building, settings)
            else:
                write_model(building / settings.name, settings)
        manifest = {"models": names, "files": _digests(building)}
        (building / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        _let_no_stranger_write(building)
        _replace(folder, building, retired)
    except BeampipeError:
        raise
    except OSError as error:
        raise FileError(f"{folder}: got {error}, expected to write a model repository there") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return names


def _let_no_stranger_write(folder: Path) -> None:
    """Who writes to a repository runs code as the user of its server, whatever the umask of the export was."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~stat.S_IWOTH)


def _replace(folder: Path, building: Path, retired: Path) -> None:
    """Put the new folder in the place of the old one, which stays whole until then."""
    shutil.rmtree(retired, ignore_errors=True)
    if folder.exists():
        folder.rename(retired)
    building.rename(folder)
    shutil.rmtree(retired, ignore_errors=True)


def _require_ours(folder: Path) -> None:
    """Refuse to replace what an export did not write."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        files = None
    if not isinstance(files, dict):
        raise ConfigError(f"{folder}: got a folder that no export wrote, expected a new one; choose another name")
    now = _digests(folder)
    changed = sorted(name for name in {*files, *now} if files.get(name) != now.get(name))
    if changed:
        raise ConfigError(
            f"{folder}: got changes by hand in {', '.join(changed[:3])}, expected what the last export wrote;"
            " move the folder away, or delete it"
        )


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of each file, but for those that Python and this module make beside them."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and "__pycache__" not in path.parts
    }
