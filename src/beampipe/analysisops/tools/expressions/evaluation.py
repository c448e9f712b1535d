"""The value of an expression: numbers, a number for each event, or one for each object."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.tools.contents import Column, Events, Jagged, frozen
from beampipe.analysisops.tools.expressions.parser import CONSTANTS, Expression, parse
from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.errors import nearest

__all__ = ["condition", "evaluate", "number", "object_condition"]

_Value = Column
"""A column; a single number is an array without axes."""

_ARITHMETIC: Final[Mapping[type, Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.Pow: np.power,
    ast.Mod: np.mod,
}
_COMPARE: Final[Mapping[type, Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    # What is missing is NaN, and fulfils no comparison: not this one either.
    ast.NotEq: lambda a, b: (a < b) | (a > b),
}
_ELEMENTWISE: Final[Mapping[str, Callable[[Any], Any]]] = {
    name: getattr(np, name)
    for name in ("abs", "sqrt", "log", "exp", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arctan")
}


def evaluate(events: Events, text: str) -> Column:
    """The value of an expression for each event or object; a constant is repeated.

    Raises:
        ToolRefusedError: it cannot be read, needs a column that is not there, or mixes what does not fit.
    """
    value = _value(parse(text), events.columns)
    if isinstance(value, Jagged):
        return value
    return frozen(np.broadcast_to(value, (events.n,)).copy()) if value.ndim == 0 else frozen(value)


def condition(events: Events, text: str) -> ndarray:
    """A condition on events.

    Raises:
        ToolRefusedError: as `evaluate`, or the expression is no condition, or one on objects.
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
        ToolRefusedError: as `evaluate`, or the expression is no condition, or one on events.
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
    missing = sorted(expression.names - set(columns))
    if missing:
        raise ToolRefusedError(
            f"expression {expression.text[:80]!r}: got the name {missing[0]!r}, expected one of"
            f" {', '.join(columns) or 'none'}{nearest(missing[0], columns)}"
        )
    with np.errstate(all="ignore"):
        return _walk(expression.tree, columns)


def _walk(node: ast.expr, columns: Mapping[str, _Value]) -> _Value:
    match node:
        case ast.Constant(value=value):
            return np.asarray(value if isinstance(value, bool) else float(value))  # type: ignore[arg-type]
        case ast.Name(id=name):
            return np.asarray(CONSTANTS[name]) if name in CONSTANTS else columns[name]
        case ast.BinOp(left=left, op=op, right=right):
            pair = [_walk(left, columns), _walk(right, columns)]
            return _apply(lambda a, b: _ARITHMETIC[type(op)](_real(a), _real(b)), pair)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _apply(lambda a: ~_truth(a, ast.unparse(operand)), [_walk(operand, columns)])
        case ast.UnaryOp(op=op, operand=operand):
            sign = -1.0 if isinstance(op, ast.USub) else 1.0
            return _apply(lambda a: sign * _real(a), [_walk(operand, columns)])
        case ast.BoolOp(op=op, values=nodes):
            joined = np.logical_and if isinstance(op, ast.And) else np.logical_or
            texts = [ast.unparse(one) for one in nodes]
            return _apply(
                lambda *all_of: joined.reduce(
                    np.broadcast_arrays(*(_truth(one, text) for one, text in zip(all_of, texts, strict=True)))
                ),
                [_walk(one, columns) for one in nodes],
            )
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_walk(one, columns) for one in (left, *comparators)]
            return _apply(lambda *all_of: _chain(ops, all_of), sides)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _call(name, [_walk(one, columns) for one in arguments], ast.unparse(node))
        case ast.Subscript(value=value, slice=index):
            return _pick(_walk(value, columns), index, columns, ast.unparse(node))
    raise ToolRefusedError(f"expression: got {ast.unparse(node)[:60]!r}, which it may not hold")


def _chain(ops: Sequence[ast.cmpop], sides: Sequence[ndarray]) -> ndarray:
    good: Any = True
    for op, left, right in zip(ops, sides, sides[1:], strict=False):
        good = good & _COMPARE[type(op)](_real(left), _real(right))
    return np.asarray(good)


def _apply(function: Callable[..., Any], values: Sequence[_Value]) -> _Value:
    """A function of numbers on columns; values of events stand for each of their objects."""
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


def _call(name: str, values: list[_Value], text: str) -> _Value:
    if name in _ELEMENTWISE:
        return _apply(lambda a: _ELEMENTWISE[name](_real(a)), values)
    if name == "delta_phi":
        return _apply(lambda a, b: (_real(a) - _real(b) + np.pi) % (2 * np.pi) - np.pi, values)
    if name == "where":
        return _apply(lambda good, a, b: np.where(_truth(good, text), _real(a), _real(b)), values)
    if name in ("min", "max") and len(values) > 1:
        smaller = np.minimum if name == "min" else np.maximum
        return _apply(lambda *all_of: smaller.reduce(np.broadcast_arrays(*map(_real, all_of))), values)
    (value,) = values
    if not isinstance(value, Jagged):
        raise ToolRefusedError(
            f"expression {text[:60]!r}: got a value for each event, expected {name} over a column of objects"
        )
    return _reduce(name, value, text)


def _reduce(name: str, column: Jagged, text: str) -> ndarray:
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
        place = int(index.value)  # type: ignore[arg-type]
        picked = np.full(len(column.offsets) - 1, np.nan)
        there = column.counts > place
        picked[there] = column.values[column.offsets[:-1][there] + place]
        return picked
    wanted = _walk(index, columns)
    if not isinstance(wanted, Jagged) or not wanted.same_collection(column):
        raise ToolRefusedError(f"expression {text[:60]!r}: expected an index or a condition on the same objects in [ ]")
    return column.thinned(_truth(wanted.values, text))


def _real(value: ndarray) -> ndarray:
    return np.asarray(value, float)


def _truth(value: ndarray, text: str) -> ndarray:
    if value.dtype != bool:
        raise ToolRefusedError(f"expression {text[:80]!r}: got a number, expected a condition such as {text[:40]} > 0")
    return value
