"""One planted fault, and the check that it is not silent."""

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from beampipe.errors import BeampipeError

__all__ = ["Fault", "cases", "check"]


@dataclass(frozen=True)
class Fault:
    """Something from outside that is wrong, and the words that must name its cause.

    Args:
        name: what is wrong, as a user would say it; the test's id.
        plant: prepares the fault in an empty folder and uses the package as its user would. It may return a text, e.g.
            what a command printed.
        says: regular expression that finds the cause in the error, in a warning or in the returned text.
        kind: type of the error or warning; `str` if the returned text names the cause.
    """

    name: str
    plant: Callable[[Path], object]
    says: str
    kind: type[BaseException] | type[str] = BeampipeError


def cases(faults: Iterable[Fault]) -> list[object]:
    """The parameters of a test over a table of faults."""
    return [pytest.param(fault, id=fault.name) for fault in faults]


def check(fault: Fault, folder: Path) -> None:
    """Plant a fault; fail unless its cause is named.

    Args:
        fault: what to plant.
        folder: an empty folder.
    """
    error: BaseException | None = None
    result: object = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = fault.plant(folder)
        except BaseException as raised:
            error = raised
    if error is not None:
        assert isinstance(error, fault.kind), f"got {type(error).__name__}: {error}"
        assert re.search(fault.says, str(error)), f"the error does not name the cause: {error}"
    elif fault.kind is str:
        assert re.search(fault.says, str(result)), f"the output does not name the cause: {result}"
    else:
        messages = [str(warning.message) for warning in caught if issubclass(warning.category, fault.kind)]
        assert any(re.search(fault.says, message) for message in messages), f"silent; warnings: {messages}"
