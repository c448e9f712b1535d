"""Expressions over columns: numbers, a number for each event, or one for each object.

Python's grammar reads the text; what is not on a list is refused, so that no attribute, no call of anything else, no
name with underscores around it and no text can stand in an expression.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.tools.handles import Column, Events, Jagged, frozen
from beampipe.errors import nearest

FUNCTIONS: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys(("abs", "sqrt", "log", "exp", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arctan"), (1, 1)),
    **dict.fromkeys(("count", "sum", "any", "all"), (1, 1)),
    **dict.fromkeys(("min", "max"), (1, 8)),
    "delta_phi": (2, 2),
    "where": (3, 3),
}
"""Name of a function -> fewest and most arguments."""

CONSTANTS: Final[Mapping[str, float]] = {"pi": math.pi}

HELP: Final = (
    "Expressions know + - * / ** %, comparisons, and/or/not, abs sqrt log exp sin cos tan sinh cosh tanh arctan"
    " min max where(condition, a, b) delta_phi(a, b); over the objects of an event: count(c) (of a condition: how many"
    " fulfil it), sum(c), any(c), all(c), min(c), max(c), c[0] (the first object; a missing one is no number and"
    " fulfils no comparison), c[condition]."
)
"""What agents are told of expressions."""

_LONGEST: Final = 600
"""So many characters may an expression have."""

_DEEPEST: Final = 24
"""So deep may an expression be nested."""

_MOST_OBJECTS: Final = 64
"""Indices of objects are smaller than this."""

_LARGEST: Final = 1e300
"""Numbers in expressions are smaller than this."""

_OPERATORS: Final = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Mod)

_COMPARISONS: Final = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


@dataclass(frozen=True)
class Expression:
    """A checked expression.

    Attributes:
        text: as it was written.
        tree: what it is; it holds only what this module allows.
        names: columns or numbers that it needs.
    """

    text: str
    tree: ast.expr
    names: frozenset[str]


def parse(text: str) -> Expression:
    """Read an expression.

    Raises:
        ToolRefusedError: it is too long, no expression, or holds something that expressions may not hold.
    """
    if not text.strip() or len(text) > _LONGEST:
        raise ToolRefusedError(f"expression: got {len(text)} characters, expected 1 to {_LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolRefusedError(f"expression {text[:80]!r}: cannot be read ({type(error).__name__}). {HELP}") from error
    names: set[str] = set()
    _check(tree, names, 0)
    return Expression(text, tree, frozenset(names))


def check_name(name: str) -> None:
    """Refuse a name that could not be written in an expression.

    Raises:
        ToolRefusedError: it is no such name, or means something else there.
    """
    taken = name in FUNCTIONS or name in CONSTANTS or name in ("and", "or", "not", "True", "False", "None", "in", "is")
    if not name.isidentifier() or name.startswith("_") or taken or len(name) > 60:
        raise ToolRefusedError(
            f"name: got {name[:80]!r}, expected letters, digits and underscores, at most 60, that begin with a letter"
            " and are no function or word of expressions"
        )


def _check(node: ast.expr, names: set[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise ToolRefusedError(f"expression: got more than {_DEEPEST} levels, expected fewer; derive it in steps")
    match node:
        case ast.Constant(value=value):
            if not isinstance(value, bool | int | float) or abs(value) > _LARGEST:
                raise ToolRefusedError(f"expression: got {str(value)[:40]!r}, expected numbers and names of columns")
        case ast.Name(id=name):
            if name.startswith("_"):
                raise ToolRefusedError(f"expression: got a name {name[:40]!r}, expected one that begins with a letter")
            if name not in CONSTANTS:
                names.add(name)
    for child in _children(node):
        _check(child, names, depth + 1)


def _children(node: ast.expr) -> list[ast.expr]:
    """The parts of a node that expressions may hold."""
    match node:
        case ast.Constant() | ast.Name():
            return []
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() | ast.BitXor()) | ast.UnaryOp(op=ast.Invert()):
            raise ToolRefusedError("expression: got & | ^ or ~, expected and, or, not")
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
            return [left, right]
        case ast.UnaryOp(operand=operand):
            return [operand]
        case ast.BoolOp(values=values):
            return values
        case ast.Compare(left=left, ops=ops, comparators=others) if all(isinstance(op, _COMPARISONS) for op in ops):
            return [left, *others]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            _check_call(name, len(arguments))
            return arguments
        case ast.Subscript(value=value, slice=ast.Constant(value=index)):
            if type(index) is not int or not 0 <= index < _MOST_OBJECTS:
                raise ToolRefusedError(f"expression: got an index {str(index)[:20]}, expected 0 to {_MOST_OBJECTS - 1}")
            return [value]
        case ast.Subscript(value=value, slice=condition):
            return [value, condition]
    raise ToolRefusedError(f"expression: got {ast.unparse(node)[:60]!r}, which it may not hold. {HELP}")


def _check_call(name: str, given: int) -> None:
    if name not in FUNCTIONS:
        raise ToolRefusedError(f"expression: got a function {name[:40]!r}{nearest(name, FUNCTIONS)}. {HELP}")
    fewest, most = FUNCTIONS[name]
    if not fewest <= given <= most:
        raise ToolRefusedError(f"expression: got {given} arguments for {name}, expected {fewest} to {most}")


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
