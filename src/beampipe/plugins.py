"""Finders, detectors, tasks, extractions and stages of other packages, as entry points of their distributions.

A package declares them in its ``pyproject.toml``, for example::

    [project.entry-points."beampipe.finders"]
    long_tracks = "my_package:open_long_tracks"

They then have their name on the command line and in Python, beside those of this package. `docs/plugins.md` lists the
groups and what each entry must be. A plug-in is imported when it is used, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from beampipe.errors import ConfigError
from beampipe.identity import digest_of, distribution_digest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

Kind = Literal["finders", "detectors", "tasks", "extractions", "stages"]

_GROUP: Final = "beampipe."


def _entries(kind: Kind) -> EntryPoints:
    from importlib.metadata import entry_points  # takes 20 ms to import

    return entry_points(group=_GROUP + kind)


def plugin_names(kind: Kind) -> tuple[str, ...]:
    """Names of the installed plug-ins of a kind, sorted."""
    return tuple(sorted({entry.name for entry in _entries(kind)}))


def load_plugin(kind: Kind, name: str) -> Any:
    """The object behind an installed plug-in.

    Args:
        kind: group of the entry point, without ``beampipe.``.
        name: a name of `plugin_names`.

    Raises:
        ConfigError: two packages provide this name, or it cannot be imported.
    """
    entry = _entry(kind, name)
    try:
        return entry.load()
    except Exception as error:  # whatever the plug-in raises while it is imported
        package = "no package" if entry.dist is None else entry.dist.name
        raise ConfigError(
            f"{kind} {name}: {entry.value} of {package} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def plugin_digest(kind: Kind, name: str) -> str:
    """Digest of the code of an installed plug-in and of what its package says it depends on.

    Args:
        kind: group of the entry point, without ``beampipe.``.
        name: a name of `plugin_names`.

    Raises:
        ConfigError: two packages provide this name.
    """
    entry = _entry(kind, name)
    package = "" if entry.dist is None else entry.dist.name
    return digest_of([entry.attr, distribution_digest(package, entry.module)])


def _entry(kind: Kind, name: str) -> EntryPoint:
    entries = _entries(kind).select(name=name)
    packages = sorted({entry.dist.name for entry in entries if entry.dist is not None})
    if len(entries) != 1:
        raise ConfigError(
            f"{kind} {name}: got {len(entries)} plug-ins of this name, of {', '.join(packages) or 'no package'},"
            " expected one; uninstall the others"
        )
    (entry,) = entries
    return entry
