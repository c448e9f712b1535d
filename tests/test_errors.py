from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from beampipe import errors
from beampipe.errors import (
    BeampipeError,
    FileError,
    MissingExtraError,
    ServiceUnavailableError,
    UnknownNameError,
    WorkflowError,
    nearest,
)


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


def test_errors_carry_what_they_are_about() -> None:
    error = pickle.loads(pickle.dumps(FileError("a.root: no tree 'events'", path="a.root", name="events")))
    assert (error.path, error.name) == (Path("a.root"), "events")
    assert FileError("gone").path is None
    assert UnknownNameError("scale", "act", ["mm", "acts"]).valid == ("acts", "mm")
    assert str(UnknownNameError("scale", "act", [])) == "unknown scale: got 'act', expected none"
    assert MissingExtraError("acts", "simulation", "simulating").extra == "simulation"


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError("scale", "act", ["mm", "acts"]),
        MissingExtraError("acts", "simulation", "simulating"),
        ServiceUnavailableError("down", url="grpc://a:1", model="exatrkx"),
        WorkflowError("1 of 2 tasks failed", [("fill", FileError("gone"))]),
        *(
            getattr(errors, n)("got 1")
            for n in errors.__all__
            if n.endswith("Error") and n not in ("UnknownNameError", "MissingExtraError")
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_to_another_process(error: BeampipeError) -> None:
    error.add_note("in worker 3")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert copy.__notes__ == ["in worker 3"]
    assert vars(copy).keys() == vars(error).keys()
    assert [getattr(copy, name, None) for name in ("url", "model", "fault")] == [
        getattr(error, name, None) for name in ("url", "model", "fault")
    ]
    assert len(getattr(copy, "errors", ())) == len(getattr(error, "errors", ()))
