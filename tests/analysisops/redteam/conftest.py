from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

import pytest

from beampipe.analysisops.grading import checks
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.tools.workspaces import WorkspaceFit, fit_workspace
from tests.analysisops.redteam.target import Target

_FITS: Final[dict[str, WorkspaceFit]] = {}


@pytest.fixture(scope="session")
def target_of(
    instance: Callable[[str], PreparedInstance], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Target]:
    """The target of each shipped task, made once."""

    @cache
    def make(name: str) -> Target:
        return Target(instance(name), tmp_path_factory.mktemp(name))

    return make


@pytest.fixture(autouse=True, scope="module")
def _equal_workspaces_are_fitted_once() -> Iterator[None]:
    """Most attacks hand in the workspace of honest work, whose fit takes most of the time of a grade."""

    def fit(specification: Mapping[str, Any]) -> WorkspaceFit:
        key = json.dumps(specification, sort_keys=True)
        if key not in _FITS:
            _FITS[key] = fit_workspace(specification)
        return _FITS[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checks, "fit_workspace", fit)
        yield
