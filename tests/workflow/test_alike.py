"""Workers elsewhere compute with the same code and packages, or not at all."""

from __future__ import annotations

import pickle
import re
import sys

import distributed
import pytest

from beampipe.errors import MismatchError
from beampipe.workflow import Task, installed, open_pool, run
from beampipe.workflow.pools import call_checked
from tests.workflow import toys


def test_a_worker_of_another_version_ends_the_run_with_one_error() -> None:
    with (
        distributed.LocalCluster(n_workers=1, dashboard_address=None, host="127.0.0.1") as cluster,  # type: ignore[no-untyped-call]
        distributed.Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        client.run(toys.pretend_other_versions)
        log: list[str] = []
        with (
            pytest.raises(MismatchError, match=r"^worker on .*: got beampipe 0\.0\.1, numpy 0\.0\.1, expected beam"),
            open_pool(f"dask={cluster.scheduler_address}") as pool,
        ):
            run(
                [Task(str(number), toys.square, (number,)) for number in range(50)],
                pool,
                progress=lambda task: log.append(task.label),
            )
        assert log == []


def test_what_a_worker_computes_with_names_the_code() -> None:
    result = installed()
    assert result["python"] == ".".join(map(str, sys.version_info[:2]))
    assert re.fullmatch("[0-9a-f]{12}", result["code of beampipe"])
    assert installed() == result
    expected = {**result, "numpy": "0.1"}
    with pytest.raises(MismatchError, match=r"got numpy [\d.]+, expected numpy 0\.1 as in"):
        call_checked(installed, expected, pickle.loads, b"no pickle: it is not unpacked")
    assert call_checked(installed, result, pickle.loads, pickle.dumps((pow, (2, 3)))) == 8
