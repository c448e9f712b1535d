"""Files that are generated from a specification; their first line says that they must not be edited.

Their templates are Jinja2 files beside the modules that use them. YAML is rendered, parsed and dumped again, so that
its layout does not depend on that of the template.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import beampipe
from beampipe.errors import FileError
from beampipe.files import replacing

Files = Mapping[str, str]
"""Path of a file below the folder -> its text, without the first line."""

_MARK: Final = "# Made by beampipe "
_PROGRAM: Final = "#!"


def first_line(command: str) -> str:
    """The first line of a file that a command makes.

    Args:
        command: the command, such as ``"beampipe fleet k8s"``.
    """
    origin = f"{_MARK}{beampipe.__version__}, `{command}`."
    return f"{origin} Do not edit: change the fleet's specification, and make it again.\n"


@cache
def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Not Jinja's own `tojson`, which writes the `<` of a query as an escape.
    templates.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    templates.filters["quote"] = lambda value: shlex.quote(str(value))
    return templates


def render(template: str, **values: Any) -> str:
    """Render a template; it has the filters `json` (valid YAML as well) and `quote` (for a shell).

    Args:
        template: path of the template below this package.
        values: its variables; a missing one is an error.
    """
    text: str = _templates().get_template(template).render(**values)
    return text


def render_documents(template: str, **values: Any) -> list[dict[str, Any]]:
    """The documents of a template of YAML; arguments as for `render`."""
    import yaml

    return list(yaml.safe_load_all(render(template, **values)))


def render_yaml(template: str, **values: Any) -> str:
    """The text of a template of YAML in the layout of `yaml_text`; arguments as for `render`."""
    return yaml_text(*render_documents(template, **values))


def yaml_text(*documents: Mapping[str, Any]) -> str:
    """Documents as YAML, with keys in their order and multi-line strings as blocks."""
    import yaml

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    # No anchors and aliases, which are hard to read.
    Dumper: Any = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
    Dumper.add_representer(str, text)
    written: str = yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True)
    return written


def write_files(folder: Path, files: Files, command: str) -> list[Path]:
    """Write files, each with a line that names its origin, and remove leftover files of an earlier call.

    The line is the first one; in scripts, which begin with ``#!`` and are made executable, it is the second one.
    Leftovers are removed since other programs, such as `kubectl apply`, may read the whole folder.

    Args:
        folder: folder of the files; made if there is none.
        files: the files.
        command: the command that makes them, for their first line.

    Returns:
        The paths of the files.

    Raises:
        FileError: a file cannot be written, or its path is taken by a file of another origin.
    """
    paths = {folder / name: text for name, text in files.items()}
    for path in paths:
        if path.is_file() and not _mark_of(path).startswith(_MARK):
            raise FileError(
                f"{path}: got a file that beampipe did not make, expected none there; choose another folder", path=path
            )
    mark = first_line(command)
    for path, text in paths.items():
        is_program = text.startswith(_PROGRAM)
        with replacing(path, parents=True) as part:
            part.write_text(text.replace("\n", f"\n{mark}", 1) if is_program else mark + text, encoding="utf-8")
            if is_program:
                part.chmod(0o755)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in paths:
            line = _mark_of(path)
            if line.startswith(_MARK) and f"`{command}`" in line:  # of any release
                path.unlink()
    return list(paths)


def _mark_of(path: Path) -> str:
    """The line of a file that would name its origin."""
    lines = path.read_bytes()[:300].decode(errors="replace").split("\n")
    return lines[1] if lines[0].startswith(_PROGRAM) and len(lines) > 1 else lines[0]
