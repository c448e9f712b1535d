from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import DeadlineError, InputError, RegionLostError, RegionRefusedError, ServiceError
from beampipe.triton.client.codec import Message, Tensor
from beampipe.triton.client.shared_memory import (
    MappedRegions,
    MapRegion,
    SharedRegion,
    SharedRegions,
    UnmapRegion,
    layout,
)
from beampipe.triton.client.transports import PendingAnswer
from beampipe.triton.model.contract import TensorSpec

SHARED = Path("/dev/shm")

FEATURES = TensorSpec("FEATURES", "FP32", np.float32, (-1, 3))
LABELS = TensorSpec("LABELS", "INT64", np.int64, (-1,))


class Mapper:
    """A server that maps regions: remembers their names, and lets go of none that it still works on."""

    def __init__(self) -> None:
        self.regions: list[str] = []
        self.seen: list[bool] = []
        self.at_work: set[str] = set()
        self.refuses = False

    def send(self, message: Message[Any], timeout: float, pending: PendingAnswer[Any] | None = None) -> Any:
        match message:
            case MapRegion():
                if self.refuses:
                    raise ServiceError("Unable to open shared memory region")
                self.seen.append((SHARED / message.key.lstrip("/")).stat().st_size == message.byte_size)
                self.regions.append(message.name)
            case MappedRegions():
                return list(self.regions)
            case UnmapRegion(region):
                if region in self.at_work:
                    raise ServiceError(f"Cannot unregister shared memory region '{region}', it is currently in use.")
                self.regions.remove(region)
            case _:
                raise NotImplementedError
        return None

    def close(self) -> None:
        pass


def use(regions: SharedRegions, size: int = 100, error: Exception | None = None) -> str:
    """Name of the region that one request of that size gets."""
    name = ""
    try:
        with regions.region(size) as region:
            name = region.name
            if error is not None:
                raise error
    except (InputError, ServiceError):
        assert error is not None
    return name


def test_what_goes_in_lies_where_it_is_said_to_and_labels_come_out() -> None:
    position = np.random.default_rng(1).uniform(1, 1000, (7, 3)).astype(np.float32)
    inputs = (Tensor(FEATURES, position),)
    at, size = layout(inputs, {"LABELS": 56})
    assert at == {"FEATURES": (0, 84), "LABELS": (128, 56)}
    assert size == 192
    region = SharedRegion(Mapper(), size)
    placed = region.place(inputs, (LABELS,), at)
    assert placed.region == region.name
    memory = np.frombuffer(region._memory, np.uint8)
    assert memory[:84].tobytes() == position.tobytes()
    with pytest.raises(ServiceError, match="got no labels in shared memory, expected 7"):
        region.output(LABELS, (7,), at)
    memory[128:184] = np.frombuffer(np.arange(7).tobytes(), np.uint8)
    assert region.output(LABELS, (7,), at).tolist() == list(range(7))


@pytest.mark.parametrize("n", range(16, 24))
def test_an_output_of_which_an_end_is_missing_is_not_taken_for_one(n: int) -> None:
    spec = TensorSpec("Y", "UINT8", np.uint8, (-1,))
    at, size = layout((), {"Y": n})
    region = SharedRegion(Mapper(), size)
    for written in (slice(0, 0), slice(0, n - 8), slice(8, n)):
        region.place((), (spec,), at)
        np.frombuffer(region._memory, np.uint8)[:n][written] = 1
        with pytest.raises(ServiceError, match="got no y in shared memory"):
            region.output(spec, (n,), at)
    np.frombuffer(region._memory, np.uint8)[:n] = 1
    assert region.output(spec, (n,), at).tolist() == [1] * n


def test_the_file_is_there_while_the_server_maps_it_and_never_after() -> None:
    server = Mapper()
    region = SharedRegion(server, 1 << 20)
    assert server.seen == [True]
    assert not (SHARED / region.name).exists()
    server.refuses = True
    with pytest.raises(RegionRefusedError, match="cannot map"):
        SharedRegion(server, 1 << 20)
    with pytest.raises(RegionLostError, match="expected room for"):
        SharedRegion(server, 1 << 60)
    assert not list(SHARED.glob(f"beampipe_client_{os.getpid()}_*"))


def test_a_region_is_used_again_and_replaced_by_a_larger_one_if_need_be() -> None:
    server = Mapper()
    regions = SharedRegions(server)
    first = use(regions)
    assert use(regions) == first
    assert use(regions, error=InputError("NaN")) == first  # the server has answered
    assert use(regions) == first
    large = use(regions, 3 << 20)
    assert large != first
    assert server.regions == [large]
    assert use(regions) == large
    regions.close()
    assert server.regions == []


def test_requests_at_once_have_a_region_each() -> None:
    server = Mapper()
    regions = SharedRegions(server)
    with regions.region(100) as one, regions.region(100) as two:
        names = {one.name, two.name}
    assert len(names) == 2
    assert {use(regions), use(regions)} <= names
    assert len(server.regions) == 2


def test_what_the_server_may_still_write_to_is_given_up_and_let_go_of_when_it_can_be() -> None:
    server = Mapper()
    regions = SharedRegions(server)
    late = use(regions, error=DeadlineError("late"))
    server.at_work = {late}
    other = use(regions)
    assert other != late
    assert set(server.regions) == {late, other}
    assert use(regions) == other
    server.at_work = set()
    assert use(regions) == other
    assert server.regions == [other]


def test_after_a_loss_none_is_offered_for_a_while() -> None:
    now = 0.0
    regions = SharedRegions(Mapper(), lambda: now)
    use(regions)
    assert regions.offered
    regions.lost()
    regions.offer_again()
    assert not regions.offered
    now = 9.0
    assert not regions.offered
    now = 10.0
    assert regions.offered


def test_what_killed_processes_left_is_cleaned_up() -> None:
    dead, mine = "beampipe_client_99999999_0_abc", f"beampipe_client_{os.getpid()}_0_abc"
    server = Mapper()
    server.regions = [dead, mine, "somebody_else"]
    (SHARED / dead).touch()
    (SHARED / mine).touch()
    try:
        name = use(SharedRegions(server))
        assert server.regions == [mine, "somebody_else", name]
        assert not (SHARED / dead).exists()
        assert (SHARED / mine).exists()
    finally:
        (SHARED / mine).unlink()
