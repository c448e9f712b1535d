"""Expressions over columns: numbers, a number for each event, or one for each object.

The text is parsed by Python's grammar and never executed as code. Syntax that is not explicitly allowed is refused, so
that an expression contains no attributes, no other calls, no names with leading underscores and no strings.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe import expressions
from beampipe.analysisops.contract import ToolRefusedError, require_name
from beampipe.analysisops.tools.handles import Column, Events, Jagged, frozen
from beampipe.errors import nearest
from beampipe.expressions import Grammar

_ELEMENTWISE: Final = ("abs", "sqrt", "log", "exp", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arctan")

_REDUCTIONS: Final = ("count", "sum", "any", "all")

FUNCTIONS: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys(_ELEMENTWISE, (1, 1)),
    **dict.fromkeys(_REDUCTIONS, (1, 1)),
    **dict.fromkeys(("min", "max"), (1, 8)),
    "delta_phi": (2, 2),
    "where": (3, 3),
}
"""Name of a function -> minimum and maximum number of arguments."""

CONSTANTS: Final[Mapping[str, float]] = {"pi": math.pi}

HELP: Final = (
    "Expressions know + - * / ** %, comparisons, and/or/not, abs sqrt log exp sin cos tan sinh cosh tanh arctan"
    " min max where(condition, a, b) delta_phi(a, b); over the objects of an event: count(c) (of a condition: how many"
    " fulfil it), sum(c), any(c), all(c), min(c), max(c), c[0] (the first object; a missing one is no number and"
    " fulfils no comparison), c[condition]."
)
"""Explains expressions to agents."""

_LONGEST: Final = 600
"""Maximum length of an expression [characters]."""

_DEEPEST: Final = 24
"""Maximum depth of an expression."""

_MOST_OBJECTS: Final = 64
"""Indices of objects are smaller than this."""

_LARGEST: Final = 1e300
"""Numbers in expressions are smaller than this."""


def _real(value: ndarray) -> ndarray:
    return np.asarray(value, float)


def _truth(value: ndarray, text: str) -> ndarray:
    if value.dtype != bool:
        raise ToolRefusedError(f"expression {text[:80]!r}: got a number, expected a condition such as {text[:40]} > 0")
    return value


def _of_numbers(function: Callable[[ndarray], ndarray]) -> Callable[[ndarray], ndarray]:
    return lambda value: function(_real(value))


_GRAMMAR: Final = Grammar(
    {
        ast.Add: np.add,
        ast.Sub: np.subtract,
        ast.Mult: np.multiply,
        ast.Div: np.divide,
        ast.Pow: np.power,
        ast.Mod: np.mod,
    },
    {
        ast.Lt: np.less,
        ast.LtE: np.less_equal,
        ast.Gt: np.greater,
        ast.GtE: np.greater_equal,
        ast.Eq: np.equal,
        # A missing value is NaN, for which no comparison holds, not even this one.
        ast.NotEq: lambda value, other: (value < other) | (value > other),
    },
    {
        **{name: _of_numbers(getattr(np, name)) for name in _ELEMENTWISE},
        "min": lambda *values: reduce(np.minimum, map(_real, values)),
        "max": lambda *values: reduce(np.maximum, map(_real, values)),
        "delta_phi": lambda value, other: (_real(value) - _real(other) + np.pi) % (2 * np.pi) - np.pi,
        "where": lambda good, value, other: np.where(_truth(good, "condition"), _real(value), _real(other)),
    },
)
"""Operators, and functions of one event or object; `_reduce` implements those over the objects of an event."""


@dataclass(frozen=True)
class Expression:
    """A checked expression.

    Attributes:
        text: the expression as written.
        tree: its syntax tree, which holds only what this module allows.
        names: names of columns or numbers in it.
        literals: numbers written in it.
    """

    text: str
    tree: ast.expr
    names: frozenset[str]
    literals: tuple[float, ...]


def parse(text: str) -> Expression:
    """Read an expression.

    Raises:
        ToolRefusedError: it is too long, not an expression, or uses forbidden syntax.
    """
    if not text.strip() or len(text) > _LONGEST:
        raise ToolRefusedError(f"expression: got {len(text)} characters, expected 1 to {_LONGEST}")
    try:
        tree = expressions.parse(text)
    except ValueError as error:
        raise ToolRefusedError(f"expression {text[:80]!r}: cannot be read ({error}). {HELP}") from error
    names: set[str] = set()
    literals: list[float] = []
    _check(tree, names, literals, 0)
    return Expression(text, tree, frozenset(names), tuple(literals))


def check_name(name: str) -> None:
    """Refuse a name that could not be written in an expression.

    Raises:
        ToolRefusedError: the name is invalid or reserved in expressions.
    """
    taken = name in FUNCTIONS or name in CONSTANTS or name in ("and", "or", "not", "True", "False", "None", "in", "is")
    if not name.isidentifier() or name.startswith("_") or taken or len(name) > 60:
        raise ToolRefusedError(
            f"name: got {name[:80]!r}, expected letters, digits and underscores, at most 60, that begin with a letter"
            " and are no function or word of expressions"
        )


def _check(node: ast.expr, names: set[str], literals: list[float], depth: int) -> None:
    if depth > _DEEPEST:
        raise ToolRefusedError(f"expression: got more than {_DEEPEST} levels, expected fewer; derive it in steps")
    match node:
        case ast.Constant(value=value):
            if not isinstance(value, bool | int | float) or abs(value) > _LARGEST:
                raise ToolRefusedError(f"expression: got {str(value)[:40]!r}, expected numbers and names of columns")
            literals.append(float(value))
        case ast.Name(id=name):
            if name.startswith("_"):
                raise ToolRefusedError(f"expression: got a name {name[:40]!r}, expected one that begins with a letter")
            if name not in CONSTANTS:
                names.add(name)
    for child in _children(node):
        _check(child, names, literals, depth + 1)


def _children(node: ast.expr) -> list[ast.expr]:
    """The children of a syntax node that expressions may contain."""
    match node:
        case ast.Constant() | ast.Name():
            return []
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() | ast.BitXor()) | ast.UnaryOp(op=ast.Invert()):
            raise ToolRefusedError("expression: got & | ^ or ~, expected and, or, not")
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            if name not in FUNCTIONS:
                raise ToolRefusedError(f"expression: got a function {name[:40]!r}{nearest(name, FUNCTIONS)}. {HELP}")
            fewest, most = FUNCTIONS[name]
            if not fewest <= len(arguments) <= most:
                raise ToolRefusedError(
                    f"expression: got {len(arguments)} arguments for {name}, expected {fewest} to {most}"
                )
            return arguments
        case ast.Subscript(value=value, slice=ast.Constant(value=index)):
            if type(index) is not int or not 0 <= index < _MOST_OBJECTS:
                raise ToolRefusedError(f"expression: got an index {str(index)[:20]}, expected 0 to {_MOST_OBJECTS - 1}")
            return [value]
        case ast.Subscript(value=value, slice=condition):
            return [value, condition]
    parts = expressions.operands(node, _GRAMMAR)
    if parts is None:
        raise ToolRefusedError(f"expression: got {ast.unparse(node)[:60]!r}, which it may not hold. {HELP}")
    return parts


_Value = Column
"""A column; a single number is an array without axes."""


def evaluate(events: Events, text: str) -> Column:
    """The value of an expression for each event or object; a constant is repeated.

    Raises:
        ToolRefusedError: it cannot be parsed, needs a missing column, or combines columns of different collections.
    """
    value = _value(parse(text), events.columns)
    if isinstance(value, Jagged):
        return value
    return frozen(np.broadcast_to(value, (events.n,)).copy()) if value.ndim == 0 else frozen(value)


def condition(events: Events, text: str) -> ndarray:
    """A condition on events.

    Raises:
        ToolRefusedError: as `evaluate`, or the expression is not a condition, or one on objects.
    """
    value = evaluate(events, text)
    if isinstance(value, Jagged):
        raise ToolRefusedError(
            f"expression {text[:80]!r}: got a condition for each object, expected one for each event;"
            " put any(...), all(...) or count(...) >= 2 around it, or use select_objects_tool"
        )
    return _truth(value, text)


def object_condition(events: Events, text: str) -> Jagged:
    """A condition on objects.

    Raises:
        ToolRefusedError: as `evaluate`, or the expression is not a condition, or one on events.
    """
    value = evaluate(events, text)
    if not isinstance(value, Jagged):
        raise ToolRefusedError(
            f"expression {text[:80]!r}: got one value for each event, expected a condition on objects;"
            " use select_tool for conditions on events"
        )
    return Jagged(value.offsets, _truth(value.values, text))


def number(expression: Expression, values: Mapping[str, float]) -> float:
    """The value of an expression of plain numbers.

    Raises:
        ToolRefusedError: a number is missing, or the expression needs objects.
    """
    value = _value(expression, {name: np.asarray(float(given)) for name, given in values.items()})
    return float(value) if not isinstance(value, Jagged) else float("nan")


def _value(expression: Expression, columns: Mapping[str, _Value]) -> _Value:
    for name in sorted(expression.names):
        require_name(f"expression {expression.text[:80]!r}", name, columns)
    with np.errstate(all="ignore"):
        return _walk(expression.tree, columns)


def _walk(node: ast.expr, columns: Mapping[str, _Value]) -> _Value:
    match node:
        case ast.Constant(value=value):
            return np.asarray(value if isinstance(value, bool) else float(value))  # type: ignore[arg-type]
        case ast.Name(id=name):
            return np.asarray(CONSTANTS[name]) if name in CONSTANTS else columns[name]
        case ast.Subscript(value=value, slice=index):
            return _pick(_walk(value, columns), index, columns, ast.unparse(node))
    values = [_walk(part, columns) for part in _children(node)]
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in _REDUCTIONS or (name in ("min", "max") and len(values) == 1):
            return _reduce(name, values[0], ast.unparse(node))
    return _apply(
        lambda *arrays: expressions.combine(
            node, arrays, _GRAMMAR, number=_real, truth=lambda value, part: _truth(value, ast.unparse(part))
        ),
        values,
    )


def _apply(function: Callable[..., Any], values: Sequence[_Value]) -> _Value:
    """Apply an elementwise function to columns; a value of an event applies to each of its objects."""
    jagged = [value for value in values if isinstance(value, Jagged)]
    if not jagged:
        return np.asarray(function(*values))
    first = jagged[0]
    if not all(first.same_collection(other) for other in jagged[1:]):
        raise ToolRefusedError(
            "expression: got columns with different numbers of objects in an event, expected those of one collection;"
            " take single objects, such as c[0], or sum, min or max of one of them"
        )
    counts = first.counts
    spread = [
        value.values if isinstance(value, Jagged) else value if value.ndim == 0 else np.repeat(value, counts)
        for value in values
    ]
    return Jagged(first.offsets, frozen(np.asarray(function(*spread))))


def _reduce(name: str, column: _Value, text: str) -> ndarray:
    """Reduce the values of objects to one value for each event."""
    if not isinstance(column, Jagged):
        raise ToolRefusedError(
            f"expression {text[:60]!r}: got a value for each event, expected {name} over a column of objects"
        )
    n, parents = len(column.offsets) - 1, column.parents
    if name in ("any", "all"):
        good = _truth(column.values, text)
        fulfilled = np.bincount(parents[good], minlength=n)
        return fulfilled > 0 if name == "any" else fulfilled == column.counts
    if name == "count":
        of = column.values if column.values.dtype == bool else np.ones(len(parents), bool)
        return np.bincount(parents[of], minlength=n).astype(float)
    values = _real(column.values)
    if name == "sum":
        return np.bincount(parents, weights=values, minlength=n)
    extreme = np.full(n, np.nan)
    filled = column.counts > 0
    if filled.any():
        reduced = (np.minimum if name == "min" else np.maximum).reduceat(values, column.offsets[:-1][filled])
        extreme[filled] = reduced
    return extreme


def _pick(column: _Value, index: ast.expr, columns: Mapping[str, _Value], text: str) -> _Value:
    if not isinstance(column, Jagged):
        raise ToolRefusedError(f"expression {text[:60]!r}: got one value for each event, expected a column of objects")
    if isinstance(index, ast.Constant):
        position = int(index.value)  # type: ignore[arg-type]
        picked = np.full(len(column.offsets) - 1, np.nan)
        there = column.counts > position
        picked[there] = column.values[column.offsets[:-1][there] + position]
        return picked
    wanted = _walk(index, columns)
    if not isinstance(wanted, Jagged) or not wanted.same_collection(column):
        raise ToolRefusedError(f"expression {text[:60]!r}: expected an index or a condition on the same objects in [ ]")
    return column.thinned(_truth(wanted.values, text))
