"""A model that never comes back, for `faults.py`: a tracking model that sleeps for ever once it is told to."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from beampipe.serving.tracking_model import TrackingModel
from beampipe.triton.model.contract import ModelAnswer, ModelRequest


class Sleeper(TrackingModel):
    """Finds tracks until the file ``$BEAMPIPE_BENCH_HANG`` is there, which it removes before it falls asleep."""

    def run(self, requests: Sequence[ModelRequest], /) -> list[ModelAnswer]:
        with suppress(OSError):
            Path(os.environ.get("BEAMPIPE_BENCH_HANG", "")).unlink()
            while True:
                time.sleep(3600)
        return super().run(requests)
