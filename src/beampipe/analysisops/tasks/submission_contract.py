"""submission_contract.yaml: the form of the artifacts that the public benchmark's later generations ask for.

Two forms are in use: ``required_artifacts`` with nested ``required_keys``, and ``required_outputs`` with ``schemas``.
Both are read into the same fields. Null is no value: a key with null is a key that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.grading.submission import number_of
from beampipe.analysisops.tasks.spec import read_yaml
from beampipe.errors import ConfigError, UnknownNameError, nearest

__all__ = ["Artifact", "Contract", "Field", "check_contract", "load_contract"]

_ARTIFACT_TYPES: Final = ("json", "table_json", "markdown", "text", "image", "image_ref")
_RULES: Final = ("min_length", "max_length", "min", "max", "gt", "contains_all", "non_empty", "min_characters")
_RELATIONS: Final = ("same_length", "edges_equals_counts_plus_one")
_FIELD_KEYS: Final = (
    *("type", "description", "enum", "items", "length", "required_keys", "optional_keys"),
    *_RULES,
)


def _whole(value: object) -> bool:
    return number_of(value) is not None and float(value).is_integer()  # type: ignore[arg-type]


def _number(value: object) -> bool:
    return number_of(value) is not None


def _of(test: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(test, value))


_TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "float": _number,
    "number": _number,
    "integer": _whole,
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "array_float": _of(_number),
    "array_number": _of(_number),
    "array_int": _of(_whole),
    "array_string": _of(lambda value: isinstance(value, str)),
    "array_object": _of(lambda value: isinstance(value, Mapping)),
    "array_float_len_2": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_number, value)),
}
"""Types of a field; numbers are finite, true is none."""


@dataclass(frozen=True)
class Field:
    """What one field must be.

    Attributes:
        type: one of the types of the contract, empty for any.
        required: whether it must be there.
        items: type of the items of an array, empty for any.
        enum: values there are; empty for any.
        rules: limits, by name.
        fields: fields of an object, or of each object of an array.
    """

    type: str = ""
    required: bool = False
    items: str = ""
    enum: tuple[Any, ...] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Field] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """One artifact of a submission.

    Attributes:
        name: of its file.
        type: ``"json"``, ``"markdown"`` and others.
        required: whether it must be there.
        content: what must be in it.
        aligned: pairs of arrays, with how their lengths go together.
    """

    name: str
    type: str
    required: bool
    content: Field = field(default_factory=Field)
    aligned: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Contract:
    """All artifacts of a submission.

    Attributes:
        artifacts: by the names of their files.
    """

    artifacts: Mapping[str, Artifact]


def load_contract(path: Path) -> Contract:
    """The contract of a file, in either form.

    Raises:
        FileError: the file cannot be read.
        ConfigError: a key is unknown.
        UnknownNameError: a type is unknown.
    """
    table = read_yaml(path, "a contract of submissions")
    known = ("version", "task_id", "level", "required_artifacts", "optional_artifacts", "required_outputs",
             "optional_outputs", "schemas")  # fmt: skip
    _refuse_unknown(table, known, str(path))
    schemas = table.get("schemas") or {}
    found = {}
    for key, required in (
        *(("required_artifacts", True), ("optional_artifacts", False)),
        *(("required_outputs", True), ("optional_outputs", False)),
    ):
        for one in table.get(key) or ():
            artifact = _artifact(one, required, schemas, f"{path}: {key}")
            found[artifact.name] = artifact
    for name in schemas:
        if name not in found:
            raise UnknownNameError(f"artifact ({path}: schemas)", name, found)
    return Contract(found)


def check_contract(contract: Contract, artifacts: object) -> list[str]:
    """What is wrong with the artifacts of a submission, one sentence each; none is right.

    Args:
        contract: what was asked for.
        artifacts: content of each artifact by the name of its file, of any type.
    """
    if not isinstance(artifacts, Mapping):
        return [f"artifacts: got {type(artifacts).__name__}, expected an object with the artifacts by their names"]
    faults = [
        f"{name}: nobody asked for it{nearest(str(name), contract.artifacts)}"
        for name in artifacts
        if name not in contract.artifacts
    ]
    for name, artifact in contract.artifacts.items():
        content = artifacts.get(name)
        if content is None:
            faults += [f"{name}: missing"] if artifact.required else []
            continue
        if artifact.type in ("markdown", "text"):
            whole = Field("string", True, rules=artifact.content.rules)
        elif artifact.type == "image" or (artifact.type == "image_ref" and not artifact.content.fields):
            whole = Field()
        else:
            whole = Field("object", True, fields=artifact.content.fields)
        faults += _faults(content, whole, name)
        faults += _misaligned(content, artifact)
    return faults


def _artifact(table: Any, required: bool, schemas: Mapping[str, Any], where: str) -> Artifact:
    known = ("name", "canonical_filename", "type", "description", "required_keys", "machine_readable")
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise ConfigError(f"{where}: got {str(table)[:60]}, expected a mapping with a name")
    _refuse_unknown(table, known, where)
    name = str(table.get("canonical_filename", table["name"]))
    kind = table.get("type", "json")
    if kind not in _ARTIFACT_TYPES:
        raise UnknownNameError(f"type of artifact ({where}: {name})", str(kind), _ARTIFACT_TYPES)
    if name in schemas:
        content, aligned = _schema(schemas[name] or {}, f"{where}: {name}")
        return Artifact(name, kind, required, content, aligned)
    return Artifact(name, kind, required, Field("object", True, fields=_keys(table, f"{where}: {name}")))


def _keys(table: Mapping[str, Any], where: str) -> dict[str, Field]:
    """Fields of the form with nested keys."""
    found = {}
    for key, required in (("required_keys", True), ("optional_keys", False)):
        for name, one in (table.get(key) or {}).items():
            one = {"type": one} if isinstance(one, str) else one or {}
            _refuse_unknown(one, _FIELD_KEYS, f"{where}: {name}")
            rules = {rule: one[rule] for rule in _RULES if rule in one}
            if "length" in one:
                rules |= {"min_length": one["length"], "max_length": one["length"]}
            found[name] = Field(
                _type(one.get("type", ""), f"{where}: {name}"),
                required,
                _type(one.get("items", ""), f"{where}: {name}: items"),
                tuple(one.get("enum", ())),
                rules,
                _keys(one, f"{where}: {name}"),
            )
    return found


def _schema(table: Mapping[str, Any], where: str) -> tuple[Field, tuple[tuple[str, str, str], ...]]:
    """Fields of the form with lists of names."""
    known = ("required_fields", "field_types", "nested_required_fields", "constraints", "required_sections", "enum")
    _refuse_unknown(table, known, where)
    types, nested = table.get("field_types") or {}, table.get("nested_required_fields") or {}
    limits = dict(table.get("constraints") or {})
    aligned = []
    for pair in limits.pop("array_alignment", ()):
        if pair["relation"] not in _RELATIONS:
            raise UnknownNameError(f"relation ({where}: array_alignment)", str(pair["relation"]), _RELATIONS)
        aligned.append((str(pair["fields"][0]), str(pair["fields"][1]), str(pair["relation"])))
    own = {rule: limits.pop(rule) for rule in _RULES if rule in limits}
    required = table.get("required_fields") or ()
    found = {}
    for name in dict.fromkeys((*required, *types, *nested, *limits)):
        inside, _ = _schema(nested.get(name) or {}, f"{where}: {name}")
        rules = limits.get(name) or {}
        _refuse_unknown(rules, _RULES, f"{where}: {name}")
        kind = _type(types.get(name, ""), f"{where}: {name}")
        found[name] = Field(kind, name in required, rules=rules, fields=inside.fields)
    return Field("", True, rules=own, fields=found), tuple(aligned)


def _type(name: str, where: str) -> str:
    if name and name not in _TYPES:
        raise UnknownNameError(f"type of field ({where})", str(name), _TYPES)
    return name


def _refuse_unknown(table: object, known: Sequence[str], where: str) -> None:
    if not isinstance(table, Mapping):
        expected = ", ".join(known)
        raise ConfigError(f"{where}: got {str(table)[:40]!r}, expected a mapping with some of {expected}")
    for key in table:
        if key not in known:
            expected = ", ".join(known)
            raise ConfigError(f"{where}: unknown key {key!r}, expected some of {expected}{nearest(str(key), known)}")


def _faults(value: object, wanted: Field, where: str) -> list[str]:
    if wanted.type and not _TYPES[wanted.type](value):
        return [f"{where}: got {type(value).__name__}, expected {wanted.type}"]
    if wanted.enum and value not in wanted.enum:
        return [f"{where}: got {str(value)[:40]!r}, expected one of {', '.join(map(str, wanted.enum))}"]
    faults = [
        f"{where}: breaks {name} = {limit}" for name, limit in wanted.rules.items() if not _holds(name, limit, value)
    ]
    if isinstance(value, list):
        if wanted.items and not all(map(_TYPES[wanted.items], value)):
            faults.append(f"{where}: expected items of type {wanted.items}")
        for place, one in enumerate(value[:1000] if wanted.fields else ()):
            faults += _inside(one, wanted.fields, f"{where}[{place}]")
        return faults
    return faults + (_inside(value, wanted.fields, where) if wanted.fields else [])


def _inside(value: object, fields: Mapping[str, Field], where: str) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{where}: got {type(value).__name__}, expected object"]
    faults = []
    for name, wanted in fields.items():
        if value.get(name) is None:
            faults += [f"{where}.{name}: missing"] if wanted.required else []
        else:
            faults += _faults(value[name], wanted, f"{where}.{name}")
    return faults


def _holds(rule: str, limit: Any, value: object) -> bool:
    size = len(value) if isinstance(value, str | list | Mapping) else -1
    number = number_of(value)
    if rule in ("min_length", "min_characters"):
        return size >= int(limit)
    if rule == "max_length":
        return 0 <= size <= int(limit)
    if rule == "non_empty":
        return not limit or (size > 0 and bool(value.strip() if isinstance(value, str) else value))
    if rule == "contains_all":
        return isinstance(value, list) and all(one in value for one in limit)
    if number is None:
        return False
    bound = float(limit)
    return {"min": number >= bound, "max": number <= bound, "gt": number > bound}[rule]


def _misaligned(content: object, artifact: Artifact) -> list[str]:
    faults = []
    for first, second, relation in artifact.aligned:
        one = content.get(first) if isinstance(content, Mapping) else None
        other = content.get(second) if isinstance(content, Mapping) else None
        more = 0 if relation == "same_length" else 1
        if isinstance(one, list) and isinstance(other, list) and len(one) != len(other) + more:
            faults.append(f"{artifact.name}: {first} has {len(one)} items and {second} {len(other)}: not {relation}")
    return faults
