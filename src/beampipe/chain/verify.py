"""Make artifacts of a chain's store again, and compare: does this machine compute the same?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.chain.recipes import INPUTS, Plan
from beampipe.chain.settings import ChainSettings
from beampipe.errors import ConfigError, FileError
from beampipe.files import unfinished, write_whole
from beampipe.identity import content_digest, digest_of
from beampipe.settings import build
from beampipe.workflow import Store

_SETTINGS: Final = "settings.json"
"""Name of the file of the settings in the store of a chain."""


def keep_settings(settings: ChainSettings, store: Store) -> None:
    """Write the settings beside the artifacts that are made with them; `verify` reads them."""
    text = json.dumps(_plain(settings), indent=1) + "\n"
    write_whole(store.root / _SETTINGS, lambda part: part.write_text(text, encoding="utf-8"))


def _plain(value: Any) -> Any:
    """Settings as JSON has them, without None, which is the default where it is allowed."""
    if is_dataclass(value):
        return _plain({each.name: getattr(value, each.name) for each in fields(value)})
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items() if each is not None}
    if isinstance(value, Path):  # one that does not exist is the name of a detector
        return str(value.absolute() if value.exists() else value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def read_settings(folder: Path) -> ChainSettings:
    """The settings of the last run in a folder.

    Args:
        folder: folder of the run, or of its store.

    Raises:
        FileError: there was no run.
        ConfigError: the settings are of another version.
    """
    path = (folder if (folder / _SETTINGS).is_file() else folder / "store") / _SETTINGS
    try:
        table = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        expected = "expected the settings that `beampipe chain run` keeps"
        raise FileError(f"{path}: got {error}, {expected}", path=path) from error
    samples = _without_names(table["samples"])
    given = {kind: _without_names(inputs) for kind, inputs in table.get("input", {}).items()}
    own = _without_names(table.get("stage", {}))
    changed = {**table, "samples": samples, "input": given, "stage": own, "output": path.parents[1]}
    return build(ChainSettings, changed, str(path), path.parent)


def _without_names(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Tables [KEY.NAME] as TOML has them: their names are the keys."""
    return {name: {key: each[key] for key in each if key != "name"} for name, each in tables.items()}


@dataclass(frozen=True)
class Verified:
    """What came of the comparison.

    Attributes:
        compared: number of artifacts that were made again.
        differing: those that have other bytes here: stage and chunk.
        absent: number of artifacts that the store lacks under the keys of this machine.
    """

    compared: int
    differing: tuple[str, ...]
    absent: int


def verify(folder: Path, share: float) -> Verified:
    """Make some artifacts of each stage of chunks again, from the inputs in the store, and compare the bytes.

    Args:
        folder: folder of a run, or of its store.
        share: share of the artifacts of each stage, one at least; chosen by their keys.

    Raises:
        ConfigError: the share is no share, or the store has nothing under the keys of this machine.
        FileError: there was no run.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"--share: got {share:g}, expected more than 0, up to 1")
    settings = read_settings(folder)
    store = Store(settings.output / "store", durable=False)
    chunks = [chunk for each in Plan(settings).chunks.values() for chunk in each]
    there = {
        stage: [chunk for chunk in chunks if stage in chunk.recipes and store.find(chunk.recipes[stage])]
        for stage in INPUTS
    }
    absent = sum(len(chunk.recipes) for chunk in chunks) - sum(map(len, there.values()))
    if not any(there.values()):
        raise ConfigError(
            f"{store.root}: got no artifact under the keys of this machine, expected some: it has other code, packages,"
            " weights or plug-ins than those that made the store; see `versions` in its files *.about.json"
        )
    compared, differing = 0, []
    for stage, of_stage in there.items():
        of_stage.sort(key=lambda chunk: digest_of(["verify", chunk.recipes[stage].key]))
        for chunk in of_stage[: max(1, round(share * len(of_stage)))]:
            compared += 1
            inputs = {name: store.require(chunk.recipes[name]) for name in chunk.inputs(stage)}
            stored = store.require(chunk.recipes[stage])
            with unfinished(store.root, stored.suffix) as part:
                chunk.make(stage, part, inputs)
                if content_digest(part) != content_digest(stored):
                    differing.append(f"{stage} of {chunk.label}")
    return Verified(compared, tuple(differing), absent)
