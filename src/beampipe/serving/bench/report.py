"""Points as tables, and as the two plots of throughput: against concurrency, and against instances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from beampipe.figures import new_figure
from beampipe.files import write_whole
from beampipe.serving.bench.points import DIRECT, BenchPoint, BenchResult, write_bench
from beampipe.terminal import make_table

__all__ = ["bench_table", "draw_concurrency", "draw_instances", "print_bench", "raw_table", "write_report"]


def print_bench(result: BenchResult, out: Console) -> None:
    """Print the tables of a load test."""
    for sample in result.samples:
        out.print(bench_table(result, sample.name))
    if result.raw or result.unstable:
        out.print(raw_table(result))


def write_report(result: BenchResult, folder: Path) -> list[Path]:
    """Write the files of a load test.

    Args:
        result: what was measured.
        folder: folder of the files.

    Returns:
        The paths of the files: the JSON and the two plots.
    """
    names = ("serving.json", "throughput_concurrency.png", "throughput_instances.png")
    figures, concurrency, instances = (folder / name for name in names)
    write_bench(figures, result)
    draw_concurrency(result, concurrency)
    draw_instances(result, instances)
    return [figures, concurrency, instances]


def bench_table(result: BenchResult, sample: str) -> Table:
    """All points of one sample; the ratio is to direct at the same concurrency and instances."""
    about = next(one for one in result.samples if one.name == sample)
    physics = ""
    if about.efficiency is not None and about.fakes is not None:
        physics = f"; efficiency {about.efficiency:.4f}, fakes {about.fakes:.4f} (double majority)"
    times = ("events/s", "ratio", "p50 ms", "p95 ms", "p99 ms")
    table = make_table(
        f"{result.pipeline}, {sample}: {about.events} events, median {about.hits} hits{physics}",
        ("way",),
        ("in flight", "instances x threads", *times, "failed", "batch", "use", "load"),
        caption="labels equal the direct ones byte for byte at every point; ratio: throughput over direct's;"
        " use: processor time of server and models (direct: of this process) over all cores",
    )
    direct = {(point.concurrency, point.instances): point for point in result.of(sample, DIRECT)}
    for point in result.points:
        if point.sample == sample:
            table.add_row(*_row(point, direct.get((point.concurrency, point.instances))))
    return table


def raw_table(result: BenchResult) -> Table:
    """What `perf_analyzer` measured."""
    table = make_table(
        "perf_analyzer over gRPC",
        ("sample", "model"),
        ("in flight", "events/s", "p50 ms", "p95 ms", "p99 ms", "queue ms", "model ms"),
        caption="it looks at no label; queue and model: means in the server",
    )
    for sample, point in result.raw:
        times = (point.p50, point.p95, point.p99, point.queue, point.compute)
        row = (sample, point.model, str(point.concurrency), f"{point.throughput:.4g}")
        table.add_row(*row, *(f"{1e3 * seconds:.4g}" for seconds in times))
    if result.unstable:
        table.caption = f"{table.caption}; not measured: {'; '.join(result.unstable)}"
    return table


def _row(point: BenchPoint, direct: BenchPoint | None) -> Sequence[str]:
    summary = point.summary
    ratio = f"{summary.throughput / direct.summary.throughput:.3f}" if direct and point.rate is None else ""
    return (
        point.way,
        str(point.concurrency) if point.rate is None else f"open, {point.rate:.3g}/s",
        f"{point.instances} x {point.threads}",
        f"{summary.throughput:.4g}",
        ratio,
        *(f"{1e3 * seconds:.4g}" for seconds in (summary.p50, summary.p95, summary.p99)),
        str(summary.faults),
        "" if point.batch is None else f"{point.batch:.1f}",
        f"{point.utilisation:.0%}",
        f"{point.load_average:.1f}",
    )


def draw_concurrency(result: BenchResult, path: Path) -> None:
    """Throughput against requests in flight, one instance: one panel per sample, one curve per way."""
    title = f"{result.pipeline}: throughput, {result.conditions['cores']} cores for clients and server together"
    with _panels(result, title, path) as panels:
        for sample, axis in panels.items():
            for number, way in enumerate(result.ways()):
                points = [point for point in result.of(sample, way) if point.instances == 1]
                if points:
                    axis.plot(
                        [point.concurrency for point in points],
                        [point.summary.throughput for point in points],
                        marker="osD^vPX*"[number % 8],
                        color=f"C{number}",
                        linestyle="--" if way == DIRECT else "-",
                        label=way,
                    )
            axis.set(xscale="log", xlabel="requests in flight")
            axis.set_xticks(sorted({point.concurrency for point in result.points}))
            axis.xaxis.set_major_formatter("{x:.0f}")
            axis.minorticks_off()
        next(iter(panels.values())).set_ylabel("events / s")
        axis.legend(fontsize="small")


def draw_instances(result: BenchResult, path: Path) -> None:
    """Throughput and utilisation against the number of instances, at the largest concurrency."""
    top = max(point.concurrency for point in result.points)
    with _panels(result, f"{result.pipeline}: {top} requests in flight", path) as panels:
        for sample, axis in panels.items():
            use = axis.twinx()
            for number, way in enumerate(result.ways()):
                points = [point for point in result.of(sample, way) if point.concurrency == top]
                instances = [point.instances for point in points]
                axis.plot(instances, [p.summary.throughput for p in points], "o-", color=f"C{number}", label=way)
                shares = [p.utilisation if p.gpu_utilisation is None else p.gpu_utilisation for p in points]
                use.plot(instances, shares, ":", color=f"C{number}")
            axis.set(xlabel="instances")
            axis.set_xticks(sorted({point.instances for point in result.points}))
            use.set_ylim(0, 1.05)
        next(iter(panels.values())).set_ylabel("events / s (solid)")
        use.set_ylabel("utilisation (dotted)")
        axis.legend(fontsize="small", loc="lower right")


@contextmanager
def _panels(result: BenchResult, title: str, path: Path) -> Iterator[dict[str, Any]]:
    """A panel for each sample, by its name, to draw in; the figure is written at the end of the block."""
    names = [sample.name for sample in result.samples]
    figure, axes = new_figure(1, len(names), size=(4.6 * len(names), 4.0))
    figure.suptitle(title)
    yield dict(zip(names, axes[0], strict=True))
    for name, axis in zip(names, axes[0], strict=True):
        axis.set(title=name)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    write_whole(path, partial(figure.savefig, format="png", dpi=120))
