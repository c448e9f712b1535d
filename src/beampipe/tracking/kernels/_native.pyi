from collections.abc import Callable, Sequence

from jaxtyping import Float32, Float64, Int8, Int16, Int64
from numpy import ndarray

class Windows:
    def __init__(
        self,
        layers: ndarray,
        pairs: ndarray,
        pair_windows: ndarray,
        out_begin: ndarray,
        triplet_windows: ndarray,
    ) -> None: ...

BUILD: str

def isa() -> str: ...
def supported_isas() -> list[str]: ...
def use_isa(name: str) -> None: ...
def assign_layers(position: ndarray, windows: Windows, threads: int) -> Int16[ndarray, " n"]: ...
def module_map_edges(
    position: ndarray,
    offsets: ndarray,
    windows: Windows,
    seed_depth: int,
    least_curvature: float,
    threads: int,
) -> Int64[ndarray, "2 n_edges"]: ...
def triplets(
    position: ndarray, edge_index: ndarray, windows: Windows, threads: int
) -> tuple[Int64[ndarray, "2 n_triplets"], Float32[ndarray, " n_triplets"]]: ...
def pair_features(triplets: ndarray, chi2: ndarray, n_edges: int) -> Float32[ndarray, "n_edges 6"]: ...
def walk(
    n_hits: int,
    edge_index: ndarray,
    triplets: ndarray,
    chi2: ndarray,
    weight: ndarray,
    layer: ndarray,
    penalty: float,
    min_hits: int,
) -> Int64[ndarray, " n"]: ...
def fit_tracks(
    position: ndarray,
    rows: ndarray,
    begin: ndarray,
    layers: ndarray,
    variance: ndarray,
    scattering: ndarray,
    tubes: ndarray,
    energy_loss: float,
    field: float,
    field_shape: ndarray,
    reject_outliers: bool,
    threads: int,
) -> tuple[
    Float64[ndarray, "n 5"],
    Float64[ndarray, "n 5 5"],
    Float64[ndarray, " n"],
    Int64[ndarray, " n"],
    Int8[ndarray, " n"],
    Int64[ndarray, "n 3"],
]: ...
def complete(
    position: ndarray,
    offsets: ndarray,
    track_id: ndarray,
    windows: Windows,
    penalty: float,
    min_score: float,
    threads: int,
) -> Int64[ndarray, " n"]: ...
def embed(position: ndarray, packed: ndarray, widths: list[int], threads: int) -> Float32[ndarray, "n d"]: ...
def radius_edges(
    source: ndarray,
    target: ndarray,
    position: ndarray,
    offsets: ndarray,
    radius: float,
    max_neighbours: int,
    kappa_max: float,
    z0_max: float,
    threads: int,
) -> tuple[Int64[ndarray, "2 n_edges"], Float32[ndarray, " n_edges"]]: ...
def filter_logits(
    position: ndarray, edge_index: ndarray, dist2: ndarray, packed: ndarray, hidden: int, threads: int
) -> Float32[ndarray, " n_edges"]: ...
def gnn_logits(
    position: ndarray,
    edge_index: ndarray,
    pair_features: ndarray,
    packed: ndarray,
    hidden: int,
    steps: int,
    threads: int,
) -> Float32[ndarray, " n_edges"]: ...
def connected_components(n: int, edge_index: ndarray, min_hits: int) -> Int64[ndarray, " n"]: ...
def packed(weights: Sequence[ndarray], biases: Sequence[ndarray], by_output: bool) -> Float32[ndarray, " size"]: ...
def logit_of(cut: float) -> float: ...
def lowest_logit(cut: float) -> float: ...
def turned(position: ndarray) -> Float32[ndarray, "n 3"]: ...
def to_mm(scale: str, features: ndarray) -> Float32[ndarray, "n 3"]: ...
def seen_from(beam_line: Sequence[float], position: ndarray) -> Float32[ndarray, "n 3"]: ...
def beam_spot(position: ndarray, track_id: ndarray) -> tuple[float, float, float, float, int, float]: ...
def require_finite(position: ndarray) -> None: ...

class TrackFinder:
    def __init__(self, spec: str, weights: str) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def steps(self) -> list[str]: ...
    def memory(self, n_hits: int) -> float: ...
    def compare(
        self, position: ndarray, offsets: ndarray, beam_line: Sequence[float], threads: int, check: bool
    ) -> tuple[list[int], list[int]]: ...
    def find(
        self,
        position: ndarray,
        offsets: ndarray,
        beam_line: Sequence[float],
        threads: int,
        check: bool,
        hook: Callable[[str, None], None] | None = None,
        run: Callable[[int, ndarray, ndarray | None], tuple[ndarray, list[int], list[int]]] | None = None,
        measured: Sequence[tuple[ndarray, ndarray, ndarray] | None] = (),
    ) -> tuple[Int64[ndarray, " n"], list[float], list[int], list[int], list[int], list[int], list[list[float]]]: ...
