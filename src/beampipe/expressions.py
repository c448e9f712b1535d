"""Expressions of named columns, e.g. ``Jet_jetId >= 2 and abs(Jet_eta) < 2.4``: parsed, checked and evaluated.

Python's grammar parses a text, and a `Grammar` defines the operators and functions that it may contain: `parse`,
`operands` and `combine` are shared by all expression languages of beampipe. The rest of this module is the language of
columns in files.

A text of letters, digits and ``_ . : / @ # -`` that begins with a letter or ``_`` names a column. Anything else
is an expression: names, numbers, ``+ - * /``, comparisons, ``and or not``, ``& | ~``, ``abs sqrt log exp min max``.
A name with other characters than letters, digits, ``_`` and ``.`` is quoted: ``'EventInfo:passed' != 0``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import ConfigError

_PLAIN: Final = re.compile(r"[A-Za-z_][\w.:/@#-]*")


@dataclass(frozen=True)
class Grammar:
    """Operators and functions that expressions may contain, as functions of values.

    Attributes:
        binary: operators with two operands.
        comparisons: comparisons, which may be chained.
        functions: functions by name.
    """

    binary: Mapping[type[ast.operator], Callable[[Any, Any], Any]]
    comparisons: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]
    functions: Mapping[str, Callable[..., Any]]


def parse(text: str) -> ast.expr:
    """The syntax tree of an expression.

    Raises:
        ValueError: it is not an expression, or nested too deeply.
    """
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def operands(node: ast.expr, grammar: Grammar) -> list[ast.expr] | None:
    """The operands of an operator, a comparison or a function of the grammar; None for any other node."""
    match node:
        case ast.BoolOp(values=parts):
            return list(parts)
        case ast.UnaryOp(operand=operand):
            return [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in grammar.binary:
            return [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in grammar.comparisons for op in ops):
            return [left, *others]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in grammar.functions:
            return list(arguments)
    return None


def combine(
    node: ast.expr,
    values: Sequence[Any],
    grammar: Grammar,
    *,
    number: Callable[[Any], Any],
    truth: Callable[[Any, ast.expr], Any],
) -> Any:
    """The value of a node from the values of its operands.

    Args:
        node: a node for which `operands` returns operands.
        values: their values.
        grammar: operators and functions.
        number: converts a value to an operand of arithmetic and comparisons.
        truth: converts a value, with its node, to an operand of ``and``, ``or`` and ``not``.
    """
    match node:
        case ast.BoolOp(op=op, values=parts):
            joined = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return reduce(joined, map(truth, values, parts))
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            return np.logical_not(truth(values[0], operand))
        case ast.UnaryOp(op=op):
            return np.negative(number(values[0])) if isinstance(op, ast.USub) else number(values[0])
        case ast.BinOp(op=op):
            return grammar.binary[type(op)](number(values[0]), number(values[1]))
        case ast.Compare(ops=ops):
            sides = list(map(number, values))
            pairs = zip(ops, sides, sides[1:], strict=False)
            return reduce(np.logical_and, (grammar.comparisons[type(op)](left, right) for op, left, right in pairs))
        case ast.Call(func=ast.Name(id=name)):
            return grammar.functions[name](*values)
    raise AssertionError(ast.dump(node))  # `operands` returns None for such nodes


_COLUMNS: Final = Grammar(
    {
        ast.Add: np.add,
        ast.Sub: np.subtract,
        ast.Mult: np.multiply,
        ast.Div: np.true_divide,
        ast.BitAnd: np.bitwise_and,
        ast.BitOr: np.bitwise_or,
    },
    {
        ast.Lt: np.less,
        ast.LtE: np.less_equal,
        ast.Gt: np.greater,
        ast.GtE: np.greater_equal,
        ast.Eq: np.equal,
        ast.NotEq: np.not_equal,
    },
    {
        "abs": np.abs,
        "sqrt": np.sqrt,
        "log": np.log,
        "exp": np.exp,
        "min": lambda *values: reduce(np.minimum, values),
        "max": lambda *values: reduce(np.maximum, values),
    },
)


def is_expression(text: str) -> bool:
    """Whether a text is an expression, not the name of a branch."""
    return _PLAIN.fullmatch(text) is None


def names_in(text: str) -> tuple[str, ...]:
    """Names of the branches that a text needs: the text itself if it is a name.

    Raises:
        ConfigError: it uses syntax that is not allowed.
    """
    if not is_expression(text):
        return (text,)
    return tuple(dict.fromkeys(_names(_parsed(text), text)))


def check_expression(text: str, where: str) -> None:
    """Check that an expression can be evaluated; `where` prefixes the error message.

    Raises:
        ConfigError: it cannot.
    """
    try:
        names_in(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def evaluate(text: str, values: Callable[[str], ndarray]) -> ndarray:
    """Evaluate an expression; integers are widened to 64 bits.

    Args:
        text: expression, or the name of one branch.
        values: returns the numbers of a branch; all have the same shape.

    Raises:
        ConfigError: it is not an expression.
    """
    if not is_expression(text):
        return values(text)

    def value_of(node: ast.expr) -> Any:
        name = _name(node)
        if name is not None:
            return _widened(values(name))
        if isinstance(node, ast.Constant):
            return node.value
        parts = [value_of(part) for part in operands(node, _COLUMNS) or ()]
        return combine(node, parts, _COLUMNS, number=lambda value: value, truth=lambda value, _: np.not_equal(value, 0))

    names_in(text)
    try:
        with np.errstate(all="ignore"):  # non-finite values are refused where they are used
            evaluated: ndarray = np.asarray(value_of(_parsed(text)))
    except TypeError as error:
        raise ConfigError(f"got {text!r}, which does not fit the types of its branches ({error})") from error
    return evaluated


@cache
def _parsed(text: str) -> ast.expr:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"got {text!r}, which is neither the name of a branch nor an expression ({error})") from None


def _name(node: ast.expr) -> str | None:
    """The branch named by a node: a name, a dotted name, or a quoted text."""
    match node:
        case ast.Name(id=name) | ast.Constant(value=str(name)):
            return str(name)
        case ast.Attribute(value=inner, attr=last):
            before = _name(inner)
            return None if before is None else f"{before}.{last}"
    return None


def _names(node: ast.expr, text: str) -> list[str]:
    """Names in a node and its descendants; an error for forbidden syntax."""
    name = _name(node)
    if name is not None:
        return [name]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        return []
    inner = operands(node, _COLUMNS)
    if not inner:
        raise ConfigError(
            f"got {ast.unparse(node)!r} in the expression {text!r}, expected branches, numbers, + - * /,"
            f" comparisons, and, or, not, & | ~, {', '.join(_COLUMNS.functions)}"
        )
    if isinstance(node, ast.Compare) and any(_bits(part, alone=len(node.ops) == 1) for part in inner):
        raise ConfigError(f"got {text!r}, where & and | bind before comparisons, which is hardly meant; write and, or")
    return [name for part in inner for name in _names(part, text)]


def _bits(node: ast.expr, *, alone: bool) -> bool:
    """Whether a side of a comparison is a bitwise operation where two conditions were intended: ``a > 2 & b < 3``."""
    match node:
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr(), left=left):
            return not alone or isinstance(left, ast.Constant)
    return False


def _widened(values: ndarray) -> ndarray:
    """Integers as int64 (except uint64), so that differences do not wrap; other numbers in native byte order."""
    if values.dtype.kind in "iu" and not (values.dtype.kind == "u" and values.dtype.itemsize == 8):
        return values.astype(np.int64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
