"""Typed settings: what each annotation takes and refuses, in which words, and annotations that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.settings import build, read_toml

Colour = Literal["red", "green"]


@dataclass(frozen=True)
class Cuts:
    pt: float
    count: int = 2
    on: bool = True

    def __post_init__(self) -> None:
        if self.pt < 0:
            raise ConfigError(f"cuts: got pt {self.pt}, expected 0 or more")


@dataclass(frozen=True)
class Tagger:
    name: str
    bins: int = 10


@dataclass(frozen=True)
class Plain:
    size: int = 1


@dataclass(frozen=True)
class Everything:
    title: str
    cuts: Cuts
    output: Path = Path("out")
    colour: Colour = "red"
    limit: float | None = None
    edges: tuple[float, ...] = (1.0, 2.0)
    names: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    taggers: tuple[Tagger, ...] = ()
    by_name: Mapping[str, Tagger] = field(default_factory=dict)
    plain: Mapping[str, Plain] = field(default_factory=dict)
    made: int = field(default=7, init=False)


SHORT: dict[str, Any] = {"title": "t", "cuts": {"pt": 1}}


def test_each_annotation_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        """
title = "all"
output = "../results"
colour = "green"
limit = 3
edges = [1, 2.5]
names = "pdf_*"
inputs = ["/a/b", "c//d"]
[cuts]
pt = 20
on = false
[taggers.second]
[taggers.first]
bins = 3
[by_name.x]
bins = 4
[plain.y]
size = 5
"""
    )
    result = build(Everything, read_toml(path, "settings"), str(path), Path("/work/here"))
    assert result == Everything(
        title="all",
        cuts=Cuts(20.0, on=False),
        output=Path("/work/results"),
        colour="green",
        limit=3.0,
        edges=(1.0, 2.5),
        names=("pdf_*",),
        inputs=(Path("/a/b"), Path("/work/here/c/d")),
        taggers=(Tagger("second"), Tagger("first", 3)),
        by_name={"x": Tagger("x", 4)},
        plain={"y": Plain(5)},
    )
    assert (type(result.cuts.pt), type(result.limit)) == (float, float)
    with pytest.raises(TypeError):
        result.by_name["z"] = Tagger("z")  # type: ignore[index]


def test_what_is_not_given_keeps_its_default() -> None:
    assert build(Everything, SHORT, "a.toml") == Everything("t", Cuts(1.0))
    assert build(Everything, SHORT | {"limit": None}, "a.json").limit is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": 1}, "a.toml: unknown key 'titel', expected some of by_name, .*; did you mean 'title'"),
        ({"made": 1}, "a.toml: unknown key 'made'"),
        ({"cuts": {}}, "a.toml: cuts: missing pt"),
        ({"cuts": 3}, "a.toml: cuts: got 3, expected a table"),
        ({"cuts": {"pt": 1, "cuont": 3}}, "a.toml: cuts: unknown key 'cuont', .* mean 'count'"),
        ({"cuts": {"pt": True}}, "a.toml: cuts: pt: got True, expected float"),
        ({"cuts": {"pt": "1"}}, "a.toml: cuts: pt: got '1', expected float"),
        ({"cuts": {"pt": float("nan")}}, "a.toml: cuts: pt: got nan, expected a finite number"),
        ({"cuts": {"pt": 10**400}}, "a.toml: cuts: pt: got 1000*, expected a finite number"),
        ({"cuts": {"pt": 1, "count": True}}, "a.toml: cuts: count: got True, expected int"),
        ({"cuts": {"pt": 1, "count": 1.0}}, "a.toml: cuts: count: got 1.0, expected int"),
        ({"cuts": {"pt": 1, "on": 1}}, "a.toml: cuts: on: got 1, expected bool"),
        ({"cuts": {"pt": -1}}, "a.toml: cuts: got pt -1.0, expected 0 or more"),
        ({"title": None}, "a.toml: title: got None, expected str"),
        ({"output": 3}, "a.toml: output: got 3, expected a path"),
        ({"colour": 3}, "a.toml: colour: got 3, expected Colour, one of red, green"),
        ({"limit": "x"}, "a.toml: limit: got 'x', expected float"),
        ({"edges": 1.0}, r"a.toml: edges: got 1.0, expected tuple\[float, \.\.\.\]"),
        ({"edges": [1, "x"]}, "a.toml: edges: got 'x', expected float"),
        ({"edges": "1"}, "a.toml: edges: got '1', expected tuple"),
        ({"names": ["a", 1]}, "a.toml: names: got 1, expected str"),
        ({"taggers": ["x"]}, r"a.toml: got taggers = \['x'\], expected tables \[taggers\.NAME\]"),
        ({"taggers": {"x": 1}}, r"a.toml: got taggers = .*, expected tables \[taggers\.NAME\]"),
        ({"taggers": {"x": {"name": "y"}}}, "a.toml: taggers.x: got name = 'y', expected none: it is 'x'"),
        ({"by_name": {"x": {"bin": 1}}}, "a.toml: by_name.x: unknown key 'bin', .* mean 'bins'"),
        ({"plain": {"x": {"name": "x"}}}, "a.toml: plain.x: unknown key 'name'"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        build(Everything, SHORT | change, "a.toml")


def test_a_choice_that_does_not_exist_is_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown colour \(a\.toml: colour\): got 'gren'.*mean 'green'"):
        build(Everything, SHORT | {"colour": "gren"}, "a.toml")


def test_no_table_at_all() -> None:
    with pytest.raises(ConfigError, match=r"a\.toml: got \[\], expected a table"):
        build(Plain, [], "a.toml")


@dataclass(frozen=True)
class WithList:
    values: list[int]


@dataclass(frozen=True)
class WithUnion:
    value: int | str = 1


@dataclass(frozen=True)
class WithPair:
    value: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class WithNumbers:
    value: Literal[1, 2] = 1


@dataclass(frozen=True)
class WithAny:
    value: Any = None


@dataclass(frozen=True)
class WithNameless:
    value: tuple[Plain, ...] = ()


def test_tables_without_names_are_an_array(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[[value]]\nsize = 1\n[[value]]\nsize = 2\n")
    assert build(WithNameless, read_toml(path, "a file"), "a.toml") == WithNameless((Plain(1), Plain(2)))
    with pytest.raises(ConfigError, match="value: unknown key 'sise'"):
        build(WithNameless, {"value": [{"sise": 1}]}, "a.toml")


@dataclass(frozen=True)
class Inside:
    part: Mapping[str, WithList] = field(default_factory=dict)


@pytest.mark.parametrize("kind", [WithList, WithUnion, WithPair, WithNumbers, WithAny, Inside])
def test_an_annotation_that_is_not_known_is_refused_whatever_the_file_holds(kind: type) -> None:
    with pytest.raises(TypeError, match=r"(With|Inside).*\.(value|values|part): .*got the annotation"):
        build(kind, {}, "a.toml")


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_every_finite_number_is_a_float(number: float) -> None:
    result = build(Everything, SHORT | {"limit": number}, "a.toml").limit
    assert type(result) is float
    assert result == number


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.toml: cannot be read \(No such file .*\); expected the settings"):
        read_toml(tmp_path / "none.toml", "the settings")
    for content in (b"[", b"\xff\xfe\x00"):
        (tmp_path / "a.toml").write_bytes(content)
        with pytest.raises(FileError, match=r"a\.toml: is not TOML \("):
            read_toml(tmp_path / "a.toml", "the settings")
