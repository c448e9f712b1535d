"""The specifications that users begin with: each is one, and together they have every key."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from beampipe.fleet import Fleet, read_fleet

NAMES = ("laptop", "slurm", "kubernetes")


def text_of(name: str) -> str:
    return (files("beampipe.fleet") / "examples" / f"{name}.toml").read_text(encoding="utf-8")


def keys_of(kind: Any) -> Iterator[str]:
    for field in fields(kind):
        yield field.name
        hint = get_type_hints(kind)[field.name]
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and is_dataclass(part):
                yield from keys_of(part)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_a_specification(name: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(text_of(name))
    read_fleet(path)


def test_the_command_in_the_example_for_kubernetes_works_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(text_of("kubernetes"))
    (command,) = re.findall(r"^#     beampipe (.*)$", text_of("kubernetes"), re.M)
    words = [sys.executable, "-m", "beampipe", *command.split()]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "deploy/manifests/servers-gpu.yaml").exists()


def test_what_is_commented_out_would_fit_too(tmp_path: Path) -> None:
    """Every key that is shown with its usual value is one, and has a value that is taken."""
    path = tmp_path / "fleet.toml"
    path.write_text(re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", text_of("laptop")))
    fleet = read_fleet(path)
    assert fleet.gateway.athena is not None
    assert fleet.gateway.tls is not None
    assert fleet.scaling is not None


def test_every_key_is_in_an_example() -> None:
    shown = "\n".join(text_of(name) for name in NAMES)
    missing = [key for key in keys_of(Fleet) if not re.search(rf"(?m)^(# )?(\[[a-z.]*)?{key}\b", shown)]
    assert [key for key in missing if key != "name"] == []
