"""The configuration for files of a kind that a preset nearly describes: written, for people to go on with."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["as_toml"]


def as_toml(file: str, preset: str, changes: Mapping[str, str], missing: Mapping[str, str]) -> str:
    """A configuration to start from.

    Args:
        file: path or pattern of the files.
        preset: name of the preset.
        changes: key under [layout] -> text of its value, for lines that are not those of the preset.
        missing: what could not be found -> what to say of it.
    """
    lines = ["[samples.nominal]", f'files = "{file}"', "luminosity = 1.0  # 1/pb"]
    if preset != "beampipe":
        lines.append("cross_section = 1.0  # pb; or a manifest under [layout.sums]")
    lines += ["", "[samples.data]", 'files = "data/*.root"', 'kind = "data"', "", "[layout]", f'preset = "{preset}"']
    lines += [f"{key} = {value}" for key, value in changes.items()]
    lines += [f"# {name}: {said}" for name, said in missing.items()]
    return "\n".join(lines) + "\n"
