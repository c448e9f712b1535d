"""Expressions of named columns, e.g. ``Jet_jetId >= 2 and abs(Jet_eta) < 2.4``: parsed, checked and evaluated.

A text of letters, digits and ``_ . : / @ # -`` that begins with a letter or ``_`` names a column. Anything else
is an expression: names, numbers, ``+ - * /``, comparisons, ``and or not``, ``& | ~``, ``abs sqrt log exp min max``.
A name with other characters than letters, digits, ``_`` and ``.`` is quoted: ``'EventInfo:passed' != 0``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache, reduce
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import ConfigError

__all__ = ["check_expression", "evaluate", "is_expression", "names_in"]

_PLAIN: Final = re.compile(r"[A-Za-z_][\w.:/@#-]*")

_BINARY: Final[dict[type, Callable[[Any, Any], Any]]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.BitAnd: np.bitwise_and,
    ast.BitOr: np.bitwise_or,
}
_COMPARED: Final[dict[type, Callable[[Any, Any], Any]]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "abs": np.abs,
    "sqrt": np.sqrt,
    "log": np.log,
    "exp": np.exp,
    "min": lambda *values: reduce(np.minimum, values),
    "max": lambda *values: reduce(np.maximum, values),
}


def is_expression(text: str) -> bool:
    """Whether a text is an expression and not the name of a branch."""
    return _PLAIN.fullmatch(text) is None


def names_in(text: str) -> tuple[str, ...]:
    """Names of the branches that a text needs: itself, if it is one.

    Raises:
        ConfigError: it is an expression of another kind.
    """
    if not is_expression(text):
        return (text,)
    return tuple(dict.fromkeys(_names(_parsed(text), text)))


def check_expression(text: str, where: str) -> None:
    """An error that says where, if a text is no expression that can be evaluated.

    Raises:
        ConfigError: it cannot.
    """
    try:
        names_in(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def evaluate(text: str, values: Callable[[str], ndarray]) -> ndarray:
    """The value of an expression, whole numbers being widened to 64 bits.

    Args:
        text: expression, or the name of one branch.
        values: gives the numbers of a branch; all have the same shape.

    Raises:
        ConfigError: it is no expression.
    """
    if not is_expression(text):
        return values(text)

    def of(node: ast.expr) -> Any:
        name = _name(node)
        if name is not None:
            return _widened(values(name))
        match node:
            case ast.Constant(value=number):
                return number
            case ast.BoolOp(op=op, values=parts):
                joined = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return reduce(joined, (np.not_equal(of(part), 0) for part in parts))
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=inner):
                return np.equal(of(inner), 0)
            case ast.UnaryOp(op=op, operand=inner):
                return np.negative(of(inner)) if isinstance(op, ast.USub) else of(inner)
            case ast.BinOp(left=left, op=op, right=right):
                return _BINARY[type(op)](of(left), of(right))
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [of(left), *map(of, others)]
                pairs = zip(ops, sides, sides[1:], strict=False)
                return reduce(np.logical_and, (_COMPARED[type(op)](one, other) for op, one, other in pairs))
            case ast.Call(func=ast.Name(id=function), args=arguments):
                return _FUNCTIONS[function](*map(of, arguments))
        raise AssertionError(ast.dump(node))  # `_names` has refused it

    names_in(text)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused where it is used
            found: ndarray = np.asarray(of(_parsed(text)))
    except TypeError as error:
        raise ConfigError(f"got {text!r}, which does not fit the types of its branches ({error})") from error
    return found


@cache
def _parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"got {text!r}, which is neither the name of a branch nor an expression ({error})") from None


def _name(node: ast.expr) -> str | None:
    """The branch that a node is: a name, names with dots between, or a text in quotes."""
    match node:
        case ast.Name(id=name) | ast.Constant(value=str(name)):
            return str(name)
        case ast.Attribute(value=inner, attr=last):
            before = _name(inner)
            return None if before is None else f"{before}.{last}"
    return None


def _names(node: ast.expr, text: str) -> list[str]:
    """Names in a node and below, or an error about what is not allowed."""
    name = _name(node)
    if name is not None:
        return [name]
    match node:
        case ast.Constant(value=bool() | int() | float()):
            return []
        case ast.BoolOp(values=parts):
            inner = list(parts)
        case ast.UnaryOp(operand=one):
            inner = [one]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            inner = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARED for op in ops):
            inner = [left, *others]
            if any(_bits(each, alone=len(ops) == 1) for each in inner):
                raise ConfigError(
                    f"got {text!r}, where & and | bind before comparisons, which is hardly meant; write and, or"
                )
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]) if function in _FUNCTIONS and arguments:
            inner = list(arguments)
        case _:
            raise ConfigError(
                f"got {ast.unparse(node)!r} in the expression {text!r}, expected branches, numbers, + - * /,"
                f" comparisons, and, or, not, & | ~, {', '.join(_FUNCTIONS)}"
            )
    return [name for each in inner for name in _names(each, text)]


def _bits(node: ast.expr, *, alone: bool) -> bool:
    """Whether a side of a comparison is bits of something that was meant as two conditions: ``a > 2 & b < 3``."""
    match node:
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr(), left=left):
            return not alone or isinstance(left, ast.Constant)
    return False


def _widened(values: ndarray) -> ndarray:
    """Whole numbers with a sign and 64 bits, so that no difference of them wraps; others in this machine's order."""
    if values.dtype.kind in "iu" and not (values.dtype.kind == "u" and values.dtype.itemsize == 8):
        return values.astype(np.int64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
