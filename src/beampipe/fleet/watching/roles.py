"""Which of the served models are chains and which their steps, so that whoever counts requests counts one once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from beampipe.errors import FileError

__all__ = ["role_relabelings"]

_MODEL_NAME: Final = re.compile(r'model_name:\s*"([^"]+)"')


def role_relabelings(repository: Path) -> list[dict[str, object]]:
    """Rules of ``metric_relabel_configs`` that mark chains of models and their steps by the label ``role``.

    Triton counts a request in a chain and in each step of it. "chain" stands for the whole, "first" for its first step,
    "step" for later ones; other models get no such label.

    Args:
        repository: the served models; without chains, or if nothing is there, there are no rules.

    Raises:
        FileError: the configuration of a model cannot be read.
    """
    roles = _roles_of(repository)
    return [
        {
            "source_labels": ["model"],
            "regex": "|".join(re.escape(name) for name in sorted(roles) if roles[name] == role),
            "target_label": "role",
            "replacement": role,
        }
        for role in sorted(set(roles.values()))
    ]


def _roles_of(repository: Path) -> dict[str, str]:
    chains: dict[str, list[str]] = {}
    for path in sorted(repository.glob("*/config.pbtxt")):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(
                f"{path}: cannot be read ({error}), expected the configuration of a model", path=path
            ) from error
        if "ensemble_scheduling" in text:
            chains[path.parent.name] = _MODEL_NAME.findall(text.partition("ensemble_scheduling")[2])
    roles: dict[str, str] = {}
    roles |= dict.fromkeys((steps[0] for steps in chains.values() if len(steps) > 1), "first")
    roles |= dict.fromkeys((step for steps in chains.values() for step in steps[1:]), "step")
    return roles | dict.fromkeys(chains, "chain")
