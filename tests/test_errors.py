from __future__ import annotations

import pytest

from beampipe import errors
from beampipe.errors import BeampipeError, MissingExtraError, UnknownNameError, nearest


def test_every_error_is_drawn_in_the_tree_and_derives_from_the_root() -> None:
    assert errors.__doc__ is not None
    classes = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(classes) > 5
    for error in classes:
        assert issubclass(error, BeampipeError)
        assert error.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        ("InputError", ValueError),
        ("FileError", OSError),
        ("DtypeError", TypeError),
        ("ServiceUnavailableError", ConnectionError),
        ("DeadlineError", TimeoutError),
    ],
)
def test_an_error_is_also_what_python_calls_it(error: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(errors, error), builtin)


def test_messages_are_for_reading() -> None:
    assert str(UnknownNameError("scale", "act", ["mm", "acts"])) == (
        "unknown scale: got 'act', expected one of acts, mm; did you mean 'acts'?"
    )
    assert str(MissingExtraError("acts", "simulation", "simulating")) == (
        "simulating needs acts, which is not installed: pip install 'beampipe[simulation]'"
    )
    assert nearest("zzz", ["abc"]) == ""
