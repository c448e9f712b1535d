"""Text to a tree of the few things that an expression may hold.

Python's grammar reads the text; what is not on the list below is refused, so that no attribute, no call of anything
else, no name with underscores around it and no text can stand in a tree.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.errors import nearest

__all__ = ["CONSTANTS", "FUNCTIONS", "HELP", "Expression", "check_name", "parse"]

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
