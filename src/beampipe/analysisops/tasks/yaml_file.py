"""YAML files in which no key stands twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from beampipe.errors import FileError

__all__ = ["read_text", "read_yaml"]


def read_text(path: Path, what: str) -> str:
    """The text of a file.

    Raises:
        FileError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        names = sorted(one.name for one in path.parent.iterdir()) if path.parent.is_dir() else []
        there = f"; there are {', '.join(names[:12])}" if names else ""
        raise FileError(f"{path}: cannot be read ({error.strerror}), expected {what}{there}", path=path) from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: got bytes that are no text in UTF-8, expected {what}", path=path) from error


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file; only plain types, no objects of programs.

    Raises:
        FileError: it cannot be read, is no YAML, no mapping, or some key stands twice.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # the package has no types
        """Refuses a key that stands twice; the plain loader takes the last one silently."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = [str(key) for place, key in enumerate(keys) if key in keys[:place]]
            if twice:
                raise yaml.constructor.ConstructorError(None, None, f"got the key {twice[0]!r} twice", node.start_mark)
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    text = read_text(path, what)
    try:
        content = yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: got no YAML ({' '.join(str(error).split())}), expected {what}", path=path) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise FileError(f"{path}: got {type(content).__name__}, expected a mapping with names as keys", path=path)
    return content
