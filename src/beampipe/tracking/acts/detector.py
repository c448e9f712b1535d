"""pyacts, imported once and kept quiet; the detector and the field that every run shares."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

from beampipe.errors import ConfigError, InputError
from beampipe.tracking.events import Hits

__all__ = ["ActsDetector", "detector", "pyacts", "require_measurements", "run_sequence"]

_run_lock = threading.Lock()


def pyacts() -> tuple[ModuleType, ModuleType]:
    """``acts`` and ``acts.examples``.

    Raises:
        MissingExtraError: pyacts is not installed.
    """
    import acts
    import acts.examples

    return acts, acts.examples


class ActsDetector:
    """A detector that ACTS finds tracks in, with a constant field along z.

    Args:
        field_z: magnetic field along z [T].
        geometry: ``acts.TrackingGeometry`` of the detector, or None for the Generic detector of ACTS.
        name: which detector it is, for messages.

    Attributes:
        geometry: ``acts.TrackingGeometry`` of the detector.
        field: ``acts.MagneticFieldProvider`` of the constant field.
        modules: identifiers of the sensitive surfaces.
    """

    def __init__(self, field_z: float, geometry: Any = None, name: str = "the Generic detector of ACTS") -> None:
        acts, examples = pyacts()
        if geometry is None:
            # It owns the modules that its geometry points to: it has to stay alive.
            self._owner: Any = examples.GenericDetector(logLevel=acts.logging.ERROR)
            geometry = self._owner.trackingGeometry()
        self.geometry: Any = geometry
        self.name = name
        self.field: Any = acts.ConstantBField(acts.Vector3(0.0, 0.0, field_z * acts.UnitConstants.T))
        self.field_z = field_z
        # The sensitive number fills bits 8 to 27 of an identifier; it is 0 on passive surfaces.
        self.modules = frozenset(
            identifier.value for identifier in self.geometry.geoIdSurfaceMap() if identifier.value >> 8 & 0xFFFFF
        )


@cache
def detector(field_z: float) -> ActsDetector:
    """The Generic detector in a field of `field_z` tesla, built once per process (half a second)."""
    return ActsDetector(field_z)


def require_measurements(hits: Hits, where: ActsDetector, purpose: str) -> None:
    """Refuse hits that ACTS cannot place on its modules.

    Args:
        hits: hits of one event.
        where: detector that the hits should lie in.
        purpose: who asks, for the message.

    Raises:
        InputError: `geometry_id`, `local` or `variance` is missing, a variance is not positive, or a module unknown.
    """
    missing = [name for name in ("geometry_id", "local", "variance") if getattr(hits, name) is None]
    if missing:
        raise InputError(
            f"{purpose}: got hits without {', '.join(missing)}, expected geometry_id, local and variance;"
            " read events that were simulated with them, or use a pipeline that needs positions only"
        )
    assert hits.geometry_id is not None
    assert hits.variance is not None
    if not (hits.variance > 0).all():
        row = int((hits.variance <= 0).any(axis=1).argmax())
        raise InputError(
            f"{purpose}: got variance {hits.variance[row].tolist()} at row {row}, expected positive numbers [mm^2]"
        )
    unknown = set(hits.geometry_id.tolist()) - where.modules
    if unknown:
        raise InputError(
            f"{purpose}: got geometry_id {min(unknown)} (and {len(unknown) - 1} more) that is no module of"
            f" {where.name}, expected identifiers of that detector"
        )


def run_sequence(algorithms: Sequence[Any], n_events: int, threads: int, writers: Sequence[Any] = ()) -> None:
    """Run `algorithms` in order on events 0 .. n_events - 1, without output.

    Args:
        algorithms: sequence elements of ``acts.examples``, in order.
        n_events: number of events to run on.
        threads: number of events in flight.
        writers: writers of ``acts.examples``, run after the algorithms.

    Raises:
        ConfigError: `threads` is not positive.
    """
    if threads < 1:
        raise ConfigError(f"ACTS: got threads = {threads}, expected 1 or more")
    if n_events == 0:
        return
    acts, examples = pyacts()
    sequencer = examples.Sequencer(
        events=n_events,
        numThreads=threads,
        logLevel=acts.logging.ERROR,
        # The floating-point traps of the sequencer abort whole runs for one division in a propagation.
        trackFpes=False,
        failOnUnmaskedFpe=False,
        outputDir="",
        outputTimingFile="",
    )
    for algorithm in algorithms:
        sequencer.addAlgorithm(algorithm)
    for writer in writers:
        sequencer.addWriter(writer)
    # One at a time: the sequencer is parallel inside, and sets the number of threads of the whole process.
    with _run_lock:
        sequencer.run()
